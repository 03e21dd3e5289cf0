/* random.h - counter-based random numbers: Philox 4x32-10 (Salmon et al., SC 2011).
 *
 * A draw is a pure function of (seed, purpose, attempt, microbatch, index): resuming needs no
 * generator state, and both backends compile this same file. The 128-bit counter holds
 *   word 0, 1   block = index / 4, 48 bits; the upper 16 bits of word 1 are the microbatch
 *   word 2, 3   attempt, 40 bits; the upper 24 bits of word 3 are the purpose
 * and the key is the seed. Within these widths no two draws share a counter. */
#ifndef QUERN_BASE_RANDOM_H
#define QUERN_BASE_RANDOM_H

#include <stdint.h>

#ifdef __CUDACC__
#define QUERN_HD __host__ __device__
#else
#define QUERN_HD
#endif

/* Purposes below 256 are the library's own; a node's is 256 or more. */
enum {
    RANDOM_SHUFFLE = 1,
    RANDOM_AUGMENT = 2,
    RANDOM_INIT = 3,
    RANDOM_SYNTHETIC = 4,
    RANDOM_ROUND = 5,   /* attempt: the number of the update */
    RANDOM_MEASURE = 6, /* operands of what is timed */
    RANDOM_NODE_FIRST = 256,
};

typedef struct random_key {
    uint64_t seed;
    uint32_t purpose;    /* < 2^24 */
    int64_t attempt;     /* < 2^40; or epoch, or a hash of a name */
    uint32_t microbatch; /* < 2^16 */
} random_key;

static inline QUERN_HD void philox_round(uint32_t c[4], const uint32_t k[2]) {
    const uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
    const uint32_t c1 = c[1], c3 = c[3];
    c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k[0];
    c[1] = (uint32_t)p1;
    c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k[1];
    c[3] = (uint32_t)p0;
}

static inline QUERN_HD void philox_4x32_10(uint32_t c[4], const uint32_t key[2]) {
    uint32_t k[2] = {key[0], key[1]};
    for (int i = 0; i < 10; i++) {
        philox_round(c, k);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
}

/* Four 32-bit draws: indices 4 * block … 4 * block + 3. */
static inline QUERN_HD void random_block(const random_key *key, int64_t block, uint32_t out[4]) {
    const uint64_t b = (uint64_t)block, a = (uint64_t)key->attempt;
    const uint32_t k[2] = {(uint32_t)key->seed, (uint32_t)(key->seed >> 32)};
    out[0] = (uint32_t)b;
    out[1] = ((uint32_t)(b >> 32) & 0xFFFFu) | (key->microbatch << 16);
    out[2] = (uint32_t)a;
    out[3] = ((uint32_t)(a >> 32) & 0xFFu) | (key->purpose << 8);
    philox_4x32_10(out, k);
}

static inline QUERN_HD uint32_t random_u32(const random_key *key, int64_t index) {
    uint32_t out[4];
    random_block(key, index >> 2, out);
    const uint32_t even = index & 2 ? out[2] : out[0], odd = index & 2 ? out[3] : out[1];
    return index & 1 ? odd : even; /* chosen, not indexed: on a device that would be memory */
}

/* [0, 1) with 24 bits: exact in float. */
static inline QUERN_HD float random_uniform(uint32_t bits) {
    return (float)(bits >> 8) * (1.0f / 16777216.0f);
}

#endif
