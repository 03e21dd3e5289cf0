/* conv2d_lanes.c - convolution with few channels, eight images at once.
 *
 * A product with 6 or 16 rows leaves most of a BLAS kernel idle, and its columns cost as much as
 * the arithmetic. Here a vector holds one pixel of eight images, so that every lane works whatever
 * the widths: images are transposed to (channel, y, x, image) on the way in and back on the way
 * out, and a block of up to six channels by two pixels is summed in registers.
 * For stride 1, dilation 1, one group. Working memory of eight images stays in the second-level
 * cache. Deterministic: the eight images of a group, and the order of all sums, follow from shape.
 */
#include "conv2d.h"
#include "../../host/base/report.h"
#include "../../host/base/size.h"
#include "lanes.h"
#include "real.h"
#include <string.h>

enum {
    BLOCK = 6,      /* channels in registers: 6 x 2 sums, 2 operands, 1 coefficient of 16 */
    CHUNKS = 16,    /* of the groups of images; each has its own sums of the weights' gradient */
    CHANNELS = 32,  /* both sides; above, BLAS is as good */
    CACHE = 393216, /* bytes for eight images */
    STRIP = 16384   /* bytes of gy that stay in the first-level cache */
};

/* Element counts are of lanes; *_at are offsets into scratch in bytes. */
typedef struct lanes_work {
    const quern_kernel_args *args;
    conv_shape s;
    int64_t taps;           /* c r s */
    int64_t wide, high;     /* x with its padding */
    int64_t groups, chunks; /* groups of eight images, shared out to chunks */
    int64_t x_count, y_count, gx_count;
    size_t offsets_at, weight_at, x_at, y_at, gx_at, partial_at;
} lanes_work;

bool conv_lanes_suits(const conv_shape *s) {
    if (s->dtype != QUERN_F32 || s->n < LANES || s->groups != 1) return false;
    for (int i = 0; i < 2; i++)
        if (s->stride[i] != 1 || s->dilation[i] != 1) return false;
    if (s->padding[0] >= s->r || s->padding[1] >= s->s) return false;
    if (s->r > 1024 || s->s > 1024) return false; /* what is multiplied below stays in 64 bits */
    if (s->c > CHANNELS || s->k > CHANNELS || s->h > 1024 || s->w > 1024) return false;
    const int64_t x = s->c * (s->h + 2 * s->padding[0]) * (s->w + 2 * s->padding[1]);
    return (x + s->k * s->oh * (s->ow + 2)) * (int64_t)sizeof(lanes) <= CACHE;
}

/* False when the bytes do not fit. gx is placed last but one; backward alone has it and partials.
 */
static bool place(lanes_work *w, bool backward, size_t *bytes) {
    const conv_shape *s = &w->s;
    const size_t lane = sizeof(lanes);
    *bytes = 0;
    w->taps = s->c * s->r * s->s;
    w->wide = s->w + 2 * s->padding[1];
    w->high = s->h + 2 * s->padding[0];
    w->groups = count_divide_up(s->n, LANES);
    w->chunks = smaller(w->groups, CHUNKS);
    w->x_count = s->c * w->high * w->wide;
    w->y_count = s->k * s->oh * (s->ow + 2);
    w->gx_count = s->c * s->h * s->w;
    w->offsets_at = *bytes;
    bool fits = conv_reserve(bytes, w->taps, 1, sizeof(int64_t));
    w->weight_at = *bytes;
    fits = fits && conv_reserve(bytes, s->k, w->taps, sizeof(float));
    w->x_at = *bytes;
    fits = fits && conv_reserve(bytes, w->chunks, w->x_count, lane);
    w->y_at = *bytes;
    fits = fits && conv_reserve(bytes, w->chunks, w->y_count, lane);
    if (!backward) return fits;
    w->gx_at = *bytes;
    fits = fits && conv_reserve(bytes, w->chunks, w->gx_count, lane);
    w->partial_at = *bytes;
    return fits && conv_reserve(bytes, w->chunks, s->k * w->taps, lane);
}

quern_status conv_lanes_plan(quern_kernel_plan *plan, const conv_shape *s) {
    lanes_work w = {.s = *s};
    if (place(&w, false, &plan->forward_scratch_bytes) &&
        (!plan->backward || place(&w, true, &plan->backward_scratch_bytes)))
        return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "the scratch of this convolution does not fit in 64 bits");
}

