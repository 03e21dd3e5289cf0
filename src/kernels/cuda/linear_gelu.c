/* linear_gelu - y = gelu(x W^T + b), as linear_activated.h says; the tanh form in one call where
 * cuBLASLt has the epilogue, which leaves what gelu was taken of as its auxiliary output. */
#include "linear_activated.h"

LINEAR_ACTIVATED_KERNEL(linear_gelu, LINEAR_GELU);
