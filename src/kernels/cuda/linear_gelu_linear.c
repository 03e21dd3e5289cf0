/* linear_gelu_linear - y = gelu(x W^T + b) W2^T + b2, as linear_pair.h says. */
#include "linear_pair.h"

LINEAR_PAIR_KERNEL(linear_gelu_linear, LINEAR_GELU);
