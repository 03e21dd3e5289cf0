/* linear_gelu - y = gelu(x W^T + b), both forms of gelu. Cost and determinism: linear.c, gelu.c. */
#include "linear_chain.h"

LINEAR_CHAIN_KERNEL(linear_gelu, linear, gelu);
