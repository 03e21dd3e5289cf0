#!/usr/bin/env bash
# test.sh [--quick] [PART...]  Builds and tests everything, from nothing; prints the time of each
# part and one closing line for all.
#
#   deps      the Debian packages
#   release   the shipped build: unit tests, installation, examples, lint, valgrind
#   clang     the library with clang, warnings as errors; fuzz targets run over their corpora
#   coverage  ASan and UBSan, with the line coverage gate: above 90 % of src/host, src/kernels/cpu
#   tsan      ThreadSanitizer on the tests labelled tsan
#   cuda      the CUDA module: compiled, linked, and its tests that need no GPU. Without nvcc it is
#             "not run", and with CI=true a failure
#
# Tests that are skipped (SIGKILL at every system call where strace may not trace, a GPU where there
# is none) have a line of their own among the parts, by their suites.
#
# --quick: release without installation and valgrind, lint of changed files only.
# QUERN_JOBS: parallel jobs, default 2.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

jobs=${QUERN_JOBS:-2}
quick=false
wanted=()
for argument in "$@"; do
    case $argument in
    --quick) quick=true ;;
    deps | release | clang | coverage | tsan | cuda) wanted+=("$argument") ;;
    *)
        sed -n '2,18p' "$0"
        exit 2
        ;;
    esac
done
if [ ${#wanted[@]} -eq 0 ]; then
    wanted=(deps release)
    if ! $quick; then wanted+=(clang coverage tsan cuda); fi
fi

logs=build/test-logs
mkdir -p $logs
total=0 failed=0 failed_parts=() skipped_parts=() skipped_tests=() times=()

# Configures and builds a preset, quietly unless it fails.
build() {
    local preset=$1 log=$logs/build-$1.log
    shift
    if ! { cmake --preset "$preset" "$@" && cmake --build --preset "$preset" -j "$jobs"; } \
        >"$log" 2>&1; then
        grep -E "error|Error|FAILED|warning" "$log" | head -n 40
        tail -n 20 "$log"
        echo "building $preset failed; see $log"
        return 1
    fi
}

# Runs ctest on a preset and adds its counts to the closing line.
tests() {
    local preset=$1 log=$logs/ctest-$1.log code line count suite
    shift
    ctest --preset "$preset" -j "$jobs" --progress "$@" >"$log" 2>&1
    code=$?
    line=$(grep -E "tests passed, [0-9]+ tests? failed out of [0-9]+" "$log" | tail -n 1)
    total=$((total + $(sed -n 's/.*out of \([0-9]*\).*/\1/p' <<<"${line:-out of 0}")))
    failed=$((failed + $(sed -n 's/.*, \([0-9]*\) tests\{0,1\} failed.*/\1/p' \
        <<<"${line:-, 1 test failed}")))
    if [ $code -ne 0 ]; then
        sed -n '/Failure$/,/^$/p' "$log" | head -n 60
        sed -n '/The following tests FAILED/,$p' "$log"
        echo "see $log"
    fi
    echo "$preset: ${line:-no test was run}"
    while read -r count suite; do
        skipped_tests+=("$(printf '%-9s %5d    not run: %s' "$preset" "$count" "$suite")")
    done < <(sed -n 's/^[[:space:]]*[0-9]* - \([^. ]*\)\..*(Skipped)$/\1/p' "$log" | sort | uniq -c)
    return $code
}

# Sources that differ from the last commit, or that it changed.
changed() {
    { git diff --name-only HEAD && git ls-files -o --exclude-standard &&
        git diff --name-only HEAD~1 HEAD; } 2>/dev/null | sort -u | grep -E "$1" |
        while read -r file; do if [ -f "$file" ]; then echo "$file"; fi; done
}

part_deps() { bash tools/deps.sh test; }

part_release() {
    build release || return 1
    if ! $quick; then
        tests release
        return
    fi
    local code=0 sources
    tests release -LE '^(install|valgrind-run|lint)$' || code=1
    python3 tools/tidy.py || code=1
    mapfile -t sources < <(changed '\.(c|h|cc|cu|cuh)$')
    if [ ${#sources[@]} -gt 0 ]; then tools/lint.sh format "${sources[@]}" || code=1; fi
    mapfile -t sources < <(changed '^src/.*\.c$')
    if [ ${#sources[@]} -gt 0 ]; then
        tools/lint.sh clang-tidy build/release "${sources[@]}" || code=1
    fi
    return $code
}

part_clang() {
    build clang || return 1
    tests clang -L '^fuzz$'
}

part_coverage() {
    local code=0
    build coverage || return 1
    find build/coverage -name '*.gcda' -delete
    tests coverage -LE '^lint$' || code=1
    gcovr -j "$jobs" --root . --filter 'src/host/' --filter 'src/kernels/cpu/' \
        --object-directory build/coverage \
        --fail-under-line 90 build/coverage >$logs/coverage.txt 2>&1 || code=1
    grep -E "^TOTAL|fail|rror" $logs/coverage.txt
    echo "least covered files ($logs/coverage.txt):"
    awk '/^src\/.*%/ {print $4, $1}' $logs/coverage.txt | sort -n | head -n 8
    return $code
}

part_tsan() {
    build tsan || return 1
    tests tsan
}

part_cuda() {
    if ! command -v nvcc >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
        echo "cuda: nvcc was not found; the module was neither compiled nor tested"
        if [ "${CI:-false}" = true ]; then return 1; fi
        skipped_parts+=(cuda)
        return 0
    fi
    # NVIDIA's disassembler, which a toolkit from Python's wheels does not bring along.
    local here=build/cuobjdump/nvidia/cu13/bin
    if ! PATH=$PATH:/usr/local/cuda/bin:$here command -v cuobjdump >/dev/null &&
        ! python3 -m pip install --quiet --no-deps --target build/cuobjdump \
            nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm >$logs/cuobjdump.log 2>&1; then
        echo "cuda: cuobjdump was not found; what nvcc made of the kernels is not tested"
    fi
    build cuda || return 1
    local code=0
    # What is not built is not missed by ctest.
    if ! ctest --preset cuda -N -R '^CudnnPlans[.]' | grep -q 'Total Tests: [1-9]'; then
        echo "cuda: cuDNN was not found: its plans are not tested"
        if [ "${CI:-false}" = true ]; then code=1; fi
    fi
    tests cuda -L '^cuda$' || code=1
    return $code
}

start_all=$SECONDS
for part in "${wanted[@]}"; do
    echo "== $part"
    start=$SECONDS
    if "part_$part"; then result=ok; else
        result=FAILED
        failed_parts+=("$part")
    fi
    if [[ " ${skipped_parts[*]} " == *" $part "* ]]; then result="not run"; fi
    times+=("$(printf '%-9s %5d s  %s' "$part" $((SECONDS - start)) "$result")")
done

echo "== parts"
printf '%s\n' "${times[@]}" "$(printf '%-9s %5d s' total $((SECONDS - start_all)))" \
    "${skipped_tests[@]}"
if [ ${#skipped_parts[@]} -gt 0 ]; then echo "not run: ${skipped_parts[*]}"; fi
if [ ${#failed_parts[@]} -gt 0 ]; then
    echo "FAILED: ${failed_parts[*]}"
    # A part can fail without a failed test: a build, the coverage gate.
    if [ $failed -eq 0 ]; then failed=1 total=$((total + 1)); fi
fi
percent=$((total > 0 ? 100 * (total - failed) / total : 0))
echo "$percent% tests passed, $failed tests failed out of $total"
[ $failed -eq 0 ] && [ "$total" -gt 0 ]
