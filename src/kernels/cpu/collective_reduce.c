/* collective_reduce.c - one piece of every rank becomes one: elements of floating types are summed
 * in double and rounded once, so that the result hardly depends on the order, which is fixed. */
#include "collective.h"

#define REDUCE(name, type, wide, sum_of)                                                           \
    static void reduce_##name(void *to, const void *own, const char *pieces, int32_t others,       \
                              int64_t count, collective_reduction reduction) {                     \
        type *out = to;                                                                            \
        const type *first = own;                                                                   \
        for (int64_t i = 0; i < count; i++) {                                                      \
            wide all = (wide)first[i];                                                             \
            for (int32_t r = 0; r < others; r++) {                                                 \
                const char *piece = pieces + (size_t)r * COLLECTIVE_PIECE_BYTES;                   \
                const wide x = (wide)((const type *)(const void *)piece)[i];                       \
                all = reduction == COLLECTIVE_MAX ? (x > all ? x : all) : sum_of(all, x);          \
            }                                                                                      \
            if (reduction == COLLECTIVE_MEAN) all /= others + 1;                                   \
            out[i] = (type)all;                                                                    \
        }                                                                                          \
    }
#define SUM(a, b) ((a) + (b))
#define WRAPPING_SUM(a, b) ((int64_t)((uint64_t)(a) + (uint64_t)(b)))
REDUCE(F32, float, double, SUM)
REDUCE(F64, double, double, SUM)
REDUCE(I32, int32_t, int64_t, WRAPPING_SUM)
REDUCE(I64, int64_t, int64_t, WRAPPING_SUM)
REDUCE(U8, uint8_t, int64_t, WRAPPING_SUM)

quern_status collective_reducible(quern_dtype dtype) {
    if (dtype != QUERN_BF16 && dtype != QUERN_F16) return QUERN_OK;
    return quern_fail(QUERN_UNSUPPORTED, "the CPU reduces F32, F64, I32, I64 and U8, not %s",
                      quern_dtype_name(dtype));
}

void collective_reduce(void *to, const void *own, const char *pieces, int32_t others, int64_t count,
                       quern_dtype dtype, collective_reduction reduction) {
    switch ((int)dtype) {
    case QUERN_F32: reduce_F32(to, own, pieces, others, count, reduction); break;
    case QUERN_F64: reduce_F64(to, own, pieces, others, count, reduction); break;
    case QUERN_I32: reduce_I32(to, own, pieces, others, count, reduction); break;
    case QUERN_I64: reduce_I64(to, own, pieces, others, count, reduction); break;
    default: reduce_U8(to, own, pieces, others, count, reduction); break;
    }
}
