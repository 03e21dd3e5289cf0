#include "cublaslt.h"

quern_status cublaslt_check(const cublaslt_table *table, cublasStatus_t code, const char *call,
                            const char *what) {
    quern_status status = QUERN_INTERNAL;
    switch (code) {
    case CUBLAS_STATUS_SUCCESS: return QUERN_OK;
    case CUBLAS_STATUS_ALLOC_FAILED: status = QUERN_DEVICE_MEMORY; break;
    case CUBLAS_STATUS_NOT_SUPPORTED:
    case CUBLAS_STATUS_ARCH_MISMATCH: status = QUERN_UNSUPPORTED; break;
    case CUBLAS_STATUS_NOT_INITIALIZED:
    case CUBLAS_STATUS_EXECUTION_FAILED:
    case CUBLAS_STATUS_MAPPING_ERROR: status = QUERN_DEVICE_LOST; break;
    default: break;
    }
    return cuda_fail(status, "%s: %s: %s (%d)", what, call, table->cublasLtGetStatusName(code),
                     (int)code);
}
