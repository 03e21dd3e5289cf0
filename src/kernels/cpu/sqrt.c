/* sqrt - y = sqrt x;  gx = gy / (2 y), infinite at 0.
 * Shapes and cost: unary.h. Correctly rounded in both types. */
#define VALUE(x) REAL_NAME(sqrt)(x)
#define GRADIENT(g, y) ((g) / ((REAL)2 * (y)))
#define BACKWARD_READS out
#include "unary.h"

const quern_kernel quern_cpu_sqrt = UNARY_KERNEL;
