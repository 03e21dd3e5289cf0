/* leaky_relu - y = x > 0 ? x : slope x;  gx = gy (x > 0 ? 1 : slope).
 * At x = 0 the gradient is slope gy, as in PyTorch. Shapes and cost: unary.h. */
#define ATTRIBUTES quern_leaky_relu_desc
#define VALUE(x) ((x) > 0 ? (x) : (REAL)p.slope * (x))
#define GRADIENT(g, x) ((x) > 0 ? (g) : (REAL)p.slope * (g))
#define BACKWARD_READS in
#include "unary.h"

const quern_kernel quern_cpu_leaky_relu = UNARY_KERNEL;
