/* linear_gelu_linear - y = gelu(x W^T + b) W2^T + b2.
 * Cost and determinism: linear_gelu.c, linear.c. */
#include "linear_chain.h"

LINEAR_CHAIN_KERNEL(linear_gelu_linear, linear_gelu, linear);