static void *scratch_at(const lanes_work *w, size_t offset) {
    return (char *)w->args->scratch + offset;
}

/* --- between (image, y, x) and (y, x, image) --- */

typedef struct planes {
    float *first;  /* the group's first image, at this plane */
    int64_t image; /* elements from image to image */
    int64_t count; /* images present, 1 … 8 */
} planes;

/* to[i] = pixel i of the eight images; lanes of absent images are zero. */
static void gather_line(const planes *p, int64_t at, int64_t width, lanes *to) {
    lanes m[LANES];
    if (p->count < LANES || width < LANES) {
        for (int64_t i = 0; i < width; i++) {
            to[i] = (lanes){0};
            for (int64_t j = 0; j < p->count; j++) to[i][j] = p->first[j * p->image + at + i];
        }
        return;
    }
    for (int64_t i = 0; i < width; i += LANES) {
        const int64_t start = smaller(i, width - LANES); /* the last block may overlap */
        for (int64_t j = 0; j < LANES; j++) m[j] = lanes_load(p->first + j * p->image + at + start);
        lanes_transpose(m);
        for (int64_t j = 0; j < LANES; j++) to[start + j] = m[j];
    }
}

/* The way back; with `add`, blocks must not overlap, so a tail is added pixel by pixel. */
static void scatter_line(const planes *p, int64_t at, int64_t width, const lanes *from, bool add) {
    lanes m[LANES];
    const int64_t whole = p->count < LANES || width < LANES ? 0
                          : add                             ? width / LANES * LANES
                                                            : width;
    for (int64_t i = 0; i < whole; i += LANES) {
        const int64_t start = smaller(i, width - LANES);
        for (int64_t j = 0; j < LANES; j++) m[j] = from[start + j];
        lanes_transpose(m);
        for (int64_t j = 0; j < LANES; j++) {
            float *to = p->first + j * p->image + at + start;
            lanes_store(to, add ? lanes_load(to) + m[j] : m[j]);
        }
    }
    for (int64_t i = whole; i < width; i++)
        for (int64_t j = 0; j < p->count; j++) {
            float *to = p->first + j * p->image + at + i;
            *to = add ? *to + from[i][j] : from[i][j];
        }
}

/* All planes of a group, with `border` zero pixels around each. */
static void gather_planes(planes p, int64_t count, int64_t high, int64_t wide, int64_t top,
                          int64_t left, lanes *to) {
    const int64_t pitch = wide + 2 * left, area = (high + 2 * top) * pitch;
    if (top == 0 && left == 0) {
        gather_line(&p, 0, count * area, to);
        return;
    }
    memset(to, 0, (size_t)(count * area) * sizeof *to);
    for (int64_t c = 0; c < count; c++)
        for (int64_t y = 0; y < high; y++)
            gather_line(&p, (c * high + y) * wide, wide, to + c * area + (y + top) * pitch + left);
}

static planes planes_of(const lanes_work *w, const quern_view *view, int64_t group) {
    const int64_t image = view->dim[1] * view->dim[2] * view->dim[3];
    return (planes){(float *)view->data + group * LANES * image, image,
                    smaller(LANES, w->s.n - group * LANES)};
}

/* --- the register block --- */

/* sum[k][p] += coefficient[i * channels + k] * x[offset(i) + p] for all i; the callers give
 * channels and pixels as constants. */
static inline __attribute__((always_inline)) void sum_taps(int channels, int pixels,
                                                           const float *coefficient,
                                                           const int64_t *offset, int64_t taps,
                                                           const lanes *x, lanes sum[BLOCK][2]) {
    for (int64_t i = 0; i < taps; i++, coefficient += channels) {
        const lanes *at = x + offset[i];
        for (int k = 0; k < channels; k++) {
            const lanes factor = lanes_of(coefficient[k]);
            for (int p = 0; p < pixels; p++) sum[k][p] = lanes_fma(factor, at[p], sum[k][p]);
        }
    }
}

