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

/* What rides along: X(name, word, cuBLASLt's epilogue). BIAS: bias (n) is added to every row first.
 * BIAS_GRADIENT: bias (m) = row sums of op(A). AUX: what backward's slope needs is left in aux: of
 * gelu, which is the tanh form, what it was taken of, as C; of relu a bit a number, whether it was
 * above zero. DRELU, DGELU: C is multiplied by the slope that aux says; their BIAS_GRADIENT: bias
 * (n) = C's column sums. A gradient of a bias can only overwrite. */
/* clang-format off */
#define PRODUCT_EPILOGUE_LIST(X)                                                   \
    X(PLAIN,               "plain",               CUBLASLT_EPILOGUE_DEFAULT)       \
    X(BIAS,                "bias",                CUBLASLT_EPILOGUE_BIAS)          \
    X(BIAS_GRADIENT,       "bias gradient",       CUBLASLT_EPILOGUE_BGRADB)        \
    X(RELU,                "relu",                CUBLASLT_EPILOGUE_RELU)          \
    X(BIAS_RELU,           "bias relu",           CUBLASLT_EPILOGUE_RELU_BIAS)     \
    X(RELU_AUX,            "relu aux",            CUBLASLT_EPILOGUE_RELU_AUX)      \
    X(BIAS_RELU_AUX,       "bias relu aux",       CUBLASLT_EPILOGUE_RELU_AUX_BIAS) \
    X(GELU,                "gelu",                CUBLASLT_EPILOGUE_GELU)          \
    X(BIAS_GELU,           "bias gelu",           CUBLASLT_EPILOGUE_GELU_BIAS)     \
    X(GELU_AUX,            "gelu aux",            CUBLASLT_EPILOGUE_GELU_AUX)      \
    X(BIAS_GELU_AUX,       "bias gelu aux",       CUBLASLT_EPILOGUE_GELU_AUX_BIAS) \
    X(DRELU,               "drelu",               CUBLASLT_EPILOGUE_DRELU)         \
    X(DRELU_BIAS_GRADIENT, "drelu bias gradient", CUBLASLT_EPILOGUE_DRELU_BGRAD)   \
    X(DGELU,               "dgelu",               CUBLASLT_EPILOGUE_DGELU)         \
    X(DGELU_BIAS_GRADIENT, "dgelu bias gradient", CUBLASLT_EPILOGUE_DGELU_BGRAD)
/* clang-format on */
#define X(name, word, epilogue) PRODUCT_##name,
typedef enum product_epilogue { PRODUCT_EPILOGUE_LIST(X) } product_epilogue;
#undef X

typedef struct product_desc {
    const char *op; /* for sentences */
    quern_dtype dtype;
    bool tf32; /* F32 may be rounded to it; where the device allows it for all, always */
    bool wide; /* C, and an epilogue's bias, are F32 beside A and B of 16 bits */
    bool transpose_a, transpose_b;
    int64_t m, n, k;
    int64_t batch;    /* products. A stored matrix is contiguous, and so is the batch. */
    size_t alignment; /* quern_kernel_plan's */
    bool bytes_only;  /* the same */
    product_epilogue epilogue;
} product_desc;

typedef struct product_run_desc {
    const void *a, *b;
    void *c;
    void *bias, *aux; /* where the epilogue has one */
    void *scratch;    /* product_scratch_bytes */
    bool accumulate;  /* C += */
    quern_stream *stream;
} product_run_desc;

typedef struct product product;

/* *out is NULL, with QUERN_OK, when the library has no such epilogue here: the caller then does
 * its work in a kernel of its own. The stream is one of the device's. UNSUPPORTED when a size does
 * not fit 31 bits, or the library has no algorithm at all. Operands that begin on less than 16
 * bytes, for which it has none, are copied to scratch first: of PLAIN products only. */
QUERN_MUST_CHECK quern_status product_create(product **out, quern_stream *stream,
                                             const product_desc *desc);
void product_destroy(product *p);
size_t product_scratch_bytes(const product *p); /* 0 for NULL */
size_t product_aux_bytes(const product *p);     /* 0 where its epilogue has none */

/* May not be called for the same product on two threads at once. */
QUERN_MUST_CHECK quern_status product_run(product *p, const product_run_desc *run);

#endif
