/* collective_reduce.c - one piece of every rank becomes one: elements of floating types are summed
 * in double and rounded at the end, so that the result hardly depends on the order, which is
 * fixed. */
#include "collective.h"

#include "../half_bits.h"

#define PLAIN(x, type) (x)
#define STORE(x, type) ((type)(x))
#define REAL_SUM(a, b) ((a) + (b))
#define WRAPPING_SUM(a, b) ((int64_t)((uint64_t)(a) + (uint64_t)(b)))
#define WIDEN_BF16(x, type) half_widen(x, QUERN_BF16)
#define ROUND_BF16(x, type) half_round((float)(x), QUERN_BF16)
#define WIDEN_F16(x, type) half_widen(x, QUERN_F16)
#define ROUND_F16(x, type) half_round((float)(x), QUERN_F16)

/* X(name, type of an element, type of a sum, sum, load, store) */
#define REDUCE_LIST(X)                                                                             \
    X(F32, float, double, REAL_SUM, PLAIN, STORE)                                                  \
    X(F64, double, double, REAL_SUM, PLAIN, STORE)                                                 \
    X(BF16, uint16_t, double, REAL_SUM, WIDEN_BF16, ROUND_BF16)                                    \
    X(F16, uint16_t, double, REAL_SUM, WIDEN_F16, ROUND_F16)                                       \
    X(I32, int32_t, int64_t, WRAPPING_SUM, PLAIN, STORE)                                           \
    X(I64, int64_t, int64_t, WRAPPING_SUM, PLAIN, STORE)                                           \
    X(U8, uint8_t, int64_t, WRAPPING_SUM, PLAIN, STORE)

#define X(name, type, wide, sum_of, load, store)                                                   \
    static void reduce_##name(void *to, const void *own, const char *pieces, int32_t others,       \
                              int64_t count, collective_reduction reduction) {                     \
        type *out = to;                                                                            \
        const type *first = own;                                                                   \
        for (int64_t i = 0; i < count; i++) {                                                      \
            wide all = (wide)load(first[i], type);                                                 \
            for (int32_t r = 0; r < others; r++) {                                                 \
                const char *piece = pieces + (size_t)r * COLLECTIVE_PIECE_BYTES;                   \
                const wide x = (wide)load(((const type *)(const void *)piece)[i], type);           \
                all = reduction == COLLECTIVE_MAX ? (x > all ? x : all) : sum_of(all, x);          \
            }                                                                                      \
            if (reduction == COLLECTIVE_MEAN) all /= others + 1;                                   \
            out[i] = store(all, type);                                                             \
        }                                                                                          \
    }
REDUCE_LIST(X)
#undef X

typedef void (*reduce_function)(void *to, const void *own, const char *pieces, int32_t others,
                                int64_t count, collective_reduction reduction);

void collective_reduce(void *to, const void *own, const char *pieces, int32_t others, int64_t count,
                       quern_dtype dtype, collective_reduction reduction) {
    static const reduce_function of[QUERN_DTYPE_COUNT] = {
#define X(name, type, wide, sum_of, load, store) [QUERN_##name] = reduce_##name,
        REDUCE_LIST(X)
#undef X
    };
    of[dtype](to, own, pieces, others, count, reduction);
}
