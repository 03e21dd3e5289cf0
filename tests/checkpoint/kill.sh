#!/usr/bin/env bash
# kill.sh SAVER CALL...  Runs `SAVER save` again and again, killed (SIGKILL) at the first, second,
# third … call of each kind of system call, and each time asks `SAVER check` what is left: never
# less than what had been said to be durable, nothing damaged, nothing left over. Exit 77: skipped.
set -uo pipefail
saver=$1
shift
if ! strace -f -o /dev/null -e trace=none true 2>/dev/null; then
    echo "SKIPPED: strace is missing, or this place does not let it trace"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kills=0 failures=0
for call in "$@"; do
    for ((n = 1; n < 1000; n++)); do
        rm -rf "$work/c"
        { # the shell's own word about the killed process goes the same way
            strace -f -qq -o /dev/null -e "trace=$call" \
                -e "inject=$call:signal=SIGKILL:when=$n" "$saver" save "$work/c" >"$work/said"
            code=$?
        } 2>/dev/null
        said=$(tail -n 1 "$work/said")
        found=$("$saver" check "$work/c" 2>"$work/error")
        checked=$?
        if [ $checked -ne 0 ] || [ "${found:-0}" -lt "${said:-0}" ]; then
            echo "killed at $call number $n: said ${said:-nothing}, found ${found:-nothing}" \
                "$(cat "$work/error") $(ls "$work/c" 2>/dev/null | tr '\n' ' ')"
            failures=$((failures + 1))
        fi
        if [ $code -eq 0 ]; then break; fi
        kills=$((kills + 1))
    done
done
echo "killed $kills times at $*: $failures lost something"
[ $kills -gt 0 ] && [ $failures -eq 0 ]
