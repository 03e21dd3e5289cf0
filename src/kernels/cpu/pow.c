/* pow - y = a^b;  ga = gy b a^(b - 1), 0 where b is 0;  gb = gy y ln a, 0 where a is 0 and b >= 0.
 * A negative a with a b that is not an integer gives NaN, as libm does.
 * Shapes broadcast as in NumPy. Cost: a call of libm's pow per element; order of sums: binary.h. */
#include "binary.h"

#define VALUE(a, b) REAL_NAME(pow)(a, b)
#define GRADIENT_A(g, a, b, y) ((b) == 0 ? (REAL)0 : (g) * ((b)*REAL_NAME(pow)(a, (b) - (REAL)1)))
#define GRADIENT_B(g, a, b, y) ((((a) == 0) & ((b) >= 0)) ? (REAL)0 : (g) * ((y)*REAL_NAME(log)(a)))
#define REAL_FILE "binary_rows.h"
#include "each_real.h"

static const binary_op op = BINARY_OP;

static quern_status forward(const quern_kernel_args *args) {
    binary_forward(args, &op);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    binary_backward(args, &op);
    return QUERN_OK;
}

const quern_kernel quern_cpu_pow = {.plan = binary_plan, .forward = forward, .backward = backward};
