/* conv2d_product.c - convolution as a product with the columns of windows (im2col).
 *
 * For an image and group, columns is (C/g R S, pixels): what each output pixel sees. Then
 *   y = w columns;   gw = gy columns^T;   gcolumns = w^T gy, added back to where it was read.
 * A strip of whole output rows at a time, so that its columns stay in cache; Chellapilla, Puri,
 * Simard, "High performance convolutional neural networks for document processing" (2006). */
#ifndef REAL
#include "../../host/base/report.h"
#include "../../host/base/size.h"
#include "conv2d.h"
#include "gemm.h"
#include "real.h"
#include <string.h>

enum {
    CHUNKS = 32,                 /* of the images (forward: strips), each with its own columns */
    STRIP_COUNT = 65536,         /* elements of columns wanted in a strip */
    PARTIAL_COUNT = 16 * 1048576 /* elements of all chunks' weight gradients, at most about */
};

/* How the work of one call is cut. An item is an image and group (forward: and strip). */
typedef struct conv_work {
    const quern_kernel_args *args;
    conv_shape s;
    int64_t taps, channels, filters; /* c / groups * r * s; c / groups; k / groups */
    int64_t pixels, strip_rows, strips;
    int64_t items, chunks, columns_count;
    size_t partials_at; /* bytes into scratch */
} conv_work;

static conv_work work_of(const quern_kernel_args *args, const conv_shape *s, bool by_strip) {
    conv_work w = {.args = args, .s = *s};
    w.channels = s->c / s->groups;
    w.filters = s->k / s->groups;
    w.taps = w.channels * s->r * s->s;
    w.pixels = s->oh * s->ow;
    const int64_t row = larger(w.taps * s->ow, 1);
    w.strip_rows = larger(1, smaller(STRIP_COUNT / row, s->oh));
    w.strips = count_divide_up(s->oh, w.strip_rows);
    w.items = s->n * s->groups * (by_strip ? w.strips : 1);
    w.chunks = smaller(w.items, CHUNKS);
    w.columns_count = row * w.strip_rows;
    if (!by_strip)
        w.chunks = larger(1, smaller(w.chunks, PARTIAL_COUNT / larger(1, s->k * w.taps)));
    return w;
}

#define REAL_FILE "conv2d_product.c"
#include "each_real.h"

quern_status conv_product_plan(quern_kernel_plan *plan, const conv_shape *s) {
    const size_t element = quern_dtype_bytes(s->dtype);
    /* first: with sides below 2^31 nothing in work_of overflows */
    QUERN_TRY(gemm_check(s->k, s->oh * s->ow, s->c / s->groups * s->r * s->s));
    const conv_work ahead = work_of(plan->args, s, true), back = work_of(plan->args, s, false);
    if (conv_reserve(&plan->forward_scratch_bytes, ahead.chunks, ahead.columns_count + 16,
                     element) &&
        (!plan->backward ||
         (conv_reserve(&plan->backward_scratch_bytes, back.chunks, back.columns_count + 16,
                       element) &&
          conv_reserve(&plan->backward_scratch_bytes, back.chunks, s->k * back.taps, element))))
        return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "the scratch of this convolution does not fit in 64 bits");
}

void conv_product_forward(const quern_kernel_args *args, const conv_shape *s) {
    conv_work w = work_of(args, s, true);
    quern_cpu_parallel(args->stream, w.chunks, REAL_PICK(s->dtype, forward_chunk), &w);
}

void conv_product_backward(const quern_kernel_args *args, const conv_shape *s) {
    conv_work w = work_of(args, s, false);
    if (!conv_reserve(&w.partials_at, w.chunks, w.columns_count + 16, quern_dtype_bytes(s->dtype)))
        return; /* plan has refused it */
    quern_cpu_parallel(args->stream, w.chunks, REAL_PICK(s->dtype, backward_chunk), &w);
    if (args->grad_in[1].data != NULL)
        quern_cpu_parallel(args->stream, count_divide_up(s->k * w.taps, 4096),
                           REAL_PICK(s->dtype, add_partials), &w);
}

#else

/* columns (taps, rows * ow) of output rows first … first + rows - 1; x is the group's first
 * plane. With `add`, the columns are added to x instead. */
static void REAL_NAME(move_columns)(const conv_work *w, REAL *columns, REAL *x, int64_t first,
                                    int64_t rows, bool add) {
    const conv_shape *s = &w->s;
    for (int64_t tap = 0; tap < w->taps; tap++) {
        const int64_t dy = tap / s->s % s->r * s->dilation[0] - s->padding[0];
        const int64_t dx = tap % s->s * s->dilation[1] - s->padding[1];
        const int64_t step = s->stride[1];
        REAL *plane = x + tap / (s->s * s->r) * s->h * s->w;
        /* output columns begin … end - 1 read inside the image */
        const int64_t begin = smaller(s->ow, dx >= 0 ? 0 : count_divide_up(-dx, step));
        const int64_t inside = s->w - dx <= 0 ? 0 : count_divide_up(s->w - dx, step);
        const int64_t end = larger(begin, smaller(s->ow, inside));
        for (int64_t i = first; i < first + rows; i++, columns += s->ow) {
            const int64_t y = i * s->stride[0] + dy;
            const bool row_inside = y >= 0 && y < s->h;
            REAL *line = plane + (row_inside ? y * s->w : 0);
            if (add) {
                for (int64_t j = begin; j < end && row_inside; j++)
                    line[j * step + dx] += columns[j];
                continue;
            }
            if (!row_inside) {
                memset(columns, 0, (size_t)s->ow * sizeof *columns);
                continue;
            }
            for (int64_t j = 0; j < begin; j++) columns[j] = 0;
            if (step == 1 && end > begin)
                memcpy(columns + begin, line + begin + dx, (size_t)(end - begin) * sizeof *columns);
            else
                for (int64_t j = begin; j < end; j++) columns[j] = line[j * step + dx];
            for (int64_t j = end; j < s->ow; j++) columns[j] = 0;
        }
    }
}

