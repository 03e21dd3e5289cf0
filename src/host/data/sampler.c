#include "sampler.h"

#include "../base/random.h"

static uint32_t bits_of(uint64_t largest) {
    uint32_t bits = 0;
    while (bits < 63 && (largest >> bits) != 0) bits++;
    return bits;
}

sampler sampler_of_epoch(int64_t length, bool shuffle, uint64_t seed, int64_t epoch) {
    sampler s = {.length = length, .shuffle = shuffle && length > 1};
    if (!s.shuffle) return s;
    const uint32_t bits = bits_of((uint64_t)length - 1);
    const uint32_t right_bits = (bits + 1) / 2;
    s.left_bits = bits / 2;
    s.left_mask = (uint32_t)((UINT64_C(1) << s.left_bits) - 1);
    s.right_mask = (uint32_t)((UINT64_C(1) << right_bits) - 1);
    const random_key key = {.seed = seed, .purpose = RANDOM_SHUFFLE, .attempt = epoch};
    for (int64_t block = 0; block < SAMPLER_ROUNDS / 4; block++)
        random_block(&key, block, s.keys + 4 * block);
    return s;
}

/* The finaliser of MurmurHash3 (Appleby, public domain): every input bit reaches every output. */
static uint32_t mix(uint32_t x, uint32_t key) {
    x += key;
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    return x ^ (x >> 16);
}

/* Each half-round changes one half by a function of the other: invertible, whatever the widths. */
static uint64_t permute(const sampler *s, uint64_t position) {
    uint32_t left = (uint32_t)position & s->left_mask;
    uint32_t right = (uint32_t)(position >> s->left_bits);
    for (int i = 0; i < SAMPLER_ROUNDS; i += 2) {
        right ^= mix(left, s->keys[i]) & s->right_mask;
        left ^= mix(right, s->keys[i + 1]) & s->left_mask;
    }
    return ((uint64_t)right << s->left_bits) | left;
}

int64_t sampler_index(const sampler *s, int64_t position) {
    if (!s->shuffle) return position;
    uint64_t index = permute(s, (uint64_t)position);
    while (index >= (uint64_t)s->length) index = permute(s, index);
    return (int64_t)index;
}
