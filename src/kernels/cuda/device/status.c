/* status.c - what a CUDA error code means to the caller, and the sentence that says so.
 *
 * Memory that is not there is DEVICE_MEMORY and leaves the device usable. What this build or card
 * cannot do is UNSUPPORTED. A call that CUDA finds wrong is a broken invariant of ours, INTERNAL.
 * Everything else, known or not, loses the device: CUDA's own rule for errors inside a kernel is
 * that the process has to start anew, and a device that answers in a way that nobody foresaw is
 * not trained on. */
#include "device.h"

#include <stdio.h>
#include <string.h>

static const struct {
    cudaError_t code;
    quern_status status;
} meanings[] = {
    {cudaErrorMemoryAllocation, QUERN_DEVICE_MEMORY},
    {cudaErrorInvalidValue, QUERN_INTERNAL},
    {cudaErrorInvalidConfiguration, QUERN_INTERNAL},
    {cudaErrorInvalidResourceHandle, QUERN_INTERNAL},
    {cudaErrorLaunchOutOfResources, QUERN_INTERNAL},
    {cudaErrorStreamCaptureUnsupported, QUERN_INTERNAL},
    {cudaErrorStreamCaptureInvalidated, QUERN_INTERNAL},
    {cudaErrorStreamCaptureMerge, QUERN_INTERNAL},
    {cudaErrorStreamCaptureUnmatched, QUERN_INTERNAL},
    {cudaErrorStreamCaptureUnjoined, QUERN_INTERNAL},
    {cudaErrorStreamCaptureIsolation, QUERN_INTERNAL},
    {cudaErrorStreamCaptureImplicit, QUERN_INTERNAL},
    {cudaErrorStreamCaptureWrongThread, QUERN_INTERNAL},
    {cudaErrorCapturedEvent, QUERN_INTERNAL},
    {cudaErrorNotSupported, QUERN_UNSUPPORTED},
    {cudaErrorNoKernelImageForDevice, QUERN_UNSUPPORTED},
    {cudaErrorInvalidKernelImage, QUERN_UNSUPPORTED},
    {cudaErrorInvalidDeviceFunction, QUERN_UNSUPPORTED},
    {cudaErrorUnsupportedPtxVersion, QUERN_UNSUPPORTED},
    {cudaErrorJitCompilerNotFound, QUERN_UNSUPPORTED},
    {cudaErrorInsufficientDriver, QUERN_NO_DEVICE},
    {cudaErrorNoDevice, QUERN_NO_DEVICE},
    {cudaErrorInvalidDevice, QUERN_NO_DEVICE},
    {cudaErrorDevicesUnavailable, QUERN_NO_DEVICE},
};

static quern_status meaning_of(cudaError_t code) {
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        if (meanings[i].code == code) return meanings[i].status;
    return QUERN_DEVICE_LOST;
}

/* The first sentence stays: what follows is its consequence. */
static void device_lose(backend_device *device) {
    int alive = 0;
    if (!atomic_compare_exchange_strong(&device->lost, &alive, 1)) return;
    snprintf(device->lost_sentence, sizeof device->lost_sentence, "%s", cuda_services()->error());
    atomic_store(&device->lost, 2);
}

quern_status cuda_device_fail(backend_device *device, quern_status status, const char *call,
                              int code, const char *words, const char *what) {
    const bool has_what = what != NULL && what[0] != 0;
    (void)cuda_fail(status, "%s failed with %d (%.400s)%s%.400s on CUDA device %d%s%s%s", call,
                    code, words, has_what ? " in " : "", has_what ? what : "", (int)device->index,
                    device->name[0] != 0 ? " (" : "", device->name,
                    device->name[0] != 0 ? ")" : "");
    if (status == QUERN_DEVICE_LOST) device_lose(device);
    return status;
}

quern_status cuda_check(backend_device *device, cudaError_t code, const char *call,
                        const char *what) {
    char words[256];
    if (code == cudaSuccess) return QUERN_OK;
    const quern_status status = meaning_of(code);
    snprintf(words, sizeof words, "%s: %s", cuda_driver.cudaGetErrorName(code),
             cuda_driver.cudaGetErrorString(code));
    if (status != QUERN_DEVICE_LOST)
        IGNORED(cudaGetLastError, ()); /* else the next check of a launch would find it */
    return cuda_device_fail(device, status, call, (int)code, words, what);
}

/* Behind an error that stays, each call returns it: this one needs no stream, changes nothing. That
 * a capture forbids it is an answer too. */
bool cuda_device_answers(const backend_device *device) {
    size_t free_bytes, total_bytes;
    if (atomic_load(&device->lost) != 0) return false;
    const cudaError_t code = cuda_driver.cudaMemGetInfo(&free_bytes, &total_bytes);
    IGNORED(cudaGetLastError, ()); /* what the library has left there, or this call */
    return code == cudaSuccess ||
           (code >= cudaErrorStreamCaptureUnsupported && code <= cudaErrorCapturedEvent);
}

void cuda_teardown_begin(cuda_teardown *teardown, backend_device *device) {
    teardown->was_lost = atomic_load(&device->lost) != 0;
    snprintf(teardown->sentence, sizeof teardown->sentence, "%s", cuda_services()->error());
}

/* What a device that was lost before says to its teardown is known. */
void cuda_teardown_end(const cuda_teardown *teardown, backend_device *device, quern_status status) {
    if (status == QUERN_OK) return;
    if (!teardown->was_lost)
        cuda_services()->log(device->host, QUERN_LOG_WARNING, "%s", cuda_services()->error());
    (void)cuda_fail(status, "%s", teardown->sentence);
}

quern_status device_status(backend_device *device) {
    if (atomic_load(&device->lost) != 2) return QUERN_OK;
    return cuda_fail(QUERN_DEVICE_LOST, "%s", device->lost_sentence);
}

quern_status device_enter(backend_device *device, int *previous) {
    *previous = device->index;
    QUERN_TRY(device_status(device));
    QUERN_TRY(CHECKED(device, "making it current", cudaGetDevice, (previous)));
    if (*previous == device->index) return QUERN_OK;
    return CHECKED(device, "making it current", cudaSetDevice, (device->index));
}

void device_leave(const backend_device *device, int previous) {
    if (previous != device->index) IGNORED(cudaSetDevice, (previous));
}
