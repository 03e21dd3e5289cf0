/* size.h - arithmetic on counts and bytes that cannot wrap. Every product or sum of sizes that
 * comes from a caller, a file or a shape goes through here. */
#ifndef QUERN_BASE_SIZE_H
#define QUERN_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool size_multiply(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

static inline size_t size_larger(size_t a, size_t b) { return a > b ? a : b; }

static inline bool size_add(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

static inline bool count_multiply(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool count_add(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

/* count * element_bytes for count >= 0. */
static inline bool count_bytes(int64_t count, size_t element_bytes, size_t *out) {
    return count >= 0 && size_multiply((size_t)count, element_bytes, out);
}

/* Rounded up to a multiple of a power of two. */
static inline bool size_align_to(size_t bytes, size_t alignment, size_t *out) {
    if (!size_add(bytes, alignment - 1, out)) return false;
    *out &= ~(alignment - 1);
    return true;
}

/* Rounded up to a multiple of 64, the alignment of every buffer. */
static inline bool size_align(size_t bytes, size_t *out) { return size_align_to(bytes, 64, out); }

static inline int64_t count_divide_up(int64_t a, int64_t b) { return a / b + (a % b != 0); }

#endif
