#!/usr/bin/env bash
# durable.sh COMMAND  Trains one step under strace: whatever gives a name in the run folder or above
# it to something new has the folder of that name synced next, so that a power cut leaves no
# checkpoint in a run that is not there or has lost its configuration. Exit 77: skipped.
set -uo pipefail
command=$1
if ! strace -f -y -o /dev/null -e trace=none true 2>/dev/null; then
    echo "SKIPPED: strace is missing, or this place does not let it trace"
    exit 77
fi
work=$(cd "$(mktemp -d)" && pwd -P)
trap 'rm -rf "$work"' EXIT
printf 'width,label\n0,0\n1,1\n0,0\n1,1\n' >"$work/table.csv"
failures=0

# The call behind "mkdir PATH" or "rename PART, PATH" in the same thread syncs PATH's folder.
check() {
    local name=$1 folder=$2 made thread next
    made="(mkdir|rename)\\(.*\"$name\"(, 0777)?\\) += 0"
    thread=$(grep -E "$made" "$work/trace" | cut -d' ' -f1)
    next=$(grep "^$thread " "$work/trace" | grep -A1 -E "$made" | tail -n 1)
    if ! [[ $next =~ fsync\([0-9]+\<$folder\>\)\ +=\ 0 ]]; then
        echo "behind $name comes: ${next:-nothing}, not a sync of $folder"
        failures=$((failures + 1))
    fi
}

train() {
    (cd "$work" && strace -f -y -qq -o trace -e trace=mkdir,rename,fsync "$command" train \
        --model mlp --data table.csv --batch-size 2 --steps 1 --quiet "$@" >/dev/null) || exit 1
}

train --run-dir "$work/a/run"
check "$work/a" "$work"
check "$work/a/run" "$work/a"
check "$work/a/run/config.json" "$work/a/run"
train --run-dir run
check run "$work"
check run/config.json "$work/run"
train
check runs "$work"
check runs/mlp-table-001 "$work/runs"
check runs/mlp-table-001/config.json "$work/runs/mlp-table-001"
[ $failures -eq 0 ]
