#!/usr/bin/env bash
# container.sh [COMMAND...]  Builds docker/cpu.Dockerfile and runs it: the test suite, or COMMAND.
# QUERN_IMAGE=cuda: docker/cuda.Dockerfile, with this machine's toolkit bind-mounted into it.
# With Docker where there is one; else with buildah as root, on a base that debootstrap makes.
#
# QUERN_CONTAINER_DIR  storage of buildah and the base; default /var/tmp/quern-container
# QUERN_CONTAINER_DRIVER  the storage driver of buildah, default overlay; vfs is slower
# QUERN_CUDA_ROOT      the toolkit, default /usr/local/cuda
# BASE_IMAGE           another base image
set -euo pipefail
cd "$(dirname "$0")/.."
base=${BASE_IMAGE:-docker.io/library/debian:bookworm-slim}
image=${QUERN_IMAGE:-cpu}
tag=quern:$image
toolkit=() gpus=()
if [ "$image" = cuda ]; then
    root=$(readlink -f "${QUERN_CUDA_ROOT:-/usr/local/cuda}")
    toolkit=(-v "$root:/usr/local/cuda:ro")
    if [ -e /dev/nvidiactl ]; then gpus=(--gpus all); fi
fi

if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    if [ "$image" = cuda ]; then # docker build mounts nothing: the base brings the toolkit
        base=${BASE_IMAGE:-nvidia/cuda:13.0.2-cudnn-devel-ubuntu24.04}
    fi
    export DOCKER_BUILDKIT=1 # for what the Dockerfiles keep outside the layers
    docker build --build-arg "BASE_IMAGE=$base" -f "docker/$image.Dockerfile" -t "$tag" .
    exec docker run --rm "${gpus[@]}" "$tag" "$@"
fi

[ "$(id -u)" -eq 0 ] || {
    echo "container: without Docker this needs root, for buildah and debootstrap" >&2
    exit 1
}
missing=()
for tool in buildah debootstrap; do
    command -v $tool >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
    apt-get -q update
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

work=${QUERN_CONTAINER_DIR:-/var/tmp/quern-container}
driver=${QUERN_CONTAINER_DRIVER:-overlay}
mkdir -p "$work"
export BUILDAH_ISOLATION=chroot
store() {
    buildah --root "$work/storage" --runroot "$work/run" --storage-driver "$driver" "$@"
}
pull=()

if [ -z "${BASE_IMAGE:-}" ]; then pull=(--pull=never); fi
if [ -z "${BASE_IMAGE:-}" ] && ! store inspect --type image "$base" >/dev/null 2>&1; then
    rm -rf "$work/base" "$work/context"
    debootstrap --variant=minbase bookworm "$work/base" >"$work/debootstrap.log"
    mkdir -p "$work/context"
    tar -C "$work/base" -cf "$work/context/base.tar" .
    printf 'FROM scratch\nADD base.tar /\nCMD ["bash"]\n' >"$work/context/Dockerfile"
    store bud -t "$base" "$work/context"
    rm -rf "$work/base" "$work/context"
fi
store bud --format docker "${pull[@]}" --layers --build-arg "BASE_IMAGE=$base" "${toolkit[@]}" \
    -f "docker/$image.Dockerfile" -t "$tag" .

container=$(store from --pull-never "localhost/$tag")
trap 'store rm "$container" >/dev/null' EXIT
if [ $# -eq 0 ]; then
    # buildah run does not read the image's default command.
    list='{{range .OCIv1.Config.Cmd}}{{println .}}{{end}}'
    mapfile -t words < <(store inspect --type image --format "$list" "localhost/$tag" |
        sed '/^$/d')
    set -- "${words[@]}"
fi
store run "${toolkit[@]}" "$container" -- "$@"
