/* tanh - y = tanh x;  gx = gy (1 - y^2).
 * Shapes and cost: unary.h. F32: vector_math.h, 2 ulp. */
#define VALUE(x) REAL_NAME(tanh)(x)
#define GRADIENT(g, y) ((g) * ((REAL)1 - (y) * (y)))
#define BACKWARD_READS out
#include "unary.h"

const quern_kernel quern_cpu_tanh = UNARY_KERNEL;
