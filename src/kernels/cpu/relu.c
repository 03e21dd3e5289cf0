/* relu - y = max(x, 0);  gx = gy where y > 0, else 0: at x = 0 the gradient is 0.
 * NaN passes through, forward and backward: a broken value must not be hidden.
 * Shapes and cost: unary.h. */
#define VALUE(x) ((x) <= 0 ? (REAL)0 : (x))
#define GRADIENT(g, y) ((y) <= 0 ? (REAL)0 : (g))
#define BACKWARD_READS out
#include "unary.h"

const quern_kernel quern_cpu_relu = UNARY_KERNEL;
