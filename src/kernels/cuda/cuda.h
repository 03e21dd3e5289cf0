/* cuda.h - what the kernels of this folder share, in C and in C++: how to fail, how to check a
 * call, and what a stream is underneath.
 *
 * The module links nothing of the core, so quern_fail and its like are reached through the
 * services that the core hands over when it opens the module. */
#ifndef QUERN_KERNELS_CUDA_CUDA_H
#define QUERN_KERNELS_CUDA_CUDA_H

#include "device/driver.h"

#ifdef __cplusplus
extern "C" {
#endif

#include "../../host/base/report.h" /* QUERN_TRY only: the rest of it is the core's */
#include "../module.h"
#include "fault.h"
#include "table.h"

#define CUDA_SENTENCE_BYTES 1024

const quern_services *cuda_services(void);
/* quern_fail(status, format, …) of the core. */
#define cuda_fail(...) cuda_services()->fail(__VA_ARGS__)

/* OK, or the status that belongs to the code, with a sentence that names call, code, what was
 * being done (may be NULL) and the device. A code after which CUDA itself refuses all work marks
 * the device as lost: every later call on it returns the same failure. */
QUERN_MUST_CHECK quern_status cuda_check(backend_device *device, cudaError_t code, const char *call,
                                         const char *what);
/* The same for a call of a library, whose code already has a status: "call failed with code (words)
 * in what on CUDA device 0 (name)". */
quern_status cuda_device_fail(backend_device *device, quern_status status, const char *call,
                              int code, const char *words, const char *what);
/* In a kernel function: CUDA_CALL(args->stream, cudaMemsetAsync, (to, 0, bytes, stream)). */
#define CUDA_CALL(stream, name, arguments)                                                         \
    cuda_check(cuda_stream_device(stream), cuda_driver.name arguments, #name,                      \
               cuda_stream_doing(stream))
/* Whether CUDA still takes calls for this device, the current one. A library's code does not say
 * so: a kernel that cannot be loaded or launched has the same as a device that only a new process
 * gets back. Waits for nothing. */
bool cuda_device_answers(const backend_device *device);

cudaStream_t cuda_stream_handle(const quern_stream *stream);
backend_device *cuda_stream_device(const quern_stream *stream);
/* What was issued to the stream last: "linear forward". For sentences. */
const char *cuda_stream_doing(const quern_stream *stream);

/* Pinned host memory that the device can write: fault.h. */
cuda_fault *cuda_stream_fault(const quern_stream *stream);

int32_t cuda_device_multiprocessors(const backend_device *device);
int32_t cuda_device_capability(const backend_device *device); /* 90 for 9.0 */
int64_t cuda_device_memory_bytes(const backend_device *device);
int32_t cuda_device_cache_bytes(const backend_device *device); /* the second level's */
int32_t cuda_device_index(const backend_device *device);
const char *cuda_device_name(const backend_device *device);
const quern_host *cuda_device_host(const backend_device *device);
bool cuda_device_allows_tf32(const backend_device *device);
bool cuda_device_tunes(const backend_device *device);
/* The algorithm record in use; NULL: none. */
backend_record *cuda_device_record(const backend_device *device);

/* For teardown, which returns nothing: TORN_DOWN_AS(device, a check of one call). A failure goes to
 * the log, and this thread's sentence stays what it was. */
#define TORN_DOWN_AS(device, check)                                                                \
    do {                                                                                           \
        cuda_teardown teardown_;                                                                   \
        cuda_teardown_begin(&teardown_, device);                                                   \
        cuda_teardown_end(&teardown_, device, check);                                              \
    } while (0)
typedef struct cuda_teardown {
    bool was_lost;
    char sentence[CUDA_SENTENCE_BYTES];
} cuda_teardown;
void cuda_teardown_begin(cuda_teardown *teardown, backend_device *device);
void cuda_teardown_end(const cuda_teardown *teardown, backend_device *device, quern_status status);

/* What a file of this folder keeps for a device: made at its first use, dropped when the device
 * closes, the last first. */
typedef enum cuda_slot {
    CUDA_SLOT_LIBRARIES, /* libraries.h */
    CUDA_SLOT_COUNT,
} cuda_slot;
void *cuda_device_slot(const backend_device *device, cuda_slot slot);
void cuda_device_slot_set(backend_device *device, cuda_slot slot, void *value,
                          void (*drop)(backend_device *device, void *value));

/* quern_dtype_bytes of the core. */
static inline size_t cuda_dtype_bytes(quern_dtype dtype) {
#define X(name, bytes, text)                                                                       \
    if (dtype == QUERN_##name) return bytes;
    QUERN_DTYPE_LIST(X)
#undef X
    return 0;
}

#ifdef __cplusplus
}
#endif
#endif
