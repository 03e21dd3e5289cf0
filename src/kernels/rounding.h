/* rounding.h - how an element of a parameter becomes one of its 16-bit copy: once, for the updates
 * that write both and for the task that rounds all again, so that they give the same bits. By
 * chance, the draw is a function of (seed, number of the update, element). */
#ifndef QUERN_KERNELS_ROUNDING_H
#define QUERN_KERNELS_ROUNDING_H

#include "half_bits.h"

typedef struct rounding {
    quern_dtype dtype; /* BF16, F16 */
    bool stochastic;
    random_key key;
} rounding;

static inline QUERN_HD rounding rounding_of(quern_dtype dtype, bool stochastic, uint64_t seed,
                                            int64_t update) {
    const rounding r = {dtype, stochastic, {seed, RANDOM_ROUND, update, 0}};
    return r;
}

/* The draws of elements 4 block … 4 block + 3; nothing where none are needed. */
static inline QUERN_HD void rounding_draw(const rounding *r, int64_t block, uint32_t draws[4]) {
    if (r->stochastic) random_block(&r->key, block, draws);
}

static inline QUERN_HD uint16_t rounding_apply(const rounding *r, float value, uint32_t draw) {
    return r->stochastic ? half_round_stochastic(value, r->dtype, draw)
                         : half_round(value, r->dtype);
}

/* Elements [start, end) of a whole block; start is a multiple of 4. */
static inline QUERN_HD void rounding_range(const rounding *r, const float *from, uint16_t *to,
                                           int64_t start, int64_t end) {
    uint32_t draws[4] = {0};
    for (int64_t i = start; i < end; i++) {
        if (i % 4 == 0) rounding_draw(r, i / 4, draws);
        to[i] = rounding_apply(r, from[i], draws[i % 4]);
    }
}

#endif
