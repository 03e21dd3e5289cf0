#!/bin/sh
# check_exit_code.sh QUERN  --device cuda where there is no GPU: exit code 10, the reason on stderr,
# nothing on stdout.
set -u
CUDA_VISIBLE_DEVICES='' && export CUDA_VISIBLE_DEVICES
here=$(mktemp -d) || exit 1
trap 'rm -rf "$here"' EXIT
"$1" train --model mlp --data synthetic --steps 1 --no-save --run-dir "$here/run" --device cuda \
    >"$here/out" 2>"$here/error"
code=$?
cat "$here/out" "$here/error"
[ $code -eq 10 ] && [ ! -s "$here/out" ] && grep -q "no usable CUDA device: .*NVIDIA driver" \
    "$here/error"
