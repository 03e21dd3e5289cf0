/* sampler.h - the order of an epoch.
 *
 * The order is a permutation of [0, length) that is evaluated one position at a time: a pure
 * function of (seed, epoch, length), with no array and no state, so that any worker finds the
 * sample of any position and a run resumes from (epoch, position) alone.
 *
 * It is a Feistel network of 8 rounds on the smallest power of two >= length, keyed by Philox;
 * positions that fall outside [0, length) walk on until they fall inside (fewer than two steps on
 * average). Source: Mitchell, Stokes, Frank, Holmes, "Bandwidth-Optimal Random Shuffling for
 * GPUs", ACM TOPC 2022; cycle walking: Black and Rogaway, CT-RSA 2002. */
#ifndef QUERN_DATA_SAMPLER_H
#define QUERN_DATA_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#define SAMPLER_ROUNDS 8

typedef struct sampler {
    int64_t length;
    bool shuffle; /* false: position = sample */
    uint32_t left_bits, left_mask, right_mask;
    uint32_t keys[SAMPLER_ROUNDS];
} sampler;

/* length >= 0, < 2^62. */
sampler sampler_of_epoch(int64_t length, bool shuffle, uint64_t seed, int64_t epoch);
int64_t sampler_index(const sampler *s, int64_t position);

#endif
