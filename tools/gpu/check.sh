#!/usr/bin/env bash
# check.sh pack|build|tests|sanitize [TOOL...]|bench [NAME...]|report [FILE...]
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
#   sanitize  compute-sanitizer's memcheck, racecheck, initcheck and synccheck over the kernels of
#             every op and over training; or the tools that are named
#   bench     NAME... (mlp, lenet, adamw, layer_norm, softmax_cross_entropy, linear, linear_gelu,
#             conv_bn_relu, copy, probes; default the first two): Quern and PyTorch take turns
#   report    merges what there is into report.md and report.json; first unpacks the results.tar.gz
#             of other machines that are named
#
# Results go to build/gpu/results; where $OUT is set, report.md, report.json and all of them as
# results.tar.gz go there. What could not be run is recorded as "not run" with its reason, never as
# passed. Exit code: 0 all of it ran and passed, 1 something failed, 3 nothing failed but something
# was not run. QUERN_GPU_LIMIT is how many seconds a command may take, 520 unless it is set.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

work=build/gpu
here=$work/run
results=$work/results
pack=$work/pack.tar.xz
limit=${QUERN_GPU_LIMIT:-520}
most=${QUERN_GPU_PACK_BYTES:-$((60 << 20))} # that still travel
built=${QUERN_GPU_BUILD:-build/cuda} # what pack packs: a build with the CUDA module
data=${QUERN_DATA_DIR:-/usr/share/datasets/fashion-mnist}
mkdir -p $results

# left [KEPT [PARTS]]: seconds until the deadline of the whole command, KEPT of them for what comes
# behind, or one of so many parts of them.
left() {
    local seconds=$(((limit - SECONDS - ${1:-0}) / ${2:-1}))
    echo $((seconds > 1 ? seconds : 1))
}

# deliver: few files come back from the machine, so all results are one of them.
deliver() {
    if [ -z "${OUT:-}" ]; then return; fi
    python3 tools/gpu/record.py --report $results >/dev/null &&
        tar -C $results -czf "$OUT/results.tar.gz" . &&
        cp $results/report.md $results/report.json "$OUT/"
}

# record NAME STATUS TEXT [JSON]: one result; STATUS is passed, failed or not_run.
record() {
    python3 tools/gpu/record.py "$results/$1.json" "$2" "$3" "${4:-}" || exit 1
    echo "$1: ${2/_/ }: $3"
    deliver
}

# The worst of this command's own records, as the exit code.
finish() {
    deliver
    exec python3 tools/gpu/record.py --exit-code "$results" "$@"
}

# Why no GPU can be used here; nothing when one can.
gpu_reason() {
    "$here/bin/quern" devices --json 2>/dev/null | python3 tools/gpu/record.py --reason
}

# What of the vendor's libraries could not be loaded: on the fall-back kernels nothing may pass.
missing_libraries() {
    "$here/bin/quern" devices --json 2>/dev/null | python3 tools/gpu/libraries.py --missing
}

# Nothing runs without a build; what an earlier run of the command said as a whole is outdated.
need_build() {
    rm -f "$results/$1.json"
    if [ -x $here/bin/quern ]; then return; fi
    record "$1" not_run "nothing is built: run check.sh build first"
    finish "$1"
}

copy_built() {
    cp "$built/tools/quern/quern" "$built/tools/bench/bench_train" "$built/tests/gpu/test_gpu" \
        "$built/tools/bench/bench_kernels" "$built/tools/bench/probes" "$1/bin/" &&
        cp -L "$built/$(readlink "$built/libquern.so")" "$built/libquern-blas.so" \
            "$built/libquern-cuda.so" "$1/lib/"
}

