/* op_row.h - the words that the columns `reads` and `flags` of ops.def use, for the files that
 * expand its rows into tables. They are short, so only .c files include this. */
#ifndef QUERN_KERNELS_OP_ROW_H
#define QUERN_KERNELS_OP_ROW_H

#include "kernel.h"

enum {
    X0 = QUERN_READS_IN(0),
    X1 = QUERN_READS_IN(1),
    X2 = QUERN_READS_IN(2),
    X3 = QUERN_READS_IN(3),
    Y0 = QUERN_READS_OUT(0),
    INPLACE = QUERN_OP_INPLACE,
    GRAD_INPLACE = QUERN_OP_GRAD_INPLACE,
    STRIDED = QUERN_OP_STRIDED,
    ALIAS = QUERN_OP_ALIAS,
    NO_GRADIENT = QUERN_OP_NO_GRADIENT,
    RANDOM = QUERN_OP_RANDOM,
    FUSED = QUERN_OP_FUSED,
    INDEX_INPUT1 = QUERN_OP_INDEX_INPUT1,
    HALF = QUERN_OP_HALF,
    FOLLOWS = QUERN_OP_FOLLOWS,
    FIRST = QUERN_OP_FIRST,
    WIDE_OUT = QUERN_OP_WIDE_OUT,
    GRAD_ON_INPUT = QUERN_OP_GRAD_ON_INPUT,
    GRAD_ALIKE = QUERN_OP_GRAD_ALIKE,
    GRAD_WIDE = QUERN_OP_GRAD_WIDE,
    CHANNELS_LAST = QUERN_OP_CHANNELS_LAST,
    ELEMENTWISE = QUERN_OP_ELEMENTWISE,
};

#endif
