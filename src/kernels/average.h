/* average.h - how far a moving average goes towards the value, once for both compilers. */
#ifndef QUERN_KERNELS_AVERAGE_H
#define QUERN_KERNELS_AVERAGE_H

#include "../host/base/random.h"
#include <stdbool.h>

/* 1 - decay at update n = 1, 2, …; with warm-up decay is at most (1 + n) / (10 + n). */
static inline QUERN_HD double average_rest(double decay, bool warmup, double n) {
    const double warm = (1 + n) / (10 + n);
    return 1 - (warmup && warm < decay ? warm : decay);
}

#endif
