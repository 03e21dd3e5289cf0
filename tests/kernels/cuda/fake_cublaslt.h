/* fake_cublaslt.h - cuBLASLt without a GPU: another definition of cublaslt_open, whose product
 * reads the descriptors that it is given, and nothing else, and computes on host memory what they
 * say: sizes, leading dimensions, transpositions, batches, factors and epilogues, column by column
 * as the library does. So a mapping that is wrong gives wrong numbers.
 *
 * What the library forbids is noted as misuse: an algorithm that the heuristic did not give for
 * this layout, a workspace that is too small, pointers less aligned than was promised, an epilogue
 * without its vector or matrix. */
#ifndef QUERN_TESTS_KERNELS_CUDA_FAKE_CUBLASLT_H
#define QUERN_TESTS_KERNELS_CUDA_FAKE_CUBLASLT_H

#include "fake_library.h"
#include "kernels/cuda/library/cublaslt.h"

typedef struct fake_cublaslt_state {
    fake_library library;
    bool plain_only; /* no epilogue is supported */
    bool no_aux;     /* none with an auxiliary matrix is */
    int proposals;   /* that the heuristic gives */
    size_t version;
    int64_t products, epilogue_products, aux_products, heuristics;
    uint64_t last_index;    /* of the algorithm of the last product: which proposal it was */
    bool tf32;              /* some product was allowed to use it */
    uint32_t broken;        /* bit i: a product by proposal i fails */
    cublasStatus_t refusal; /* what that fails with, and a question for what there is not; 0: not
                               supported */
    cublasStatus_t created; /* what cublasLtCreate gives */
    bool aligned_only;      /* there are algorithms for operands on 16 bytes only */
    int invalid;            /* what the heuristic calls so: 1 all, 2 every epilogue */
    int64_t taken_ns;       /* by all products: proposal 1 is the fastest, 2 the next */
    int64_t zeros, stayed;  /* products of zeros; with the same operand as the one before */
    const void *last_a;
} fake_cublaslt_state;
extern fake_cublaslt_state fake_cublaslt;

void fake_cublaslt_begin(void); /* three proposals, nothing planned, nothing alive */
/* How many bytes the alpha and the beta of a product have. */
size_t fake_cublaslt_scale_bytes(cublasLtMatmulDesc_t operation);

#endif
