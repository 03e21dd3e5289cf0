/* log - y = ln x;  gx = gy / x.
 * ln 0 is -infinity, ln of a negative number NaN, as in IEEE 754.
 * Shapes and cost: unary.h. F32: vector_math.h, 1 ulp. */
#define VALUE(x) REAL_NAME(log)(x)
#define GRADIENT(g, x) ((g) / (x))
#define BACKWARD_READS in
#include "unary.h"

const quern_kernel quern_cpu_log = UNARY_KERNEL;
