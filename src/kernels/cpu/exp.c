/* exp - y = e^x;  gx = gy y.
 * Shapes and cost: unary.h. F32: vector_math.h, 1 ulp. */
#define VALUE(x) REAL_NAME(exp)(x)
#define GRADIENT(g, y) ((g) * (y))
#define BACKWARD_READS out
#include "unary.h"

const quern_kernel quern_cpu_exp = UNARY_KERNEL;