# What the executables link and another machine may lack.
copy_linked() {
    local file
    { ldd "$1"/bin/* || true; } | awk '$3 ~ /^\// {print $3}' | sort -u |
        sed -E '/\/lib(c|m|dl|pthread|rt|stdc\+\+|gcc_s)\.so|libquern|libcublas/d' |
        while read -r file; do cp -L "$file" "$1/lib/" || return 1; done
}

command_pack() {
    local jobs=${QUERN_JOBS:-2} stage=$work/stage bytes
    if [ ! -f "$built/CMakeCache.txt" ]; then cmake --preset cuda -B "$built" >$work/pack.log; fi
    if ! nice cmake --build "$built" -j "$jobs" \
        --target quern_command bench_train bench_kernels probes test_gpu quern_cuda \
        >>$work/pack.log 2>&1; then
        tail -n 20 $work/pack.log
        exit 1
    fi
    rm -rf $stage
    mkdir -p $stage/bin $stage/lib $stage/data
    if ! copy_built $stage || ! copy_linked $stage || ! cp "$data"/*-ubyte.gz $stage/data/; then
        echo "check.sh: $stage is not complete" >&2
        exit 1
    fi
    strip $stage/bin/* $stage/lib/* 2>/dev/null
    { git rev-parse HEAD; git status --porcelain | head -n 20; } >$stage/COMMIT
    if ! make_pack $stage; then
        echo "check.sh: $stage could not be packed" >&2
        exit 1
    fi
    rm -rf $stage
    ls -l $pack
    bytes=$(stat -c %s $pack)
    if [ "$bytes" -ge "$most" ]; then
        echo "check.sh: $pack has $bytes bytes; less than $most travel to a machine with a GPU" >&2
        exit 1
    fi
}

# Python does what tar does where there is no xz.
make_pack() {
    if command -v xz >/dev/null; then
        tar -C "$1" -cJf $pack .
    else
        (cd "$1" && python3 -m tarfile -c "$OLDPWD/$pack" .)
    fi
}

unpack() {
    if command -v xz >/dev/null; then
        tar -C $here -xJf $pack
    else
        python3 -m tarfile -e $pack $here 2>$work/unpack.log
    fi
}

command_build() {
    if [ -f $pack ]; then
        rm -rf $here
        mkdir -p $here
        if ! unpack; then
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
    local code
    { timeout "$(left 60)" cmake --preset cuda &&
        timeout "$(left 30)" cmake --build --preset cuda -j "$(nproc)"; } >$work/build.log 2>&1
    code=$?
    if [ $code -eq 124 ]; then
        record build not_run "building here takes longer than $limit s: carry a pack along"
        finish build
    elif [ $code -ne 0 ]; then
        record build failed "building here: $(grep -m 1 -iE 'error' $work/build.log)"
        finish build
    fi
    built=build/cuda
    mkdir -p $here/bin $here/lib
    if ! copy_built $here; then
        record build failed "what was built here is not complete"
        finish build
    fi
    if [ -d "$data" ]; then ln -sfn "$data" $here/data; fi
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
        QUERN_REQUIRE_GPU=1 timeout -k 5 "$(left 60)" "$program" \
            --gtest_output="json:$results/$name.gtest" >"$results/$name.log" 2>&1
        code=$?
        python3 tools/gpu/record.py --gtest "$results/$name" $code
    done
    check_resume
    finish tests resume
}

# The same run twice: in one piece, and killed as soon as it has a checkpoint, then resumed.
check_resume() {
    local runs=$work/runs steps=20000 process code
    local common=(train --model mlp --data "$here/data" --device cuda --steps "$steps"
        --save-every 1000 --seed 3 --quiet --run-dir)
    rm -rf $runs
    mkdir -p $runs
    if ! timeout -k 5 "$(left 20)" "$here/bin/quern" "${common[@]}" $runs/whole \
        >$work/resume.log 2>&1; then
        record resume failed "the run in one piece: $(tail -n 1 $work/resume.log)"
        return
    fi
    "$here/bin/quern" "${common[@]}" $runs/killed >$work/resume.log 2>&1 &
    process=$!
    while ! compgen -G "$runs/killed/checkpoints/step-*/manifest.json" >/dev/null &&
        kill -0 $process 2>/dev/null && [ "$(left 15)" -gt 1 ]; do
        sleep 0.01
    done
    kill -9 $process 2>/dev/null
    wait $process 2>/dev/null
    code=$?
    if [ $code -ne 137 ]; then
        record resume failed "the run to be killed ended by itself, with $code"
    elif [ -e $runs/killed/checkpoints/step-$steps ]; then
        record resume not_run "the run was at its end before it was killed"
    elif ! timeout -k 5 "$(left)" "$here/bin/quern" train --resume --run-dir $runs/killed --quiet \
        >$work/resume.log 2>&1; then
        record resume failed "the resumed run: $(tail -n 1 $work/resume.log)"
    else
        compare_runs $runs/whole/checkpoints/step-$steps $runs/killed/checkpoints/step-$steps
    fi
}

# Parameters, and all the rest of the state.
compare_runs() {
    local file
    for file in model.safetensors state.safetensors; do
        if ! cmp -s "$1/$file" "$2/$file"; then
            record resume failed "$file differs from that of the run in one piece"
            return
        fi
    done
    record resume passed "killed, resumed, and bit for bit the run in one piece"
}

command_sanitize() {
    need_build sanitize
    local reason tool log sanitizer tools=("$@") rest
    reason=$(gpu_reason)
    # shellcheck disable=SC2012
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer \
        /usr/local/cuda/compute-sanitizer/compute-sanitizer 2>/dev/null | head -n 1)
    if [ -z "$reason" ] && [ -z "$sanitizer" ]; then reason="compute-sanitizer was not found"; fi
    if [ $# -eq 0 ]; then tools=(memcheck racecheck initcheck synccheck); fi
    rest=${#tools[@]}
    for tool in "${tools[@]}"; do
        if [ -n "$reason" ]; then
            record sanitize-"$tool" not_run "$reason"
            continue
        fi
        log=$results/sanitize-$tool.log
        sanitize_with "$tool" "$(left 5 "$rest")" >"$log" 2>&1
        python3 tools/gpu/sanitizer.py "$tool" $? "$log" "$results/sanitize-$tool.json"
        deliver
        rest=$((rest - 1))
    done
    finish sanitize
}

# Each byte outside a buffer is one outside an allocation. What the tests have the driver refuse is
# no error of theirs.
sanitize_with() {
    local filter options
    filter=$(python3 tools/gpu/sanitizer.py --filter "$1")
    mapfile -t options < <(python3 tools/gpu/sanitizer.py --options "$1")
    QUERN_REQUIRE_GPU=1 QUERN_EXACT_BUFFERS=1 timeout -k 5 "$2" "$sanitizer" "${options[@]}" \
        "$here/bin/test_gpu" --gtest_filter="$filter"
}

command_bench() {
    need_build bench
    local reason model seconds code rest
    reason=$(gpu_reason)
    if [ $# -eq 0 ]; then set -- mlp lenet; fi
    rest=$#
    for model in "$@"; do
        if [ -n "$reason" ]; then
            record "bench-$model" not_run "$reason"
            continue
        fi
        seconds=$(left 10 "$rest")
        timeout -k 5 "$seconds" python3 tools/gpu/bench.py "$model" $here \
            "$results/bench-$model.json" --limit $((seconds - 15))
        code=$?
        if [ $code -eq 124 ] || [ $code -eq 137 ]; then
            record "bench-$model" not_run "not done after $seconds s"
        elif [ $code -ne 0 ]; then
            record "bench-$model" failed "tools/gpu/bench.py ended with $code"
        fi
        deliver
        rest=$((rest - 1))
    done
    finish bench
}

command_report() {
    local file
    for file in "$@"; do
        if ! tar -C $results -xzf "$file"; then
            echo "check.sh: $file does not unpack" >&2
            exit 1
        fi
    done
    python3 tools/gpu/record.py --report "$results" || exit 1
    finish ""
}

export LD_LIBRARY_PATH=$PWD/$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export QUERN_BACKEND_PATH=$PWD/$here/lib
folders=$(python3 tools/gpu/libraries.py --folders)
export QUERN_CUDA_LIBRARY_PATH=$folders${QUERN_CUDA_LIBRARY_PATH:+:$QUERN_CUDA_LIBRARY_PATH}
case "${1:-}" in
pack | build | tests | sanitize | bench | report) "command_$1" "${@:2}" ;;
*)
    sed -n '2,30p' "$0"
    exit 2
    ;;
esac
