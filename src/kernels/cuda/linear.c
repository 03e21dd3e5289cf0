/* linear - y = x W^T + b over the last axis, as linear_activated.h says. */
#include "linear_activated.h"

LINEAR_ACTIVATED_KERNEL(linear, LINEAR_PLAIN);
