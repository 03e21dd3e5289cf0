/* fake_report.c - a machine with two of the vendor's libraries, in the place of the real one. */
#include "fake_device.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/library/library_report.h"

#include <string.h>

void library_report(quern_library_info out[QUERN_CUDA_LIBRARY_COUNT]) {
    static const quern_library_info found[QUERN_CUDA_LIBRARY_COUNT] = {
        {.name = "cuBLASLt", .version = "13.1.0", .path = "/fake/libcublasLt.so.13"},
        {.name = "cuDNN", .version = "9.19.0", .path = "/fake/libcudnn.so.9"},
        {.name = "NCCL", .reason = "libnccl.so.2 cannot be loaded"},
    };
    memcpy(out, found, sizeof found);
}

quern_status library_require(void) {
    if (!fake.no_blas) return QUERN_OK;
    return cuda_fail(QUERN_UNSUPPORTED, "libcublasLt.so.13 cannot be loaded");
}
