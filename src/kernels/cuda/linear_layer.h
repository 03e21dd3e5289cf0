/* linear_layer.h - the products of a linear layer, for linear and the ops that it is fused into:
 *   y = f(u), u = x W^T + b;  f: nothing, relu or gelu
 * The bias, its gradient and f ride on products where cuBLASLt has the epilogue (its gelu is the
 * tanh form), and are a pass over memory of their own where not.
 * Deterministic: yes (product.h, rows.h). A bias gradient that has to be added to what is there is
 * never an epilogue's: that can only overwrite. */
#ifndef QUERN_KERNELS_CUDA_LINEAR_LAYER_H
#define QUERN_KERNELS_CUDA_LINEAR_LAYER_H

#include "library/product.h"

typedef enum linear_activation { LINEAR_PLAIN, LINEAR_RELU, LINEAR_GELU } linear_activation;

typedef struct linear_layer_desc {
    const char *op; /* for sentences */
    quern_dtype dtype;
    bool tf32;
    int64_t rows, in, out;
    bool bias;
    linear_activation activation;
    const quern_gelu_desc *gelu; /* of LINEAR_GELU */
    /* What f's slope needs is left in `before`: u of gelu, or a bit mask of relu, if the library
     * has one (linear_layer_before_bytes is 0 where not). Of relu y says as much. */
    bool keep_before;
    bool gx, gw, gb;  /* gradients that may be asked for */
    uint32_t wide;    /* bits 0, 1, 2: which of them are F32 beside 16 bits (kernel.h) */
    size_t alignment; /* quern_kernel_plan's */
    bool bytes_only;  /* the same */
} linear_layer_desc;

typedef struct linear_layer linear_layer;

QUERN_MUST_CHECK quern_status linear_layer_create(linear_layer **out, quern_stream *stream,
                                                  const linear_layer_desc *desc);
void linear_layer_destroy(linear_layer *l); /* NULL: nothing */

/* x (..., in): its rows are all of "...". */
int64_t linear_layer_rows(const quern_view *x);

size_t linear_layer_forward_scratch(const linear_layer *l);
size_t linear_layer_backward_scratch(const linear_layer *l);
size_t linear_layer_before_bytes(const linear_layer *l); /* where it keeps what is before f */

typedef struct linear_layer_data {
    const void *x, *weight;
    void *bias;   /* NULL: none */
    void *before; /* as kept; NULL: not */
    void *y;
    void *scratch;
    quern_stream *stream;
} linear_layer_data;
QUERN_MUST_CHECK quern_status linear_layer_forward(const linear_layer *l,
                                                   const linear_layer_data *data);

typedef struct linear_gradients {
    void *gx, *gw, *gb; /* NULL: not wanted */
    bool add_x, add_weight, add_bias;
} linear_gradients;

/* From gu, the gradient of u; of `data` x, weight, scratch and stream. */
QUERN_MUST_CHECK quern_status linear_layer_backward(const linear_layer *l,
                                                    const linear_layer_data *data, const void *gu,
                                                    const linear_gradients *wanted);

/* Of inputs first (x), first + 1 (weight) and first + 2 (bias). */
linear_gradients linear_gradients_of(const quern_kernel_args *args, int32_t first);

#endif
