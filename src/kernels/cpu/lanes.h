/* lanes.h - eight F32 numbers at once, one a lane: the same pixel of eight images. */
#ifndef QUERN_KERNELS_CPU_LANES_H
#define QUERN_KERNELS_CPU_LANES_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#endif

enum { LANES = 8 };
typedef float lanes __attribute__((vector_size(32)));
typedef float lanes_unaligned __attribute__((vector_size(32), aligned(4)));

static inline lanes lanes_of(float value) { return value - (lanes){0}; }

static inline lanes lanes_load(const float *from) { return *(const lanes_unaligned *)from; }

static inline void lanes_store(float *to, lanes value) { *(lanes_unaligned *)to = value; }

/* a b + c, rounded once where the machine can. */
static inline lanes lanes_fma(lanes a, lanes b, lanes c) {
#if defined(__AVX2__) && defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;
#endif
}

/* In a fixed order: ((0+4)+(2+6)) + ((1+5)+(3+7)). */
static inline float lanes_sum(lanes v) {
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* Row i, lane j becomes row j, lane i. */
static inline void lanes_transpose(lanes m[LANES]) {
    lanes pairs[LANES], quads[LANES];
    for (int i = 0; i < LANES; i += 2) {
        pairs[i] = __builtin_shufflevector(m[i], m[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        pairs[i + 1] = __builtin_shufflevector(m[i], m[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < LANES; i += 4) {
        quads[i] = __builtin_shufflevector(pairs[i], pairs[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        quads[i + 1] = __builtin_shufflevector(pairs[i], pairs[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        quads[i + 2] =
            __builtin_shufflevector(pairs[i + 1], pairs[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
        quads[i + 3] =
            __builtin_shufflevector(pairs[i + 1], pairs[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    for (int i = 0; i < 4; i++) {
        m[i] = __builtin_shufflevector(quads[i], quads[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        m[i + 4] = __builtin_shufflevector(quads[i], quads[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

#endif
