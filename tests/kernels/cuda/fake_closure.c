/* fake_closure.c - the driver's side of fake_launch.h. */
#include "fake_device.h"
#include "fake_launch.h"
#include "fake_parts.h"

#include "kernels/cuda/cuda.h"

/* What an emulated kernel does wrong (a race, divergence, shared memory out of bounds) is a
 * misuse of the device. */
static void run(dim3 grid, dim3 block, size_t shared_bytes, void **arguments) {
    (void)grid, (void)block, (void)shared_bytes;
    if (fake_closure_run(arguments[0]) != QUERN_OK) fake_misuse(quern_error());
}

static const fake_kernel emulated = {
    FAKE_KERNEL_MAGIC, "an emulated kernel", 1, {sizeof(fake_closure)}, run};

quern_status fake_closure_issue(quern_stream *stream, const fake_closure *closure) {
    fake_closure copy = *closure;
    void *arguments[] = {&copy};
    const dim3 grid = {copy.grid[0], copy.grid[1], copy.grid[2]};
    const dim3 block = {copy.block[0], copy.block[1], copy.block[2]};
    return CUDA_CALL(
        stream, cudaLaunchKernel,
        (&emulated, grid, block, arguments, copy.shared_bytes, cuda_stream_handle(stream)));
}
