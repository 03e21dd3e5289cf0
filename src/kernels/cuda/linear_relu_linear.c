/* linear_relu_linear - y = max(x W^T + b, 0) W2^T + b2, as linear_pair.h says. */
#include "linear_pair.h"

LINEAR_PAIR_KERNEL(linear_relu_linear, LINEAR_RELU);
