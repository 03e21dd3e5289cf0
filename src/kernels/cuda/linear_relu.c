/* linear_relu - y = max(x W^T + b, 0), as linear_activated.h says; in one call where cuBLASLt has
 * the epilogue. No auxiliary bit mask: y itself is there to be read. */
#include "linear_activated.h"

LINEAR_ACTIVATED_KERNEL(linear_relu, LINEAR_RELU);
