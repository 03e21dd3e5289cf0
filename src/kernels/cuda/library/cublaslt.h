/* cublaslt.h - the functions of cuBLASLt that this module calls, as one table.
 *
 * The library is loaded when the first product is planned (it takes 90 ms). The tests link another
 * definition of cublaslt_open, whose table computes on host memory what the descriptors say. */
#ifndef QUERN_KERNELS_CUDA_CUBLASLT_H
#define QUERN_KERNELS_CUDA_CUBLASLT_H

#include "../cuda.h"

#include <cublasLt.h>

/* clang-format off */
#define CUBLASLT_LIST(X)                                                                           \
    X(cublasLtCreate) X(cublasLtDestroy) X(cublasLtGetVersion) X(cublasLtGetStatusName)            \
    X(cublasLtMatrixLayoutCreate) X(cublasLtMatrixLayoutDestroy)                                   \
    X(cublasLtMatrixLayoutSetAttribute)                                                            \
    X(cublasLtMatmulDescCreate) X(cublasLtMatmulDescDestroy) X(cublasLtMatmulDescSetAttribute)     \
    X(cublasLtMatmulPreferenceCreate) X(cublasLtMatmulPreferenceDestroy)                           \
    X(cublasLtMatmulPreferenceSetAttribute)                                                        \
    X(cublasLtMatmulAlgoGetHeuristic) X(cublasLtMatmulAlgoCheck) X(cublasLtMatmul)
/* clang-format on */

typedef struct cublaslt_table {
#define X(name) __typeof__(name) *name;
    CUBLASLT_LIST(X)
#undef X
} cublaslt_table;

/* Fills the table. UNSUPPORTED when the library or one of the functions is missing. */
QUERN_MUST_CHECK quern_status cublaslt_open(cublaslt_table *out);

/* OK, or a status with a sentence, as cuda_check gives it. */
QUERN_MUST_CHECK quern_status cublaslt_check(backend_device *device, const cublaslt_table *table,
                                             cublasStatus_t code, const char *call,
                                             const char *what);
/* The same for a question: that the library cannot do something is an answer. */
QUERN_MUST_CHECK quern_status cublaslt_ask(backend_device *device, const cublaslt_table *table,
                                           cublasStatus_t code, const char *call, const char *what,
                                           bool *yes);

#endif
