#!/usr/bin/env bash
# check.sh pack|build|tests|sanitize|bench [NAME]|report
#
# Everything that only a machine with a GPU can tell, in commands of less than nine minutes each, on
# a machine that need have no more than a driver, nvcc, cmake and Python with PyTorch: no package
# registry, no GoogleTest, no OpenBLAS.
#
#   pack      where Quern is built: builds the preset `cuda` and packs what the other commands need
#             into build/gpu/pack.tar.xz: test executables (GoogleTest is in them), the command, the
#             libraries beside them, Fashion-MNIST, the commit. Carry that file along.
#   build     unpacks it, or builds here when there is none; says what the machine is
#   tests     every test, QUERN_REQUIRE_GPU=1: a skip is a failure; then a run that is killed and
#             resumed must end in the same bits as one that was not
#   sanitize  compute-sanitizer's memcheck, racecheck, initcheck and synccheck over the tests
#   bench     NAME… (mlp, lenet, adamw, layer_norm, softmax_cross_entropy, linear_gelu,
#             conv_bn_relu, copy, probes; default the first two): Quern and PyTorch take turns
#   report    merges what there is into report.md and report.json
#
# Results go to build/gpu/results, and to $OUT where that is set. What could not be run is recorded
# as "not run" with its reason, never as passed. Exit code: 0 all of it ran and passed, 1 something
# failed, 3 nothing failed but something was not run.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

work=build/gpu
here=$work/run
results=$work/results
pack=$work/pack.tar.xz
limit=${QUERN_GPU_LIMIT:-520} # seconds a command may take
built=${QUERN_GPU_BUILD:-build/cuda} # what pack packs: a build with the CUDA module
mkdir -p $results

# record NAME STATUS TEXT [JSON]: one result; STATUS is passed, failed or not_run.
record() {
    python3 tools/gpu/record.py "$results/$1.json" "$2" "$3" "${4:-}" || exit 1
    echo "$1: ${2/_/ }: $3"
    if [ -n "${OUT:-}" ]; then cp -r "$results/." "$OUT/"; fi
}

# The worst of this command's own records, as the exit code.
finish() { exec python3 tools/gpu/record.py --exit-code "$results" "$@"; }

# Why no GPU can be used here; nothing when one can.
gpu_reason() {
    "$here/bin/quern" devices --json 2>/dev/null | python3 tools/gpu/record.py --reason
}

# What of the vendor's libraries could not be loaded: on the fall-back kernels nothing may pass.
missing_libraries() {
    "$here/bin/quern" devices --json 2>/dev/null | python3 tools/gpu/libraries.py --missing
}

need_build() {
    if [ -x $here/bin/quern ]; then return; fi
    record "$1" not_run "nothing is built: run check.sh build first"
    finish "$1"
}

copy_built() {
    cp "$built/tools/quern/quern" "$built/tools/bench/bench_train" "$built/tests/gpu/test_gpu" \
        "$built/tools/bench/bench_kernels" "$built/tools/bench/probes" "$1/bin/"
    cp -L "$built/libquern.so.0.1" "$built/libquern-blas.so" "$built/libquern-cuda.so" "$1/lib/"
}

