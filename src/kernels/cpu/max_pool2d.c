/* max_pool2d - y = largest x in each window; gx at the place that gave it (the first of equals).
 * Shapes   x (N, C, H, W), y (N, C, OH, OW). Padding counts as minus infinity; a NaN in a window is
 * its result. Saved: the place of each y in its plane, I32.
 * Cost     1 read of x, 1 write of y and of the places.   Deterministic: yes, a plane is one
 * thread's. The 2 x 2 windows side by side of most networks have loops the compiler vectorises. */
#ifndef REAL
#include "pool2d.h"
#include "../../host/base/size.h"
#include <math.h>
#include <string.h>

static bool is_two_by_two(const pool_work *p) {
    const quern_pool2d_desc *d = &p->desc;
    return d->window[0] == 2 && d->window[1] == 2 && d->stride[0] == 2 && d->stride[1] == 2 &&
           d->padding[0] == 0 && d->padding[1] == 0;
}

#define REAL_FILE "max_pool2d.c"
#include "each_real.h"

static quern_status plan(quern_kernel_plan *plan) {
    const quern_view *x = &plan->args->in[0], *y = &plan->args->out[0];
    QUERN_TRY(real_check(plan->args));
    if (x->dim[2] > INT32_MAX / larger(1, x->dim[3]))
        return quern_fail(QUERN_UNSUPPORTED, "a plane has more than 2147483647 pixels");
    if (!plan->backward) return QUERN_OK;
    if (count_bytes(y->count, sizeof(int32_t), &plan->saved_bytes)) return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "the places' bytes do not fit in 64 bits");
}

static quern_status forward(const quern_kernel_args *args) {
    const pool_work p = pool_work_of(args);
    pool_run_planes(&p, REAL_PICK(args->in[0].dtype, forward_chunk));
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    const pool_work p = pool_work_of(args);
    if (args->grad_in[0].data != NULL)
        pool_run_planes(&p, REAL_PICK(args->in[0].dtype, backward_chunk));
    return QUERN_OK;
}

const quern_kernel quern_cpu_max_pool2d = {plan, forward, backward, NULL};

#else

static void REAL_NAME(forward_window)(const pool_work *p, const REAL *x, int64_t i, int64_t j,
                                      REAL *y, int32_t *place) {
    const pool_span rows = pool_span_of(p, 0, i), columns = pool_span_of(p, 1, j);
    int64_t best = rows.first * p->w + columns.first;
    for (int64_t r = rows.first; r < rows.stop; r++)
        for (int64_t c = columns.first; c < columns.stop; c++) {
            const REAL v = x[r * p->w + c];
            if (v > x[best] || (v != v && x[best] == x[best])) best = r * p->w + c;
        }
    *y = x[best];
    if (place != NULL) *place = (int32_t)best;
}

/* One row of y from rows a and b of x; places follow a's first pixel. One comparison after another,
 * each a pair of selections, is the form that gcc vectorises. A NaN wins over what came before it,
 * and no number wins over a NaN. */
static void REAL_NAME(forward_pairs)(const REAL *restrict a, const REAL *restrict b, int32_t first,
                                     int32_t pitch, int64_t count, REAL *restrict y,
                                     int32_t *restrict place) {
    for (int64_t j = 0; j < count; j++) {
        const REAL v1 = a[2 * j + 1], v2 = b[2 * j], v3 = b[2 * j + 1];
        const int32_t at = first + (int32_t)(2 * j);
        REAL best = a[2 * j];
        int32_t from = at;
        from = v1 > best || v1 != v1 ? at + 1 : from;
        best = v1 > best || v1 != v1 ? v1 : best;
        from = v2 > best || v2 != v2 ? at + pitch : from;
        best = v2 > best || v2 != v2 ? v2 : best;
        from = v3 > best || v3 != v3 ? at + pitch + 1 : from;
        best = v3 > best || v3 != v3 ? v3 : best;
        y[j] = best;
        place[j] = from;
    }
}

