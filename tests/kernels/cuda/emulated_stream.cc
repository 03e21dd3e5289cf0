// A stream for tests of single kernels: a launch runs when it is issued.
#include "emulation.h"
#include "emulation_control.h"

struct quern_stream {
    cuda_fault fault;
};

cuda_fault *cuda_stream_fault(const quern_stream *stream) {
    return const_cast<cuda_fault *>(&stream->fault);
}

quern_status emulation::launch(quern_stream *, dim3 grid, dim3 block, size_t shared_bytes,
                               void (*body)(void *), const void *context, size_t) {
    return launch_run(grid, block, shared_bytes, body, const_cast<void *>(context));
}

quern_stream *emulation_stream_create(void) { return new quern_stream(); }
void emulation_stream_destroy(quern_stream *stream) { delete stream; }

quern_status emulation_stream_wait(quern_stream *stream) {
    const cuda_fault f = stream->fault;
    stream->fault = cuda_fault();
    if (f.code == 0) return QUERN_OK;
    return quern_fail(QUERN_INPUT, "index %lld at position %lld is outside [0, %lld)",
                      (long long)f.value, (long long)f.position, (long long)f.limit);
}
