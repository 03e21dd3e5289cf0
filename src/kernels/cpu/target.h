/* target.h - class indices that may be ignored, for the weights and metrics. */
#ifndef QUERN_KERNELS_CPU_TARGET_H
#define QUERN_KERNELS_CPU_TARGET_H

#include "../kernel.h"

/* INPUT unless each target is `ignore_index` (where `ignore`) or in [0, class_count). */
static inline quern_status target_check(const quern_view *target, int64_t class_count, bool ignore,
                                        int32_t ignore_index) {
    const int32_t *t = target->data;
    for (int64_t i = 0; i < target->count; i++)
        if (!(ignore && t[i] == ignore_index) && (t[i] < 0 || t[i] >= class_count))
            return quern_fail(QUERN_INPUT, "index %d at position %lld is outside [0, %lld)", t[i],
                              (long long)i, (long long)class_count);
    return QUERN_OK;
}

static inline void scalar_store(const quern_view *y, int64_t index, double value) {
    if (y->dtype == QUERN_F32)
        ((float *)y->data)[index] = (float)value;
    else
        ((double *)y->data)[index] = value;
}

static inline quern_status scalar_check(const quern_view *y) {
    if (y->dtype == QUERN_F32 || y->dtype == QUERN_F64) return QUERN_OK;
    return quern_fail(QUERN_UNSUPPORTED, "the CPU computes this op in F32 and F64, not %s",
                      quern_dtype_name(y->dtype));
}

#endif