static void REAL_NAME(forward_pairs_only)(const REAL *restrict a, const REAL *restrict b,
                                          int64_t count, REAL *restrict y) {
    for (int64_t j = 0; j < count; j++) {
        const REAL v1 = a[2 * j + 1], v2 = b[2 * j], v3 = b[2 * j + 1];
        REAL best = a[2 * j];
        best = v1 > best || v1 != v1 ? v1 : best;
        best = v2 > best || v2 != v2 ? v2 : best;
        best = v3 > best || v3 != v3 ? v3 : best;
        y[j] = best;
    }
}

static void REAL_NAME(forward_chunk)(void *context, int64_t chunk) {
    const pool_work *p = context;
    const cpu_range range = cpu_chunk_range(chunk, p->planes_per_chunk, p->planes);
    const bool two_by_two = is_two_by_two(p);
    for (int64_t row = range.start * p->oh; row < range.end * p->oh; row++) {
        const int64_t plane = row / p->oh, i = row % p->oh;
        const REAL *x = (const REAL *)p->args->in[0].data + plane * p->h * p->w;
        REAL *y = (REAL *)p->args->out[0].data + row * p->ow;
        int32_t *place = p->args->saved == NULL ? NULL : (int32_t *)p->args->saved + row * p->ow;
        const REAL *a = x + 2 * i * p->w;
        if (!two_by_two)
            for (int64_t j = 0; j < p->ow; j++)
                REAL_NAME(forward_window)(p, x, i, j, y + j, place == NULL ? NULL : place + j);
        else if (place != NULL)
            REAL_NAME(forward_pairs)
        (a, a + p->w, (int32_t)(2 * i * p->w), (int32_t)p->w, p->ow, y, place);
        else REAL_NAME(forward_pairs_only)(a, a + p->w, p->ow, y);
    }
}

/* One row of gy to rows a and b of gx, which overwrite. */
static void REAL_NAME(backward_pairs)(const REAL *restrict gy, const int32_t *restrict place,
                                      int32_t first, int32_t pitch, int64_t count, REAL *restrict a,
                                      REAL *restrict b) {
    for (int64_t j = 0; j < count; j++) {
        const int32_t from = place[j] - first - (int32_t)(2 * j);
        a[2 * j] = from == 0 ? gy[j] : 0;
        a[2 * j + 1] = from == 1 ? gy[j] : 0;
        b[2 * j] = from == pitch ? gy[j] : 0;
        b[2 * j + 1] = from == pitch + 1 ? gy[j] : 0;
    }
}

static void REAL_NAME(backward_chunk)(void *context, int64_t chunk) {
    const pool_work *p = context;
    const cpu_range range = cpu_chunk_range(chunk, p->planes_per_chunk, p->planes);
    const bool covers = is_two_by_two(p) && p->h % 2 == 0 && p->w % 2 == 0;
    const bool accumulate = p->args->accumulate[0];
    for (int64_t plane = range.start; plane < range.end; plane++) {
        REAL *gx = (REAL *)p->args->grad_in[0].data + plane * p->h * p->w;
        const REAL *gy = (const REAL *)p->args->grad_out[0].data + plane * p->oh * p->ow;
        const int32_t *place = (const int32_t *)p->args->saved + plane * p->oh * p->ow;
        if (covers && !accumulate) {
            for (int64_t i = 0; i < p->oh; i++) {
                REAL *a = gx + 2 * i * p->w;
                REAL_NAME(backward_pairs)
                (gy + i * p->ow, place + i * p->ow, (int32_t)(2 * i * p->w), (int32_t)p->w, p->ow,
                 a, a + p->w);
            }
            continue;
        }
        if (!accumulate) memset(gx, 0, (size_t)(p->h * p->w) * sizeof *gx);
        for (int64_t j = 0; j < p->oh * p->ow; j++) gx[place[j]] += gy[j];
    }
}

#endif
