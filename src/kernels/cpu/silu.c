/* silu - y = x s, s = 1 / (1 + e^-x);  gx = gy s (1 + x (1 - s)).
 * Source: Hendrycks & Gimpel 2016, section 2. At -infinity forward is NaN (-infinity times 0), as
 * in PyTorch. Shapes and cost: unary.h. F32: vector_math.h. */
#define VALUE(x) ((x)*REAL_NAME(sigmoid)(x))
#define GRADIENT(g, x)                                                                             \
    ((g)*REAL_NAME(sigmoid)(x) * ((REAL)1 + (x) * ((REAL)1 - REAL_NAME(sigmoid)(x))))
#define BACKWARD_READS in
#include "unary.h"

const quern_kernel quern_cpu_silu = UNARY_KERNEL;