static void REAL_NAME(forward_chunk)(void *context, int64_t chunk) {
    const conv_work *w = context;
    const conv_shape *s = &w->s;
    const quern_kernel_args *args = w->args;
    REAL *columns = (REAL *)args->scratch + chunk * (w->columns_count + 16);
    const REAL *bias = args->in[2].data;
    const int64_t stop = (chunk + 1) * w->items / w->chunks;
    for (int64_t item = chunk * w->items / w->chunks; item < stop; item++) {
        const int64_t first = item % w->strips * w->strip_rows, image = item / w->strips;
        const int64_t rows = smaller(w->strip_rows, s->oh - first), group = image % s->groups;
        REAL *x = (REAL *)args->in[0].data + image * w->channels * s->h * s->w;
        REAL *y = (REAL *)args->out[0].data + image * w->filters * w->pixels + first * s->ow;
        REAL_NAME(move_columns)(w, columns, x, first, rows, false);
        gemm g = {.dtype = s->dtype, .m = w->filters, .n = rows * s->ow, .k = w->taps};
        g.a = (const REAL *)args->in[1].data + group * w->filters * w->taps, g.a_pitch = w->taps;
        g.b = columns, g.b_pitch = g.n;
        g.c = y, g.c_pitch = w->pixels;
        gemm_serial(&g);
        for (int64_t k = 0; k < w->filters && bias != NULL; k++)
            for (int64_t i = 0; i < g.n; i++) y[k * w->pixels + i] += bias[group * w->filters + k];
    }
}

/* One strip: its share of gw is added to the chunk's sums, its share of gx to the image. */
static void REAL_NAME(backward_strip)(const conv_work *w, REAL *columns, REAL *partial,
                                      int64_t image, int64_t first) {
    const conv_shape *s = &w->s;
    const quern_kernel_args *args = w->args;
    const int64_t rows = smaller(w->strip_rows, s->oh - first);
    const int64_t weight = image % s->groups * w->filters * w->taps;
    const int64_t plane = image * w->channels * s->h * s->w;
    const REAL *gy = (const REAL *)args->grad_out[0].data + image * w->filters * w->pixels;
    gemm g = {.dtype = s->dtype};
    if (args->grad_in[1].data != NULL) {
        REAL_NAME(move_columns)(w, columns, (REAL *)args->in[0].data + plane, first, rows, false);
        g.m = w->filters, g.n = w->taps, g.k = rows * s->ow, g.accumulate = true;
        g.a = gy + first * s->ow, g.a_pitch = w->pixels;
        g.b = columns, g.b_pitch = g.k, g.transpose_b = true;
        g.c = partial + weight, g.c_pitch = w->taps;
        gemm_serial(&g);
    }
    if (args->grad_in[0].data != NULL) {
        g = (gemm){.dtype = s->dtype, .m = w->taps, .n = rows * s->ow, .k = w->filters};
        g.a = (const REAL *)args->in[1].data + weight, g.a_pitch = w->taps, g.transpose_a = true;
        g.b = gy + first * s->ow, g.b_pitch = w->pixels;
        g.c = columns, g.c_pitch = g.n;
        gemm_serial(&g);
        REAL_NAME(move_columns)
        (w, columns, (REAL *)args->grad_in[0].data + plane, first, rows, true);
    }
}

static void REAL_NAME(backward_chunk)(void *context, int64_t chunk) {
    const conv_work *w = context;
    const quern_kernel_args *args = w->args;
    const int64_t weights = w->s.k * w->taps, image_count = w->channels * w->s.h * w->s.w;
    REAL *columns = (REAL *)args->scratch + chunk * (w->columns_count + 16);
    REAL *partial = (REAL *)((char *)args->scratch + w->partials_at) + chunk * weights;
    if (args->grad_in[1].data != NULL) memset(partial, 0, (size_t)weights * sizeof *partial);
    const int64_t stop = (chunk + 1) * w->items / w->chunks;
    for (int64_t image = chunk * w->items / w->chunks; image < stop; image++) {
        REAL *gx = args->grad_in[0].data;
        if (gx != NULL && !args->accumulate[0])
            memset(gx + image * image_count, 0, (size_t)image_count * sizeof *gx);
        for (int64_t i = 0; i < w->s.oh; i += w->strip_rows)
            REAL_NAME(backward_strip)(w, columns, partial, image, i);
    }
}

static void REAL_NAME(add_partials)(void *context, int64_t chunk) {
    const conv_work *w = context;
    const int64_t weights = w->s.k * w->taps, stop = smaller((chunk + 1) * 4096, weights);
    const REAL *partial = (const REAL *)((const char *)w->args->scratch + w->partials_at);
    REAL *gw = w->args->grad_in[1].data;
    for (int64_t i = chunk * 4096; i < stop; i++) {
        REAL sum = w->args->accumulate[1] ? gw[i] : 0;
        for (int64_t p = 0; p < w->chunks; p++) sum += partial[p * weights + i];
        gw[i] = sum;
    }
}

#endif
