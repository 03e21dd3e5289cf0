# The CPU image: Quern built and installed, and the tree in which its test suite runs.
#
#   docker build -f docker/cpu.Dockerfile -t quern:cpu .
#   docker run --rm quern:cpu                                the test suite
#   docker run --rm quern:cpu quern train --model mlp --data synthetic --steps 100 --device cpu
#   docker build -f docker/cpu.Dockerfile --target runtime   only the library and the command
#
# tools/container.sh does the same where Docker is missing.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BASE_IMAGE} AS build
# The dependencies are a layer of their own: editing a source does not install them again.
COPY tools/deps.sh /tmp/deps.sh
RUN bash /tmp/deps.sh test && rm -rf /var/lib/apt/lists/* /tmp/deps.sh
COPY . /quern
WORKDIR /quern
# What was compiled before is kept outside the layers (by BuildKit, Docker's builder since 23): an
# edited source costs its own compilation.
RUN --mount=type=cache,target=/root/.cache/ccache \
    cmake --preset release -DCMAKE_INSTALL_PREFIX=/usr/local \
 && cmake --build --preset release -j "$(nproc)" \
 && cmake --install build/release --strip \
 && ldconfig

FROM ${BASE_IMAGE} AS runtime
RUN apt-get update -q \
 && apt-get install -y --no-install-recommends libjansson4 libcyaml1 libisal2 libprotobuf-c1 zlib1g \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/ /usr/local/
RUN ldconfig
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /tmp
HEALTHCHECK --interval=60s --timeout=10s CMD ["quern", "devices"]
CMD ["quern", "devices"]

FROM build AS test
# ctest writes its log and the tests their scratch files beside the build.
RUN chown -R 10001:10001 /quern
ENV HOME=/tmp NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
HEALTHCHECK --interval=60s --timeout=10s CMD ["quern", "devices"]
CMD ["ctest", "--preset", "release", "-j", "2"]
