/* sigmoid - y = 1 / (1 + e^-x);  gx = gy y (1 - y).
 * Computed from e^-|x|, so that neither tail overflows or cancels.
 * Shapes and cost: unary.h. F32: vector_math.h, 3 ulp. */
#define VALUE(x) REAL_NAME(sigmoid)(x)
#define GRADIENT(g, y) ((g) * ((y) * ((REAL)1 - (y))))
#define BACKWARD_READS out
#include "unary.h"

const quern_kernel quern_cpu_sigmoid = UNARY_KERNEL;
