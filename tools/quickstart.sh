#!/usr/bin/env bash
# quickstart.sh  From nothing to a trained network: installs what is missing, builds, trains LeNet
# on Fashion-MNIST, and prints the accuracy on the 10,000 test images and the path of the report.
set -euo pipefail
cd "$(dirname "$0")/.."

bash tools/deps.sh build

echo "quickstart: building"
build=build/quickstart
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DQUERN_BUILD_TESTS=OFF &&
    cmake --build $build -j "$(nproc)"; } >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    exit 1
fi
quern=$build/tools/quern/quern

n=1
while [ -e "runs/quickstart-$n" ]; do n=$((n + 1)); done
run=runs/quickstart-$n

echo "quickstart: training LeNet on Fashion-MNIST, 10 epochs"
result=$("$quern" train --model lenet --data fashion-mnist --epochs 10 --batch-size 128 \
    --optimizer adamw --lr 3e-3 --schedule cosine --run-dir "$run" --json)
accuracy=$(printf '%s' "$result" | sed -n 's/.*"val\/accuracy": *\([0-9.eE+-]*\).*/\1/p')
seconds=$(printf '%s' "$result" | sed -n 's/.*"train_seconds": *\([0-9.eE+-]*\).*/\1/p')
[ -n "$accuracy" ] || {
    echo "quickstart: no accuracy in: $result" >&2
    exit 1
}
LC_ALL=C printf 'training time:  %.1f s\n' "$seconds"
echo "test accuracy:  $accuracy (10,000 images)"
echo "report:         $PWD/$run/report.html"
