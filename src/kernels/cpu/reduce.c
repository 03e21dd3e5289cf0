#ifndef REAL
#include "reduce.h"
#include "cpu.h"
#include "real.h"
#include <math.h>

enum { LANES = 8, RUN = 256, TILE = 128 };
#define SLICE_ELEMENTS INT64_C(32768)
#define ITEMS_WANTED 64

/* How a walk is cut. An item is a tile of targets (innermost axis kept) or a group of them
 * (innermost axis reduced); a slice is a range of the reduced positions. A chunk is both. */
typedef struct reduce_layout {
    walk_cursor kept, reduced; /* without the innermost axis */
    int64_t target_count, reduced_count;
    int64_t length;  /* of the innermost axis */
    bool inner_kept; /* whether the target has it */
    int64_t tiles;   /* per row of targets, when it does */
    int64_t group;   /* targets of an item, when it does not */
    int64_t item_count, slice_count;
} reduce_layout;

typedef struct reduce_work {
    const walk *walk;
    const reduce_job *job;
    reduce_layout layout;
    double *partial; /* [slice][target]; NULL with a single slice */
} reduce_work;

typedef struct fold_functions {
    double initial;
    double (*combine)(double a, double b);
    void (*across[2])(double *totals, const void *terms, int64_t count); /* F32, F64 */
    double (*along[2])(const void *terms, int64_t count);
} fold_functions;

static double combine_sum(double a, double b) { return a + b; }
static double combine_max(double a, double b) { return b > a || b != b ? b : a; }
static double combine_min(double a, double b) { return b < a || b != b ? b : a; }

static reduce_layout layout_of(const walk *w) {
    const int32_t last = w->axes.rank - 1;
    reduce_layout l = {.target_count = 1, .reduced_count = 1, .length = w->axes.dim[last]};
    for (int32_t i = 0; i < w->axes.rank; i++) {
        const bool keep = w->axes.stride[0][i] != 0;
        *(keep ? &l.target_count : &l.reduced_count) *= w->axes.dim[i];
        if (i == last) l.inner_kept = keep;
        walk_cursor *cursor = keep ? &l.kept : &l.reduced;
        if (i != last) cursor->axis[cursor->rank++] = i;
    }
    if (w->axes.count == 0) return l;
    if (l.inner_kept) {
        l.tiles = cpu_chunk_count(l.length, TILE);
        l.item_count = l.target_count / l.length * l.tiles;
    } else {
        l.group = cpu_rows_per_chunk(l.reduced_count);
        l.item_count = cpu_chunk_count(l.target_count, l.group);
    }
    l.slice_count = cpu_min(ITEMS_WANTED / l.item_count, w->axes.count / SLICE_ELEMENTS);
    l.slice_count = larger(1, cpu_min(l.slice_count, l.reduced_count / RUN));
    return l;
}

size_t reduce_scratch_bytes(int64_t full_count) {
    /* Slices times targets: ITEMS_WANTED tiles of TILE, or of groups that are smaller, because a
     * target that is sliced has at least 2 RUN terms. */
    return full_count < 2 * SLICE_ELEMENTS ? 0 : ITEMS_WANTED * TILE * sizeof(double);
}

static cpu_range slice_range(const reduce_layout *l, int64_t slice) {
    const int64_t size = cpu_chunk_count(l->reduced_count, l->slice_count);
    return (cpu_range){cpu_min(slice * size, l->reduced_count),
                       cpu_min((slice + 1) * size, l->reduced_count)};
}

/* The row at the sum of two cursors, `first` elements into the innermost axis. */
static walk_row row_at(const walk *w, const walk_cursor *a, const walk_cursor *b, int64_t first,
                       int64_t count) {
    const int32_t last = w->axes.rank - 1;
    walk_row row = {.count = count, .factor = w->factor};
    for (int32_t o = 1; o < w->axes.operand_count; o++) {
        const int64_t element = a->offset[o] + b->offset[o] + first * w->axes.stride[o][last];
        row.data[o] = w->data[o] + element * (int64_t)w->bytes[o];
        row.stride[o] = w->axes.stride[o][last];
    }
    return row;
}