/* One row of y for a block of channels. */
static inline __attribute__((always_inline)) void forward_row(int channels, const lanes_work *w,
                                                              const float *coefficient,
                                                              const float *bias, const lanes *x,
                                                              lanes *y) {
    const int64_t ow = w->s.ow, plane = w->s.oh * ow;
    const int64_t *offset = scratch_at(w, w->offsets_at);
    for (int64_t j = 0; j < ow; j += 2) {
        lanes sum[BLOCK][2];
        for (int k = 0; k < channels; k++)
            sum[k][0] = sum[k][1] = lanes_of(bias == NULL ? 0 : bias[k]);
        if (j + 1 < ow)
            sum_taps(channels, 2, coefficient, offset, w->taps, x + j, sum);
        else
            sum_taps(channels, 1, coefficient, offset, w->taps, x + j, sum);
        for (int k = 0; k < channels; k++) {
            y[k * plane + j] = sum[k][0];
            if (j + 1 < ow) y[k * plane + j + 1] = sum[k][1];
        }
    }
}

/* Two pixels of gx (or one): every w[k,c,r,s] that carried them to some y. gy has a zero column on
 * each side, for the tap that only one of the two pixels has. */
static inline __attribute__((always_inline)) void
backward_pixels(int channels, int pixels, const lanes_work *w, const float *coefficient,
                const lanes *gy, int64_t y, int64_t x, lanes *gx) {
    const conv_shape *s = &w->s;
    const int64_t pitch = s->ow + 2, area = s->oh * pitch, plane = s->h * s->w;
    const int64_t down = y + s->padding[0], right = x + s->padding[1];
    const int64_t r_first = larger(0, down - s->oh + 1), r_last = smaller(s->r - 1, down);
    const int64_t s_first = larger(0, right - s->ow + 1);
    const int64_t s_last = smaller(s->s - 1, right + pixels - 1);
    lanes sum[BLOCK][2] = {{{0}}};
    for (int64_t k = 0; k < s->k; k++) {
        for (int64_t r = r_first; r <= r_last; r++) {
            const lanes *at = gy + k * area + (down - r) * pitch + right + 1;
            const float *row = coefficient + (k * s->r + r) * s->s * channels;
            for (int64_t i = s_first; i <= s_last; i++) {
                for (int c = 0; c < channels; c++) {
                    const lanes factor = lanes_of(row[i * channels + c]);
                    for (int p = 0; p < pixels; p++)
                        sum[c][p] = lanes_fma(factor, at[p - i], sum[c][p]);
                }
            }
        }
    }
    for (int c = 0; c < channels; c++)
        for (int p = 0; p < pixels; p++) gx[c * plane + y * s->w + x + p] = sum[c][p];
}

static inline __attribute__((always_inline)) void backward_row(int channels, const lanes_work *w,
                                                               const float *coefficient,
                                                               const lanes *gy, int64_t y,
                                                               lanes *gx) {
    int64_t x = 0;
    for (; x + 2 <= w->s.w; x += 2) backward_pixels(channels, 2, w, coefficient, gy, y, x, gx);
    if (x < w->s.w) backward_pixels(channels, 1, w, coefficient, gy, y, x, gx);
}

/* sum[tap][k] += gy[k] x[tap] over some rows of y, for a block of channels and one or two taps. */
static inline __attribute__((always_inline)) void
weight_taps(int channels, int taps, const lanes_work *w, const int64_t *offset, int64_t first,
            int64_t stop, const lanes *x, const lanes *gy, lanes *partial) {
    const int64_t pitch = w->s.ow + 2, area = w->s.oh * pitch;
    lanes sum[BLOCK][2];
    for (int k = 0; k < channels; k++)
        for (int t = 0; t < taps; t++) sum[k][t] = partial[t * channels + k];
    for (int64_t i = first; i < stop; i++) {
        const lanes *from = x + i * w->wide, *row = gy + i * pitch + 1;
        for (int64_t j = 0; j < w->s.ow; j++) {
            lanes value[2];
            for (int t = 0; t < taps; t++) value[t] = from[offset[t] + j];
            for (int k = 0; k < channels; k++) {
                const lanes slope = row[k * area + j];
                for (int t = 0; t < taps; t++) sum[k][t] = lanes_fma(slope, value[t], sum[k][t]);
            }
        }
    }
    for (int k = 0; k < channels; k++)
        for (int t = 0; t < taps; t++) partial[t * channels + k] = sum[k][t];
}

