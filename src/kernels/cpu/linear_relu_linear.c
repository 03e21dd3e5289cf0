/* linear_relu_linear - y = max(x W^T + b, 0) W2^T + b2.
 * Cost and determinism: linear_relu.c, linear.c. */
#include "linear_chain.h"

LINEAR_CHAIN_KERNEL(linear_relu_linear, linear_relu, linear);
