/* product_parts.h - what the files of product.h share. */
#ifndef QUERN_KERNELS_CUDA_PRODUCT_PARTS_H
#define QUERN_KERNELS_CUDA_PRODUCT_PARTS_H

#include "product.h"

/* Buffers start on 64 bytes, but a view may begin anywhere within one. Where a program's views all
 * begin on 16 bytes, an algorithm for that is all there is; else, or where that is not known, there
 * is one for operands on their own size too. */
typedef enum product_alignment {
    PRODUCT_ALIGNED,
    PRODUCT_ANY,
    PRODUCT_ALIGNMENT_COUNT,
} product_alignment;

typedef struct product_choice {
    cublasLtMatmulAlgo_t algorithm;
    size_t scratch_bytes;
    bool found;
} product_choice;

struct product {
    cuda_libraries *libraries;
    product_desc desc;
    size_t element_bytes, result_bytes; /* of A and B, of C */
    bool empty;                         /* nothing to multiply: no descriptors */
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t first, second, result; /* as the library sees them: B, A, C */
    product_choice choices[PRODUCT_ALIGNMENT_COUNT];
    size_t copy_bytes; /* > 0: operands that are not aligned are copied behind the workspace */
    char what[200];    /* "linear: product F32 128 x 10 x 784, bias" */
};

/* What an epilogue reads or writes beside the matrices. */
bool product_has_bias(const product *p);
bool product_has_aux(const product *p);

/* Fills p->choices; leaves `found` false where the library proposes nothing. */
QUERN_MUST_CHECK quern_status product_choose(product *p, quern_stream *stream);

/* The call itself, with one algorithm. */
QUERN_MUST_CHECK quern_status product_call(product *p, const product_run_desc *run,
                                           const product_choice *choice);

/* The fastest of `count` > 0 proposals; -1: none was measured, or none works. */
QUERN_MUST_CHECK quern_status product_measure(product *p, quern_stream *stream,
                                              const product_choice *proposals, int count,
                                              int *fastest);

#endif
