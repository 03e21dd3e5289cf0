#include "cublaslt.h"

static quern_status status_of(cublasStatus_t code) {
    switch (code) {
    case CUBLAS_STATUS_SUCCESS: return QUERN_OK;
    case CUBLAS_STATUS_ALLOC_FAILED: return QUERN_DEVICE_MEMORY;
    case CUBLAS_STATUS_NOT_SUPPORTED:
    case CUBLAS_STATUS_ARCH_MISMATCH: return QUERN_UNSUPPORTED;
    case CUBLAS_STATUS_NOT_INITIALIZED:
    case CUBLAS_STATUS_EXECUTION_FAILED:
    case CUBLAS_STATUS_MAPPING_ERROR: return QUERN_DEVICE_LOST;
    default: return QUERN_INTERNAL;
    }
}

quern_status cublaslt_check(backend_device *device, const cublaslt_table *table,
                            cublasStatus_t code, const char *call, const char *what) {
    const quern_status status = status_of(code);
    if (status == QUERN_OK) return QUERN_OK;
    return cuda_device_fail(device, status, call, (int)code, table->cublasLtGetStatusName(code),
                            what);
}

quern_status cublaslt_ask(backend_device *device, const cublaslt_table *table, cublasStatus_t code,
                          const char *call, const char *what, bool *yes) {
    const quern_status status = status_of(code);
    *yes = status == QUERN_OK;
    if (status == QUERN_UNSUPPORTED || status == QUERN_INTERNAL) return QUERN_OK;
    return cublaslt_check(device, table, code, call, what);
}
