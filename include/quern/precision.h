/* precision.h - with how many bits a network computes.
 *
 * A graph stays as it was built, in F32 (an F64 graph computes in F64 and refuses everything here);
 * the precision is a property of what is made from it. Parameters, their gradients, the optimizer's
 * state, running statistics and losses are F32 always. In BF16 and F16 a program keeps activations
 * and their gradients in 16 bits where the ops' rows in ops.def say so, and inserts casts:
 *   HALF      the products (linear, matmul, conv2d) and embedding: 16 bits in and out, sums in F32
 *   FOLLOWS   16 bits when its values already are: element-wise ops, pools, norms, copies, softmax;
 *             a classifier's loss and its metrics read 16-bit logits and yield F32 (WIDE_OUT)
 *   the rest  F32: other losses and metrics, reductions, exp, log, pow, div, sqrt
 * Every op computes each element in F32, whatever it is stored in. The gradient of a weight that
 * only linear, matmul and embedding read, whole, is not rounded to 16 bits at all. Products read
 * 16-bit copies of the parameters, which lie beside them and are renewed by the update, once a
 * window. What an application writes and reads (inputs, outputs, parameters, gradients) is F32.
 *
 * F16 reaches from 6e-8 to 65504 only: small gradients need a loss scale (train.h has one that
 * finds itself). BF16 has the range of F32 and 8 bits; there rounding the copies by chance keeps
 * the mean of many small updates visible to the network. */
#ifndef QUERN_PRECISION_H
#define QUERN_PRECISION_H

#include <quern/kernel.h>

QUERN_BEGIN_C

/* One table: precision, its name, the type of activations. */
/* clang-format off */
#define QUERN_PRECISION_LIST(X)                                                                   \
    X(F32,  "f32",  QUERN_F32)   /* the default: the graph's own type */                          \
    X(TF32, "tf32", QUERN_F32)   /* products may round what they read to 10 bits of mantissa; on  \
                                    a device without such products (the CPU) it is F32 */         \
    X(BF16, "bf16", QUERN_BF16)                                                                   \
    X(F16,  "f16",  QUERN_F16)
/* clang-format on */
#define X(constant, name, dtype) QUERN_PRECISION_##constant,
typedef enum quern_precision { QUERN_PRECISION_LIST(X) QUERN_PRECISION_COUNT } quern_precision;
#undef X
QUERN_API const char *quern_precision_name(quern_precision precision); /* "bf16" */

QUERN_END_C
#endif
