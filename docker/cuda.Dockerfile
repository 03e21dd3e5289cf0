# The CUDA image: Quern with its CUDA module, and the tree in which the module's tests run. They are
# green without a GPU, and on one when the container gets it.
#
#   docker build -f docker/cuda.Dockerfile -t quern:cuda .
#   docker run --rm --gpus all quern:cuda                     the tests
#   docker run --rm --gpus all quern:cuda quern devices
#
# The base brings nvcc, cuBLAS and cuDNN in /usr/local/cuda or in the distribution's folders. On a
# base without them, bind-mount a toolkit while building and running: QUERN_IMAGE=cuda
# tools/container.sh does so. The toolkit is not copied into the image.
ARG BASE_IMAGE=nvidia/cuda:13.0.2-cudnn-devel-ubuntu24.04

FROM ${BASE_IMAGE} AS build
COPY tools/deps.sh /tmp/deps.sh
RUN bash /tmp/deps.sh test && rm -rf /var/lib/apt/lists/* /tmp/deps.sh
ENV PATH=/usr/local/cuda/bin:${PATH}
COPY . /quern
WORKDIR /quern
# A base on which the tests of cuDNN's plans would be missing does not make this image. What was
# compiled before is kept outside the layers (by BuildKit, Docker's builder since 23): an edited
# source costs its own compilation.
RUN --mount=type=cache,target=/root/.cache/ccache \
    cmake --preset cuda -DCMAKE_INSTALL_PREFIX=/usr/local \
 && cmake --build --preset cuda -j "$(nproc)" \
 && ctest --preset cuda -N -R '^CudnnPlans[.]' | grep -q 'Total Tests: [1-9]' \
 && cmake --install build/cuda --strip \
 && ldconfig

# ctest writes its log and the tests their scratch files beside the build.
FROM build AS test
RUN chown -R 10001:10001 /quern
ENV HOME=/tmp NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
HEALTHCHECK --interval=60s --timeout=10s CMD ["quern", "devices"]
CMD ["ctest", "--preset", "cuda", "-L", "^cuda$", "-j", "2"]
