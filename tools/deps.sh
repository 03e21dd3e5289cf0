#!/usr/bin/env bash
# deps.sh [build|test]  Installs the Debian packages that Quern needs, and the Fashion-MNIST files.
# `build` is enough to build and to train; `test` (the default) adds what tools/test.sh runs.
# Installs only what is missing, so running it again does nothing. Wants root, or sudo.
set -euo pipefail

# ca-certificates: a bare container's package sources may be https. libyaml-dev: libcyaml.pc names
# it, the package does not. locales: tests make one with a decimal comma.
packages=(ca-certificates gcc g++ libc6-dev binutils cmake ninja-build pkg-config
    libopenblas-serial-dev zlib1g-dev libjansson-dev libxxhash-dev libcyaml-dev
    libyaml-dev libprotobuf-c-dev protobuf-c-compiler libisal-dev
    dataset-fashion-mnist)
case "${1:-test}" in
build) ;;
test)
    packages+=(git ccache python3 xz-utils libgtest-dev gcovr valgrind strace locales
        clang-14 libclang-rt-14-dev clang-tidy-14 clang-format-14)
    ;;
*)
    sed -n '2,4p' "$0"
    exit 2
    ;;
esac

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$state" != installed ]; then missing+=("$package"); fi
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "deps: everything is installed"
    exit 0
fi

root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "deps: needs root (or sudo) to install: ${missing[*]}" >&2
        exit 1
    }
    root=(sudo)
fi
echo "deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for step in "update" "install -y --no-install-recommends ${missing[*]}"; do
    # shellcheck disable=SC2086
    if ! "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q $step >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        echo "deps: apt-get ${step%% *} failed" >&2
        exit 1
    fi
done
echo "deps: done"