static inline __attribute__((always_inline)) void weight_strip(int channels, const lanes_work *w,
                                                               int64_t first, int64_t stop,
                                                               const lanes *x, const lanes *gy,
                                                               lanes *partial) {
    const int64_t *offset = scratch_at(w, w->offsets_at);
    int64_t t = 0;
    for (; t + 2 <= w->taps; t += 2)
        weight_taps(channels, 2, w, offset + t, first, stop, x, gy, partial + t * channels);
    if (t < w->taps)
        weight_taps(channels, 1, w, offset + t, first, stop, x, gy, partial + t * channels);
}

/* One copy of the code for each width of a block. */
#define FOR_CHANNELS(channels, function, ...)                                                      \
    switch (channels) {                                                                            \
    case 1: function(1, __VA_ARGS__); break;                                                       \
    case 2: function(2, __VA_ARGS__); break;                                                       \
    case 3: function(3, __VA_ARGS__); break;                                                       \
    case 4: function(4, __VA_ARGS__); break;                                                       \
    case 5: function(5, __VA_ARGS__); break;                                                       \
    default: function(6, __VA_ARGS__); break;                                                      \
    }

/* --- chunks of groups --- */

static void forward_group(const lanes_work *w, int64_t group, lanes *x, lanes *y) {
    const quern_kernel_args *args = w->args;
    const conv_shape *s = &w->s;
    const float *bias = args->in[2].data, *weight = scratch_at(w, w->weight_at);
    const int64_t plane = s->oh * s->ow;
    gather_planes(planes_of(w, &args->in[0], group), s->c, s->h, s->w, s->padding[0], s->padding[1],
                  x);
    planes out = planes_of(w, &args->out[0], group);
    for (int64_t k = 0; k < s->k; k += BLOCK) {
        const int64_t channels = smaller(BLOCK, s->k - k);
        for (int64_t i = 0; i < s->oh; i++)
            FOR_CHANNELS(channels, forward_row, w, weight + k * w->taps,
                         bias == NULL ? NULL : bias + k, x + i * w->wide, y + i * s->ow)
        scatter_line(&out, k * plane, channels * plane, y, false);
    }
}

static void forward_chunk(void *context, int64_t chunk) {
    const lanes_work *w = context;
    lanes *x = (lanes *)scratch_at(w, w->x_at) + chunk * w->x_count;
    lanes *y = (lanes *)scratch_at(w, w->y_at) + chunk * w->y_count;
    const int64_t stop = (chunk + 1) * w->groups / w->chunks;
    for (int64_t i = chunk * w->groups / w->chunks; i < stop; i++) forward_group(w, i, x, y);
}

static void weight_group(const lanes_work *w, const lanes *x, const lanes *gy, lanes *partial) {
    const conv_shape *s = &w->s;
    const int64_t pitch = s->ow + 2;
    for (int64_t k = 0; k < s->k; k += BLOCK) {
        const int64_t channels = smaller(BLOCK, s->k - k);
        const int64_t fit = larger(1, STRIP / (channels * pitch * (int64_t)sizeof(lanes)));
        const int64_t rows = count_divide_up(s->oh, count_divide_up(s->oh, fit));
        for (int64_t i = 0; i < s->oh; i += rows)
            FOR_CHANNELS(channels, weight_strip, w, i, smaller(i + rows, s->oh), x,
                         gy + k * s->oh * pitch, partial + k * w->taps)
    }
}

static void input_group(const lanes_work *w, int64_t group, const lanes *gy, lanes *gx) {
    const quern_kernel_args *args = w->args;
    const conv_shape *s = &w->s;
    const float *weight = scratch_at(w, w->weight_at);
    const int64_t plane = s->h * s->w;
    planes out = planes_of(w, &args->grad_in[0], group);
    for (int64_t c = 0; c < s->c; c += BLOCK) {
        const int64_t channels = smaller(BLOCK, s->c - c);
        for (int64_t y = 0; y < s->h; y++)
            FOR_CHANNELS(channels, backward_row, w, weight + c * s->k * s->r * s->s, gy, y, gx)
        scatter_line(&out, c * plane, channels * plane, gx, args->accumulate[0]);
    }
}

