/* reduce.h - folding a walk over the axes that its operand 0, the target, lacks.
 *
 * target[k] = scale * fold of terms, added to what is there when `accumulate`. A term is operand 1
 * itself, or what a row function computes from operands 1 … into row->data[0] (stride 1).
 * Accumulators are F64 for both types. Deterministic: the terms of one target are folded in an
 * order fixed by the shapes: 8 lanes within 256 neighbours along the innermost axis, then one
 * after another, then slice by slice. */
#ifndef QUERN_KERNELS_CPU_REDUCE_H
#define QUERN_KERNELS_CPU_REDUCE_H

#include "walk.h"

typedef enum reduce_fold { REDUCE_SUM, REDUCE_MAX, REDUCE_MIN } reduce_fold;

typedef struct reduce_job {
    quern_dtype dtype;  /* of all operands: F32 or F64 */
    walk_function term; /* NULL: operand 1 */
    reduce_fold fold;   /* MAX and MIN: NaN wins; of nothing: -infinity, infinity */
    double scale;
    bool accumulate;
    void *scratch; /* reduce_scratch_bytes of the walk's count */
} reduce_job;

/* For a walk over full_count elements. */
size_t reduce_scratch_bytes(int64_t full_count);

/* The target is contiguous. */
void reduce_run(const walk *w, quern_stream *stream, const reduce_job *job);

/* The view of a reduction's output with the reduced axes kept as 1, so that it broadcasts. */
quern_view reduce_kept_view(const quern_view *full, const quern_view *reduced, const int32_t *axes,
                            int32_t axis_count);

#endif