static const void *terms_of(const reduce_job *job, walk_row *row, void *buffer) {
    if (job->term == NULL) return row->data[1];
    row->data[0] = buffer;
    row->stride[0] = 1;
    job->term(row);
    return buffer;
}

static void finish(const reduce_work *work, int64_t target, double value) {
    const reduce_job *job = work->job;
    value *= job->scale;
    if (job->dtype == QUERN_F32) {
        float *to = (float *)(void *)work->walk->data[0] + target;
        *to = job->accumulate ? *to + (float)value : (float)value;
    } else {
        double *to = (double *)(void *)work->walk->data[0] + target;
        *to = job->accumulate ? *to + value : value;
    }
}

static void deliver(const reduce_work *work, int64_t slice, int64_t target, double value) {
    if (work->partial != NULL)
        work->partial[slice * work->layout.target_count + target] = value;
    else
        finish(work, target, value);
}

#define REAL_FILE "reduce.c"
#include "each_real.h"

static const fold_functions folds[] = {
    [REDUCE_SUM] = {0.0,
                    combine_sum,
                    {sum_across_f32, sum_across_f64},
                    {sum_along_f32, sum_along_f64}},
    [REDUCE_MAX] = {-INFINITY,
                    combine_max,
                    {max_across_f32, max_across_f64},
                    {max_along_f32, max_along_f64}},
    [REDUCE_MIN] = {INFINITY,
                    combine_min,
                    {min_across_f32, min_across_f64},
                    {min_along_f32, min_along_f64}},
};

/* Innermost axis kept: TILE neighbouring targets walk the reduced positions together. */
static void across_chunk(void *context, int64_t chunk) {
    const reduce_work *work = context;
    const walk *w = work->walk;
    const reduce_layout *l = &work->layout;
    const fold_functions *fold = &folds[work->job->fold];
    const int32_t type = work->job->dtype == QUERN_F32 ? 0 : 1;
    const int64_t item = chunk / l->slice_count, slice = chunk % l->slice_count;
    const int64_t outer = item / l->tiles;
    const cpu_range columns = cpu_chunk_range(item % l->tiles, TILE, l->length);
    const cpu_range range = slice_range(l, slice);
    double totals[TILE], buffer[TILE];
    for (int64_t i = 0; i < TILE; i++) totals[i] = fold->initial;
    walk_cursor kept = l->kept, reduced = l->reduced;
    walk_seek(w, &kept, outer);
    walk_seek(w, &reduced, range.start);
    for (int64_t r = range.start; r < range.end; r++) {
        walk_row row = row_at(w, &kept, &reduced, columns.start, columns.end - columns.start);
        fold->across[type](totals, terms_of(work->job, &row, buffer), row.count);
        walk_next(w, &reduced);
    }
    for (int64_t i = columns.start; i < columns.end; i++)
        deliver(work, slice, outer * l->length + i, totals[i - columns.start]);
}

static double fold_target(const reduce_work *work, const walk_cursor *kept, cpu_range range) {
    const walk *w = work->walk;
    const reduce_layout *l = &work->layout;
    const fold_functions *fold = &folds[work->job->fold];
    const int32_t type = work->job->dtype == QUERN_F32 ? 0 : 1;
    double total = fold->initial, buffer[RUN];
    walk_cursor reduced = l->reduced;
    walk_seek(w, &reduced, range.start / l->length);
    int64_t first = range.start % l->length;
    for (int64_t r = range.start; r < range.end;) {
        const int64_t count = cpu_min(cpu_min(RUN, l->length - first), range.end - r);
        walk_row row = row_at(w, kept, &reduced, first, count);
        total = fold->combine(total, fold->along[type](terms_of(work->job, &row, buffer), count));
        r += count;
        first += count;
        if (first < l->length) continue;
        first = 0;
        walk_next(w, &reduced);
    }
    return total;
}

