#!/usr/bin/env bash
# lint.sh format [FILE...]            clang-format on the given sources, or on all of them
# lint.sh clang-tidy BUILD [FILE...]  clang-tidy on the given sources, or on the library's;
#                                     BUILD holds compile_commands.json
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian names them with the version; elsewhere the plain name has to do.
pick() { command -v "$1-14" || command -v "$1" || { echo "lint: $1 is missing" >&2; exit 2; }; }

case "${1:-}" in
format)
    shift
    if [ $# -eq 0 ]; then
        mapfile -t files < <(find include src tests tools -name '*.[ch]' -o -name '*.cc' \
            -o -name '*.cu' -o -name '*.cuh' | sort)
    else
        files=("$@")
    fi
    "$(pick clang-format)" --dry-run --Werror "${files[@]}"
    echo "clang-format: ${#files[@]} files are clean"
    ;;
clang-tidy)
    build=$2
    shift 2
    if [ $# -eq 0 ]; then
        mapfile -t files < <(find src -name '*.c' | sort)
    else
        files=("$@")
    fi
    # A source that the build does not know has no flags to check it with.
    known=()
    for file in "${files[@]}"; do
        if grep -q "/$file\"" "$build/compile_commands.json"; then known+=("$file"); fi
    done
    [ ${#known[@]} -gt 0 ] || { echo "clang-tidy: nothing to check"; exit 0; }
    # Big files first, so that the last one does not run alone.
    mapfile -t known < <(ls -S "${known[@]}")
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    # A third of the analyzer's usual limit on explored states: half the time, and no finding lost.
    limit=()
    for word in -Xclang -analyzer-config -Xclang max-nodes=75000; do
        limit+=("--extra-arg=$word")
    done
    if ! printf '%s\n' "${known[@]}" | xargs -P "${QUERN_JOBS:-2}" -n 4 \
        "$(pick clang-tidy)" -p "$build" --quiet "${limit[@]}" >"$log" 2>/dev/null; then
        cat "$log"
        exit 1
    fi
    echo "clang-tidy: ${#known[@]} files are clean"
    ;;
*)
    sed -n '2,5p' "$0"
    exit 2
    ;;
esac
