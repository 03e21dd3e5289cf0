#!/usr/bin/env bash
# nightly.sh [PART...]  The long forms of tests that the suite runs short. Wants the presets release
# and clang built (tools/test.sh does that); exits 1 if any part failed.
#
#   power    100,000 states after power cuts, over the operations of a sequence of saves
#   kill     SIGKILL at every system call of a sequence of saves (needs strace)
#   runs     kill -9 behind every durable save of whole training runs of up to 80 updates, with
#            QUERN_NIGHTLY_SEEDS seeds (default 10) for each number of workers
#   cycles   10,000 trainers in one process: memory, descriptors and threads stay as they are
#   graphs   2,000 random graphs: gradients, and fused against unfused
#   faults   every file operation of a run that saves and resumes, by every cause
#   costs    what the training loop and a checkpoint beside it cost: fails beyond their limits
#   images   docker/cpu.Dockerfile and docker/cuda.Dockerfile built, their tests run in them; the
#            second only where there is a CUDA toolkit (needs Docker, or root)
#   fuzz     ten minutes for each fuzz target; what is new goes to build/nightly/fuzz
#
# Shorter: QUERN_NIGHTLY_STATES, QUERN_NIGHTLY_SEEDS, QUERN_NIGHTLY_CYCLES, QUERN_NIGHTLY_GRAPHS,
# QUERN_FUZZ_SECONDS (of each target).
set -uo pipefail
cd "$(dirname "$0")/.." || exit

release=build/release/tests
seconds=${QUERN_FUZZ_SECONDS:-600}
parts=("$@")
if [ ${#parts[@]} -eq 0 ]; then parts=(power kill runs cycles graphs faults costs images fuzz); fi

part_power() {
    QUERN_TEST_STATES=${QUERN_NIGHTLY_STATES:-100000} $release/checkpoint/test_checkpoint_power
}

part_kill() {
    tests/checkpoint/kill.sh $release/checkpoint/checkpoint_saver \
        openat read pread64 write close fsync mkdir rename unlink rmdir newfstatat getdents64 \
        brk mmap munmap
}

part_runs() {
    QUERN_TEST_SEEDS=${QUERN_NIGHTLY_SEEDS:-10} $release/train/test_train_kill
}

part_cycles() {
    QUERN_TEST_CYCLES=${QUERN_NIGHTLY_CYCLES:-10000} $release/train/test_train_cycles
}

part_graphs() {
    QUERN_TEST_GRAPHS=${QUERN_NIGHTLY_GRAPHS:-2000} $release/graph/test_graph \
        --gtest_filter='Random.*'
}

part_faults() { QUERN_TEST_CAUSES=all $release/train/test_train_save_faults; }

part_costs() {
    local directory code=0
    directory=$(mktemp -d) || return 1
    build/release/tools/bench/bench_loop || code=1
    build/release/tools/bench/bench_save "$directory" || code=1
    rm -rf "$directory"
    return $code
}

part_images() {
    bash tools/container.sh || return 1
    if [ ! -d "${QUERN_CUDA_ROOT:-/usr/local/cuda}" ]; then
        echo "images: no CUDA toolkit: docker/cuda.Dockerfile was not built"
        return 0
    fi
    QUERN_IMAGE=cuda bash tools/container.sh
}

part_fuzz() {
    local target name failed=0
    for target in build/clang/tests/fuzz/fuzz_*; do
        name=$(basename "$target")
        if [[ ! -f $target || ! -x $target || $name == *_replay ]]; then continue; fi
        mkdir -p "build/nightly/fuzz/$name"
        if ! "$target" -max_total_time="$seconds" -timeout=10 -print_final_stats=1 \
            -artifact_prefix="build/nightly/fuzz/$name-" "build/nightly/fuzz/$name" \
            "tests/fuzz/corpus/$name" >"build/nightly/fuzz/$name.log" 2>&1; then
            failed=1
        fi
        echo "$name: $(grep -E '^Done|ERROR|SUMMARY' "build/nightly/fuzz/$name.log" | tail -n 1)"
    done
    return $failed
}

failed=()
for part in "${parts[@]}"; do
    echo "== $part"
    if ! "part_$part"; then failed+=("$part"); fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "FAILED: ${failed[*]}"
    exit 1
fi
echo "nightly: ${parts[*]}: all good"