/* Innermost axis reduced: one target after another. */
static void along_chunk(void *context, int64_t chunk) {
    const reduce_work *work = context;
    const reduce_layout *l = &work->layout;
    const int64_t slice = chunk % l->slice_count;
    const cpu_range targets = cpu_chunk_range(chunk / l->slice_count, l->group, l->target_count);
    walk_cursor kept = l->kept;
    walk_seek(work->walk, &kept, targets.start);
    for (int64_t k = targets.start; k < targets.end; k++) {
        deliver(work, slice, k, fold_target(work, &kept, slice_range(l, slice)));
        walk_next(work->walk, &kept);
    }
}

void reduce_run(const walk *w, quern_stream *stream, const reduce_job *job) {
    reduce_work work = {w, job, layout_of(w), NULL};
    const reduce_layout *l = &work.layout;
    const fold_functions *fold = &folds[job->fold];
    if (w->axes.count == 0) {
        for (int64_t k = 0; k < l->target_count; k++) finish(&work, k, fold->initial);
        return;
    }
    if (l->slice_count > 1) work.partial = job->scratch;
    quern_cpu_parallel(stream, l->item_count * l->slice_count,
                       l->inner_kept ? across_chunk : along_chunk, &work);
    for (int64_t k = 0; work.partial != NULL && k < l->target_count; k++) {
        double total = work.partial[k];
        for (int64_t s = 1; s < l->slice_count; s++)
            total = fold->combine(total, work.partial[s * l->target_count + k]);
        finish(&work, k, total);
    }
}

quern_view reduce_kept_view(const quern_view *full, const quern_view *reduced, const int32_t *axes,
                            int32_t axis_count) {
    int64_t dim[QUERN_RANK_MAX];
    for (int32_t i = 0; i < full->rank; i++) dim[i] = full->dim[i];
    for (int32_t i = 0; i < axis_count; i++) dim[axes[i]] = 1;
    return view_with_dims(reduced, full->rank, dim);
}

#else

#define ACROSS(name, fold)                                                                         \
    static void name(double *totals, const void *terms, int64_t count) {                           \
        const REAL *term = terms;                                                                  \
        for (int64_t i = 0; i < count; i++) {                                                      \
            const double a = totals[i], b = (double)term[i];                                       \
            totals[i] = fold;                                                                      \
        }                                                                                          \
    }

/* Lane j folds terms j, j + 8, …; then the lanes are folded in pairs. */
#define ALONG(name, start, fold, combine)                                                          \
    static double name(const void *terms, int64_t count) {                                         \
        const REAL *term = terms;                                                                  \
        double lane[LANES] = {start, start, start, start, start, start, start, start};             \
        int64_t i = 0;                                                                             \
        for (; i + LANES <= count; i += LANES)                                                     \
            for (int64_t j = 0; j < LANES; j++) {                                                  \
                const double a = lane[j], b = (double)term[i + j];                                 \
                lane[j] = fold;                                                                    \
            }                                                                                      \
        for (int64_t j = 0; i < count; i++, j++) lane[j] = combine(lane[j], (double)term[i]);      \
        for (int64_t step = LANES / 2; step > 0; step /= 2)                                        \
            for (int64_t j = 0; j < step; j++) lane[j] = combine(lane[j], lane[j + step]);         \
        return lane[0];                                                                            \
    }

ACROSS(REAL_NAME(sum_across), a + b)
ACROSS(REAL_NAME(max_across), ((b > a) | (b != b)) ? b : a)
ACROSS(REAL_NAME(min_across), ((b < a) | (b != b)) ? b : a)
ALONG(REAL_NAME(sum_along), 0.0, a + b, combine_sum)
ALONG(REAL_NAME(max_along), -INFINITY, ((b > a) | (b != b)) ? b : a, combine_max)
ALONG(REAL_NAME(min_along), INFINITY, ((b < a) | (b != b)) ? b : a, combine_min)
#undef ACROSS
#undef ALONG

#endif
