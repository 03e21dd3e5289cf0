/* fake_launch.h - a launch of an emulated kernel, as the fake device keeps it. The two sides cannot
 * include each other's headers: CUDA's dim3 and the emulation's are two types. */
#ifndef QUERN_TESTS_KERNELS_CUDA_FAKE_LAUNCH_H
#define QUERN_TESTS_KERNELS_CUDA_FAKE_LAUNCH_H

#include "kernels/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fake_closure {
    unsigned grid[3], block[3];
    size_t shared_bytes;
    void (*body)(void *context);
    unsigned char context[4096 + 64]; /* a kernel's address and its arguments, as many as CUDA's */
} fake_closure;

quern_status fake_closure_issue(quern_stream *stream, const fake_closure *closure);
quern_status fake_closure_run(fake_closure *closure);

#ifdef __cplusplus
}
#endif
#endif
