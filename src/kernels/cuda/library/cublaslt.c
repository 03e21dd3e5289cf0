#include "cublaslt.h"

/* A kernel that could not be loaded or launched has the codes of a lost device, and a handle for
 * which there is no memory is not initialized. */
static quern_status status_of(const backend_device *device, cublasStatus_t code) {
    switch (code) {
    case CUBLAS_STATUS_SUCCESS: return QUERN_OK;
    case CUBLAS_STATUS_ALLOC_FAILED: return QUERN_DEVICE_MEMORY;
    case CUBLAS_STATUS_NOT_SUPPORTED:
    case CUBLAS_STATUS_ARCH_MISMATCH: return QUERN_UNSUPPORTED;
    case CUBLAS_STATUS_NOT_INITIALIZED:
    case CUBLAS_STATUS_EXECUTION_FAILED:
    case CUBLAS_STATUS_MAPPING_ERROR:
        return cuda_device_answers(device) ? QUERN_INTERNAL : QUERN_DEVICE_LOST;
    default: return QUERN_INTERNAL;
    }
}

static quern_status fail(backend_device *device, const cublaslt_table *table, quern_status status,
                         cublasStatus_t code, const char *call, const char *what) {
    return cuda_device_fail(device, status, call, (int)code, table->cublasLtGetStatusName(code),
                            what);
}

quern_status cublaslt_check(backend_device *device, const cublaslt_table *table,
                            cublasStatus_t code, const char *call, const char *what) {
    const quern_status status = status_of(device, code);
    return status == QUERN_OK ? QUERN_OK : fail(device, table, status, code, call, what);
}

quern_status cublaslt_ask(backend_device *device, const cublaslt_table *table, cublasStatus_t code,
                          const char *call, const char *what, bool *yes) {
    const quern_status status = status_of(device, code);
    *yes = status == QUERN_OK;
    if (*yes || status == QUERN_UNSUPPORTED || status == QUERN_INTERNAL) return QUERN_OK;
    return fail(device, table, status, code, call, what);
}