command_pack() {
    local jobs=${QUERN_JOBS:-2} stage=$work/stage file
    if [ ! -f "$built/CMakeCache.txt" ]; then cmake --preset cuda -B "$built" >$work/pack.log; fi
    if ! nice cmake --build "$built" -j "$jobs" \
        --target quern_command bench_train bench_kernels probes test_gpu quern_cuda \
        >>$work/pack.log 2>&1; then
        tail -n 20 $work/pack.log
        exit 1
    fi
    rm -rf $stage
    mkdir -p $stage/bin $stage/lib $stage/data
    copy_built $stage
    ldd $stage/bin/* | awk '$3 ~ /^\// {print $3}' | sort -u |
        grep -vE '/(libc|libm|libdl|libpthread|librt|libstdc\+\+|libgcc_s)\.so|libquern|libcublas' |
        while read -r file; do cp -L "$file" $stage/lib/; done
    strip $stage/bin/* $stage/lib/* 2>/dev/null
    cp /usr/share/datasets/fashion-mnist/*-ubyte.gz $stage/data/ || exit 1
    { git rev-parse HEAD; git status --porcelain | head -n 20; } >$stage/COMMIT
    tar -C $stage -cJf $pack . && rm -rf $stage
    ls -l $pack
}

command_build() {
    if [ -f $pack ]; then
        rm -rf $here
        mkdir -p $here
        if ! tar -C $here -xJf $pack; then
            record build failed "$pack does not unpack"
            finish build
        fi
    else
        command_build_here
    fi
    export LD_LIBRARY_PATH=$PWD/$here/lib QUERN_BACKEND_PATH=$PWD/$here/lib
    if ! "$here/bin/quern" devices --json >$results/devices.json 2>$work/devices.log; then
        record build failed "quern devices does not run here: $(head -n 1 $work/devices.log)"
        finish build
    fi
    local machine
    machine=$(python3 tools/gpu/record.py --machine "$here/COMMIT" $results/devices.json)
    local reason missing
    reason=$(gpu_reason)
    missing=$(missing_libraries)
    if [ -n "$missing" ]; then
        record build failed "$missing" "$machine"
    elif [ -z "$reason" ]; then
        record build passed "the command and the module run here" "$machine"
    else
        record build not_run "built, but no GPU can be used: $reason" "$machine"
    fi
    finish build
}

# Without a pack: needs the packages of tools/deps.sh build, and GoogleTest.
command_build_here() {
    if ! { cmake --preset cuda && cmake --build --preset cuda -j "$(nproc)"; } >$work/build.log 2>&1
    then
        record build failed "building here: $(grep -m 1 -iE 'error' $work/build.log)"
        finish build
    fi
    built=build/cuda
    mkdir -p $here/bin $here/lib
    copy_built $here
    if [ -d /usr/share/datasets/fashion-mnist ]; then
        ln -sfn /usr/share/datasets/fashion-mnist $here/data
    fi
    { git rev-parse HEAD; git status --porcelain | head -n 20; } >$here/COMMIT 2>/dev/null
}

command_tests() {
    need_build tests
    local reason missing program name code
    reason=$(gpu_reason)
    missing=$(missing_libraries)
    if [ -n "$missing" ]; then
        record tests failed "$missing"
        finish tests
    fi
    if [ -n "$reason" ]; then
        record tests not_run "$reason"
        record resume not_run "$reason"
        finish tests resume
    fi
    for program in "$here"/bin/test_*; do
        name=tests-$(basename "$program")
        QUERN_REQUIRE_GPU=1 timeout "$limit" "$program" \
            --gtest_output="json:$results/$name.gtest" >"$results/$name.log" 2>&1
        code=$?
        python3 tools/gpu/record.py --gtest "$results/$name" $code
    done
    if [ -n "${OUT:-}" ]; then cp -r $results/. "$OUT/"; fi
    check_resume
    finish tests resume
}

# The same run twice: in one piece, and killed as soon as it has a checkpoint, then resumed.
check_resume() {
    local runs=$work/runs common process last
    rm -rf $runs
    mkdir -p $runs
    common=(train --model mlp --data "$here/data" --device cuda --steps 600 --save-every 100
        --seed 3 --quiet)
    if ! "$here/bin/quern" "${common[@]}" --run-dir $runs/whole >$work/resume.log 2>&1; then
        record resume failed "the run in one piece: $(tail -n 1 $work/resume.log)"
        return
    fi
    "$here/bin/quern" "${common[@]}" --run-dir $runs/killed >$work/resume.log 2>&1 &
    process=$!
    for _ in $(seq 600); do
        if compgen -G "$runs/killed/checkpoints/step-*/manifest.json" >/dev/null; then break; fi
        sleep 0.01
    done
    kill -9 $process 2>/dev/null
    wait $process 2>/dev/null
    if ! "$here/bin/quern" train --resume --run-dir $runs/killed --quiet \
        >$work/resume.log 2>&1; then
        record resume failed "the resumed run: $(tail -n 1 $work/resume.log)"
        return
    fi
    last=checkpoints/step-600/model.safetensors
    if cmp -s $runs/whole/$last $runs/killed/$last; then
        record resume passed "killed, resumed, and bit for bit the run in one piece"
    else
        record resume failed "the resumed run's weights differ from those of the run in one piece"
    fi
}

command_sanitize() {
    need_build sanitize
    local reason tool program code log sanitizer
    reason=$(gpu_reason)
    # shellcheck disable=SC2012
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer \
        /usr/local/cuda/compute-sanitizer/compute-sanitizer 2>/dev/null | head -n 1)
    if [ -z "$reason" ] && [ -z "$sanitizer" ]; then reason="compute-sanitizer was not found"; fi
    for tool in memcheck racecheck initcheck synccheck; do
        if [ -n "$reason" ]; then
            record sanitize-$tool not_run "$reason"
            continue
        fi
        log=$results/sanitize-$tool.log
        QUERN_REQUIRE_GPU=1 timeout $((limit / 4)) "$sanitizer" --tool $tool --error-exitcode 99 \
            "$here/bin/test_gpu" >"$log" 2>&1
        code=$?
        if ! grep -q "ERROR SUMMARY\|RACECHECK SUMMARY" "$log"; then
            record sanitize-$tool not_run "refused or cut short (exit $code): $(tail -n 1 "$log")"
        elif [ $code -eq 0 ]; then
            record sanitize-$tool passed "$(grep -m 1 SUMMARY "$log")"
        else
            record sanitize-$tool failed "exit $code: $(grep -m 1 SUMMARY "$log")"
        fi
    done
    finish sanitize
}

command_bench() {
    need_build bench
    local reason model
    reason=$(gpu_reason)
    if [ $# -eq 0 ]; then set -- mlp lenet; fi
    for model in "$@"; do
        if [ -n "$reason" ]; then
            record "bench-$model" not_run "$reason"
            continue
        fi
        timeout "$limit" python3 tools/gpu/bench.py "$model" $here "$results/bench-$model.json" ||
            record "bench-$model" failed "tools/gpu/bench.py ended with $?"
    done
    finish bench
}

command_report() {
    python3 tools/gpu/record.py --report "$results" || exit 1
    if [ -n "${OUT:-}" ]; then cp -r $results/. "$OUT/"; fi
    finish ""
}

export LD_LIBRARY_PATH=$PWD/$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export QUERN_BACKEND_PATH=$PWD/$here/lib
folders=$(python3 tools/gpu/libraries.py --folders)
export QUERN_CUDA_LIBRARY_PATH=$folders${QUERN_CUDA_LIBRARY_PATH:+:$QUERN_CUDA_LIBRARY_PATH}
case "${1:-}" in
pack | build | tests | sanitize | report) "command_$1" ;;
bench)
    shift
    command_bench "$@"
    ;;
*)
    sed -n '2,25p' "$0"
    exit 2
    ;;
esac
