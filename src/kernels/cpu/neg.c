/* neg - y = -x;  gx = -gy.
 * Backward reads neither x nor y: BACKWARD_READS names gy, which is at hand anyway.
 * Shapes and cost: unary.h. */
#define VALUE(x) (-(x))
#define GRADIENT(g, unread) (-(g))
#define BACKWARD_READS grad_out
#include "unary.h"

const quern_kernel quern_cpu_neg = UNARY_KERNEL;
