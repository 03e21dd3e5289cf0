/* libraries.h - what the kernels that call cuBLASLt and cuDNN share, one of it a device: the tables
 * of functions, the handles, the remembered algorithms and plans. A library is loaded when the
 * first kernel that needs it is planned. Only plan() may change any of this; forward and backward
 * read what their own plans point to. */
#ifndef QUERN_KERNELS_CUDA_LIBRARIES_H
#define QUERN_KERNELS_CUDA_LIBRARIES_H

#include "algorithm_cache.h"
#include "algorithm_record.h"
#include "cublaslt.h"
#include "cudnn_table.h"

/* The most scratch that a product may ask for. A graph of cuDNN may ask for a sixteenth of the
 * device's memory where that is more: beside images of that size it is little, and where nothing
 * fits a convolution is computed directly, many times slower. */
#define LIBRARY_WORKSPACE_LIMIT ((size_t)256 << 20)
enum { LIBRARY_WORKSPACE_SHARE = 16 };

typedef struct cuda_libraries {
    const quern_host *host;
    backend_device *owner;
    char device[128];  /* part of every key: "NVIDIA H200 sm_90" */
    char folder[1024]; /* of remembered algorithms and plans; "": nothing is remembered on disk */
    bool allow_tf32, tune;
    backend_record *record; /* that the plan being made stands in; NULL: none */
    bool told;              /* that a remembered file could not be used: said once */
    bool told_invalid;      /* that an epilogue is called invalid: said once */
    bool told_direct;       /* that convolutions are computed without cuDNN: said once */
    cublaslt_table blas;
    cublasLtHandle_t blas_handle; /* NULL: not yet needed */
    algorithm_cache algorithms;
    cudnn_table dnn;
    size_t dnn_limit;         /* of a graph's scratch */
    bool dnn_doubt;           /* of the last choice: that no engine is fit may be passing */
    backend_record *counted;  /* of graphs planned before: "none", or bytes; NULL: of none yet */
    bool dnn_absent;          /* cuDNN was looked for in vain */
    cudnnHandle_t dnn_handle; /* NULL: not yet needed, or plans are made without a device */
    cudnnBackendDescriptor_t dnn_device; /* describes the device in the place of a handle; tests */
} cuda_libraries;

/* The libraries of the stream's device; made at the first call, which loads nothing. */
QUERN_MUST_CHECK quern_status libraries_of(cuda_libraries **out, const quern_stream *stream);

/* After OK the table and the handle are there. */
QUERN_MUST_CHECK quern_status libraries_need_blas(cuda_libraries *libraries);

/* The oldest cuDNN whose graphs are built here. */
#define LIBRARY_CUDNN_LEAST 90000
/* *there: the table and the handle are. Not there: cuDNN or a part of it cannot be loaded, is too
 * old, or says that it does not support this device, and that has been said. A handle that cannot
 * be had otherwise is a failure, and asked for again. */
QUERN_MUST_CHECK quern_status libraries_find_dnn(cuda_libraries *libraries, bool *there);
/* For teardown: TORN_DOWN_BLAS(libraries, cublasLtDestroy, (handle)). */
#define TORN_DOWN_BLAS(l, name, arguments)                                                         \
    TORN_DOWN_AS((l)->owner,                                                                       \
                 cublaslt_check((l)->owner, &(l)->blas, (l)->blas.name arguments, #name, NULL))
#define TORN_DOWN_DNN(l, name, arguments)                                                          \
    TORN_DOWN_AS((l)->owner,                                                                       \
                 cudnn_check((l)->owner, &(l)->dnn, (l)->dnn.name arguments, #name, NULL))

/* Warns, the first time, that convolutions are computed by the kernels of conv2d_direct.h. */
void libraries_tell_direct(cuda_libraries *libraries, const char *why);

/* Warns, the first time, that what a file or record remembers is not used and is found anew. */
void libraries_tell_unusable(cuda_libraries *libraries, const char *path, const char *why);

#endif
