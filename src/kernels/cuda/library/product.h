/* product.h - matrix products through cuBLASLt, planned once and run many times.
 *
 *     C = op(A) op(B), row-major, op = transpose where asked; C (m, n), op(A) (m, k), op(B) (k, n)
 *
 * and C += op(A) op(B) where a run says so (beta = 1). A batch of products lies *_step elements
 * apart. The library thinks in columns: a row-major matrix is its own transpose there, so it is
 * asked for C^T = op(B)^T op(A)^T with operands and sizes exchanged; rows of its result are our
 * columns, which is why its bias vector is ours along n, and its BGRADB our row sums of op(A).
 *
 * F32 is computed in F32 (TF32 only where the device allows it), F64 in F64, BF16 and F16 in F32.
 * The algorithm: the record's (backend.h); else a remembered one; else, when the device is to be
 * tuned, the fastest of those that the library proposes, which is then remembered; else its first
 * proposal. All are deterministic: parts of a split sum are added in a fixed order. */
#ifndef QUERN_KERNELS_CUDA_PRODUCT_H
#define QUERN_KERNELS_CUDA_PRODUCT_H

#include "libraries.h"

typedef enum product_epilogue {
    PRODUCT_PLAIN,
    PRODUCT_BIAS,          /* bias (n) is added to every row */
    PRODUCT_BIAS_RELU,     /* then max(…, 0) */
    PRODUCT_RELU,          /* max(…, 0) */
    PRODUCT_BIAS_GRADIENT, /* bias (m) = row sums of op(A); can only overwrite it */
} product_epilogue;

typedef struct product_desc {
    const char *op; /* for sentences */
    quern_dtype dtype;
    bool tf32; /* F32 may be rounded to it; where the device allows it for all, always */
    bool transpose_a, transpose_b;
    int64_t m, n, k;
    int64_t batch; /* products. A stored matrix is contiguous, and so is the batch. */
    product_epilogue epilogue;
} product_desc;

typedef struct product_run_desc {
    const void *a, *b;
    void *c;
    void *bias;      /* where the epilogue has one */
    void *scratch;   /* product_scratch_bytes */
    bool accumulate; /* C += */
    quern_stream *stream;
} product_run_desc;

typedef struct product product;

/* *out is NULL, with QUERN_OK, when the library has no such epilogue here: the caller then does
 * its work in a kernel of its own. The stream is one of the device's. UNSUPPORTED when a size does
 * not fit 31 bits, or the library has no algorithm at all. */
QUERN_MUST_CHECK quern_status product_create(product **out, quern_stream *stream,
                                             const product_desc *desc);
void product_destroy(product *p);
size_t product_scratch_bytes(const product *p); /* 0 for NULL */

/* May not be called for the same product on two threads at once. */
QUERN_MUST_CHECK quern_status product_run(product *p, const product_run_desc *run);

#endif