static void backward_chunk(void *context, int64_t chunk) {
    const lanes_work *w = context;
    const quern_kernel_args *args = w->args;
    const conv_shape *s = &w->s;
    lanes *x = (lanes *)scratch_at(w, w->x_at) + chunk * w->x_count;
    lanes *gy = (lanes *)scratch_at(w, w->y_at) + chunk * w->y_count;
    lanes *gx = (lanes *)scratch_at(w, w->gx_at) + chunk * w->gx_count;
    lanes *partial = (lanes *)scratch_at(w, w->partial_at) + chunk * s->k * w->taps;
    if (args->grad_in[1].data != NULL)
        memset(partial, 0, (size_t)(s->k * w->taps) * sizeof *partial);
    const int64_t stop = (chunk + 1) * w->groups / w->chunks;
    for (int64_t i = chunk * w->groups / w->chunks; i < stop; i++) {
        gather_planes(planes_of(w, &args->grad_out[0], i), s->k, s->oh, s->ow, 0, 1, gy);
        if (args->grad_in[1].data != NULL) {
            gather_planes(planes_of(w, &args->in[0], i), s->c, s->h, s->w, s->padding[0],
                          s->padding[1], x);
            weight_group(w, x, gy, partial);
        }
        if (args->grad_in[0].data != NULL) input_group(w, i, gy, gx);
    }
}

/* gw from the chunks' sums, chunk by chunk, then over the lanes. */
static void reduce_weight(void *context, int64_t k) {
    const lanes_work *w = context;
    const quern_kernel_args *args = w->args;
    const int64_t block = k / BLOCK * BLOCK, channels = smaller(BLOCK, w->s.k - block);
    const lanes *partial = (lanes *)scratch_at(w, w->partial_at) + block * w->taps + (k - block);
    float *gw = (float *)args->grad_in[1].data + k * w->taps;
    for (int64_t t = 0; t < w->taps; t++) {
        lanes sum = {0};
        for (int64_t i = 0; i < w->chunks; i++) sum += partial[i * w->s.k * w->taps + t * channels];
        const float total = lanes_sum(sum);
        gw[t] = args->accumulate[1] ? gw[t] + total : total;
    }
}

/* --- before the chunks: where each tap reads, and the weights in the order they are read --- */

static void write_offsets(const lanes_work *w) {
    const conv_shape *s = &w->s;
    int64_t *offset = scratch_at(w, w->offsets_at);
    for (int64_t c = 0; c < s->c; c++)
        for (int64_t r = 0; r < s->r; r++)
            for (int64_t i = 0; i < s->s; i++) *offset++ = (c * w->high + r) * w->wide + i;
}

/* Blocks of k, each (c, r, s, k). */
static void write_forward_weight(const lanes_work *w) {
    const float *weight = w->args->in[1].data;
    float *to = scratch_at(w, w->weight_at);
    for (int64_t k = 0; k < w->s.k; k += BLOCK)
        for (int64_t t = 0; t < w->taps; t++)
            for (int64_t i = k; i < smaller(k + BLOCK, w->s.k); i++)
                *to++ = weight[i * w->taps + t];
}

/* Blocks of c, each (k, r, s, c). */
static void write_backward_weight(const lanes_work *w) {
    const float *weight = w->args->in[1].data;
    const int64_t area = w->s.r * w->s.s;
    float *to = scratch_at(w, w->weight_at);
    for (int64_t c = 0; c < w->s.c; c += BLOCK)
        for (int64_t k = 0; k < w->s.k; k++)
            for (int64_t t = 0; t < area; t++)
                for (int64_t i = c; i < smaller(c + BLOCK, w->s.c); i++)
                    *to++ = weight[(k * w->s.c + i) * area + t];
}

void conv_lanes_forward(const quern_kernel_args *args, const conv_shape *s) {
    lanes_work w = {.args = args, .s = *s};
    size_t bytes;
    if (!place(&w, false, &bytes)) return; /* plan has refused it */
    write_offsets(&w);
    write_forward_weight(&w);
    quern_cpu_parallel(args->stream, w.chunks, forward_chunk, &w);
}

void conv_lanes_backward(const quern_kernel_args *args, const conv_shape *s) {
    lanes_work w = {.args = args, .s = *s};
    size_t bytes;
    if (!place(&w, true, &bytes)) return; /* plan has refused it */
    write_offsets(&w);
    write_backward_weight(&w);
    quern_cpu_parallel(args->stream, w.chunks, backward_chunk, &w);
    if (args->grad_in[1].data != NULL) quern_cpu_parallel(args->stream, s->k, reduce_weight, &w);
}
