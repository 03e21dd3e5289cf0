/* sampler.h - the order of an epoch, once for both compilers.
 *
 * The order is a permutation of [0, length) that is evaluated one position at a time: a pure
 * function of (seed, epoch, length), with no array and no state, so that any worker, and any thread
 * of a device, finds the sample of any position and a run resumes from (epoch, position) alone.
 *
 * It is a Feistel network of 8 rounds on the smallest power of two >= length, keyed by Philox;
 * positions that fall outside [0, length) walk on until they fall inside (fewer than two steps on
 * average). Source: Mitchell, Stokes, Frank, Holmes, "Bandwidth-Optimal Random Shuffling for
 * GPUs", ACM TOPC 2022; cycle walking: Black and Rogaway, CT-RSA 2002. */
#ifndef QUERN_KERNELS_SAMPLER_H
#define QUERN_KERNELS_SAMPLER_H

#include "../host/base/random.h"

#include <stdbool.h>
#include <stdint.h>

#define SAMPLER_ROUNDS 8

typedef struct sampler {
    int64_t length;
    bool shuffle; /* false: position = sample */
    uint32_t left_bits, left_mask, right_mask;
    uint32_t keys[SAMPLER_ROUNDS];
} sampler;

static inline QUERN_HD uint32_t sampler_bits_of(uint64_t largest) {
    uint32_t bits = 0;
    while (bits < 63 && (largest >> bits) != 0) bits++;
    return bits;
}

/* length >= 0, < 2^62. */
static inline QUERN_HD sampler sampler_of_epoch(int64_t length, bool shuffle, uint64_t seed,
                                                int64_t epoch) {
    sampler s = {length, shuffle && length > 1, 0, 0, 0, {0}};
    if (!s.shuffle) return s;
    const uint32_t bits = sampler_bits_of((uint64_t)length - 1);
    const uint32_t right_bits = (bits + 1) / 2;
    s.left_bits = bits / 2;
    s.left_mask = (uint32_t)(((uint64_t)1 << s.left_bits) - 1);
    s.right_mask = (uint32_t)(((uint64_t)1 << right_bits) - 1);
    const random_key key = {seed, RANDOM_SHUFFLE, epoch, 0};
    for (int64_t block = 0; block < SAMPLER_ROUNDS / 4; block++)
        random_block(&key, block, s.keys + 4 * block);
    return s;
}

/* The finaliser of MurmurHash3 (Appleby, public domain): every input bit reaches every output. */
static inline QUERN_HD uint32_t sampler_mix(uint32_t x, uint32_t key) {
    x += key;
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    return x ^ (x >> 16);
}

/* Each half-round changes one half by a function of the other: invertible, whatever the widths. */
static inline QUERN_HD uint64_t sampler_permute(const sampler *s, uint64_t position) {
    uint32_t left = (uint32_t)position & s->left_mask;
    uint32_t right = (uint32_t)(position >> s->left_bits);
    for (int i = 0; i < SAMPLER_ROUNDS; i += 2) {
        right ^= sampler_mix(left, s->keys[i]) & s->right_mask;
        left ^= sampler_mix(right, s->keys[i + 1]) & s->left_mask;
    }
    return ((uint64_t)right << s->left_bits) | left;
}

static inline QUERN_HD int64_t sampler_index(const sampler *s, int64_t position) {
    if (!s->shuffle) return position;
    uint64_t index = sampler_permute(s, (uint64_t)position);
    while (index >= (uint64_t)s->length) index = sampler_permute(s, index);
    return (int64_t)index;
}

#endif
