/* clamp - y = min(max(x, low), high);  gx = gy where low <= x <= high, else 0.
 * NaN passes through forward and gets no gradient. The borders themselves belong to the inside, as
 * in PyTorch. Shapes and cost: unary.h. */
#define ATTRIBUTES quern_clamp_desc
#define VALUE(x) ((x) < (REAL)p.low ? (REAL)p.low : (x) > (REAL)p.high ? (REAL)p.high : (x))
#define GRADIENT(g, x) ((((x) >= (REAL)p.low) & ((x) <= (REAL)p.high)) ? (g) : (REAL)0)
#define BACKWARD_READS in
#include "unary.h"

const quern_kernel quern_cpu_clamp = UNARY_KERNEL;
