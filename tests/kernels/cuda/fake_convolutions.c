/* fake_convolutions.c - the double of cuDNN on the fake device: a graph of operations joins the
 * queue of its handle's stream like a kernel, and reads its tensors when its turn comes. */
#include "fake_device.h"
#include "fake_parts.h"

#include "fake_cudnn.h"

#include <stdio.h>
#include <unistd.h>

quern_status cudnn_open_double(cudnn_table *out); /* fake_cudnn.c's cudnn_open */

static cudaStream_t current; /* of the one handle that a device has */

static void run(dim3 grid, dim3 block, size_t shared_bytes, void **arguments) {
    (void)grid, (void)block, (void)shared_bytes;
    const int64_t before = fake_cudnn.taken_ns;
    if (fake_cudnn_perform(arguments[0]) != CUDNN_STATUS_SUCCESS)
        fake_misuse("a graph of cuDNN without all its pointers");
    fake.device_ns += fake_cudnn.taken_ns - before;
}

static const fake_kernel graph_kernel = {
    FAKE_KERNEL_MAGIC, "a graph of cuDNN", 1, {sizeof(fake_cudnn_run)}, run};

static cudnnStatus_t failure(void) {
    return fake_library_is_lost(&fake_cudnn.library)
               ? CUDNN_STATUS_EXECUTION_FAILED
               : CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
}

static cudnnStatus_t set_stream(cudnnHandle_t handle, cudaStream_t stream) {
    if (handle == NULL) return CUDNN_STATUS_BAD_PARAM;
    if (fake_library_enter(&fake_cudnn.library)) return failure();
    current = stream;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t execute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                             cudnnBackendDescriptor_t pack) {
    fake_cudnn_run r;
    if (handle == NULL) return CUDNN_STATUS_BAD_PARAM;
    if (fake_library_enter(&fake_cudnn.library)) return failure();
    const cudnnStatus_t status = fake_cudnn_describe(plan, pack, &r);
    if (status != CUDNN_STATUS_SUCCESS) return status;
    void *arguments[] = {&r};
    const cudaError_t code = cuda_driver.cudaLaunchKernel(&graph_kernel, (dim3){1, 1, 1},
                                                          (dim3){1, 1, 1}, arguments, 0, current);
    return code == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

static cudnn_table inner;
static int made_on; /* the device that was current */

static cudnnStatus_t create(cudnnHandle_t *handle) {
    made_on = fake_current_device();
    return inner.cudnnCreate(handle);
}

static cudnnStatus_t destroy(cudnnHandle_t handle) {
    if (fake_current_device() != made_on) fake_misuse("a handle of cuDNN: another device");
    return inner.cudnnDestroy(handle);
}

quern_status cudnn_open(cudnn_table *out) {
    QUERN_TRY(cudnn_open_double(&inner));
    *out = inner;
    out->cudnnCreate = create;
    out->cudnnDestroy = destroy;
    out->cudnnSetStream = set_stream;
    out->cudnnBackendExecute = execute;
    return QUERN_OK;
}

/* What is left behind in the library fails the whole executable. */
__attribute__((destructor)) static void end(void) {
    if (fake_cudnn.library.live == 0 && fake_cudnn.library.misuse[0] == 0) return;
    fprintf(stderr, "Failure: the double of cuDNN: %s, %lld objects alive\n",
            fake_cudnn.library.misuse, (long long)fake_cudnn.library.live);
    _exit(1);
}
