/* scale - y = factor x + offset;  gx = factor gy.
 * Backward reads neither x nor y, so `in[0]` may be gone by then: it reads gy twice instead.
 * Shapes and cost: unary.h. */
#define ATTRIBUTES quern_scale_desc
#define VALUE(x) ((REAL)p.factor * (x) + (REAL)p.offset)
#define GRADIENT(g, unread) ((REAL)p.factor * (g))
#define BACKWARD_READS grad_out
#include "unary.h"

const quern_kernel quern_cpu_scale = UNARY_KERNEL;
