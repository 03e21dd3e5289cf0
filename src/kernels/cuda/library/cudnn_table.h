/* cudnn_table.h - the functions of cuDNN that this module calls, as one table: the backend API of
 * descriptors and little else. The library is loaded when the first graph is planned. The tests
 * link another definition of cudnn_open. */
#ifndef QUERN_KERNELS_CUDA_CUDNN_TABLE_H
#define QUERN_KERNELS_CUDA_CUDNN_TABLE_H

#include "../cuda.h"

#include <cudnn.h>

/* clang-format off */
#define CUDNN_LIST(X)                                                                              \
    X(cudnnCreate) X(cudnnDestroy) X(cudnnSetStream) X(cudnnGetVersion)                            \
    X(cudnnGetErrorString) X(cudnnGetLastErrorString)                                              \
    X(cudnnBackendCreateDescriptor) X(cudnnBackendDestroyDescriptor) X(cudnnBackendFinalize)       \
    X(cudnnBackendSetAttribute) X(cudnnBackendGetAttribute) X(cudnnBackendExecute)
/* clang-format on */

typedef struct cudnn_table {
#define X(name) __typeof__(name) *name;
    CUDNN_LIST(X)
#undef X
} cudnn_table;

/* Fills the table. UNSUPPORTED when the library or one of the functions is missing. */
QUERN_MUST_CHECK quern_status cudnn_open(cudnn_table *out);

/* OK, or a status with a sentence, as cuda_check gives it, and the library's own words. */
QUERN_MUST_CHECK quern_status cudnn_check(backend_device *device, const cudnn_table *table,
                                          cudnnStatus_t code, const char *call, const char *what);
/* The same for a question: that the library cannot do something is an answer. */
QUERN_MUST_CHECK quern_status cudnn_ask(backend_device *device, const cudnn_table *table,
                                        cudnnStatus_t code, const char *call, const char *what,
                                        bool *yes);

#endif
