/* sums.h - sums of many numbers, in an order that follows from their count alone: sixteen lanes
 * over blocks of 4096 elements, then the blocks in turn. */
#ifndef QUERN_KERNELS_CPU_SUMS_H
#define QUERN_KERNELS_CPU_SUMS_H

#include "real.h"

enum { SUM_LANES = 16, SUM_BLOCK = 4096 };

#define REAL_FILE "sums_real.h"
#include "each_real.h"
#undef REAL_FILE

#endif
