/* test_network.c - convolutions and pools against naive loops, normalisations and losses against
 * closed forms, products against what linearity asks. */
#include "kernel_run.h"
#include "quern_test.h"
#include "tolerances.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- convolution: the definition, in doubles --- */

typedef struct conv_case {
    int64_t n, c, h, w, k, r, s;
    quern_conv2d_desc desc;
    bool no_bias, accumulate;
} conv_case;

/* x, w, b, y, gy, gx, gw, gb of one convolution. */
enum { X, W, B, Y, GY, GX, GW, GB, PARTS };

typedef struct conv_data {
    int64_t count[PARTS];
    double *naive[PARTS];
    void *found[PARTS];
    quern_view view[PARTS];
} conv_data;

static int64_t out_size(int64_t size, int64_t window, const quern_conv2d_desc *d, int axis) {
    return (size + 2 * d->padding[axis] - d->dilation[axis] * (window - 1) - 1) / d->stride[axis] +
           1;
}

static void naive_pixel(const conv_case *t, conv_data *d, int64_t n, int64_t k, int64_t i,
                        int64_t j, int64_t y) {
    const quern_conv2d_desc *a = &t->desc;
    const int64_t channels = t->c / a->groups, first = k / (t->k / a->groups) * channels;
    double sum = t->no_bias ? 0 : d->naive[B][k];
    const double gy = d->naive[GY][y];
    d->naive[GB][k] += gy;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t r = 0; r < t->r; r++)
            for (int64_t s = 0; s < t->s; s++) {
                const int64_t row = i * a->stride[0] + r * a->dilation[0] - a->padding[0];
                const int64_t column = j * a->stride[1] + s * a->dilation[1] - a->padding[1];
                if (row < 0 || row >= t->h || column < 0 || column >= t->w) continue;
                const int64_t x = ((n * t->c + first + c) * t->h + row) * t->w + column;
                const int64_t w = ((k * channels + c) * t->r + r) * t->s + s;
                sum += d->naive[X][x] * d->naive[W][w];
                d->naive[GX][x] += gy * d->naive[W][w];
                d->naive[GW][w] += gy * d->naive[X][x];
            }
    d->naive[Y][y] = sum;
}

static void naive_conv(const conv_case *t, conv_data *d) {
    const int64_t oh = out_size(t->h, t->r, &t->desc, 0), ow = out_size(t->w, t->s, &t->desc, 1);
    for (int64_t n = 0, y = 0; n < t->n; n++)
        for (int64_t k = 0; k < t->k; k++)
            for (int64_t i = 0; i < oh; i++)
                for (int64_t j = 0; j < ow; j++, y++) naive_pixel(t, d, n, k, i, j, y);
}

/* Random operands, the same in both types; what forward and backward write starts as 0.5. */
static void conv_make(const conv_case *t, quern_dtype dtype, conv_data *d) {
    const int64_t oh = out_size(t->h, t->r, &t->desc, 0), ow = out_size(t->w, t->s, &t->desc, 1);
    const quern_view like[] = {VIEW(NULL, dtype, t->n, t->c, t->h, t->w),
                               VIEW(NULL, dtype, t->k, t->c / t->desc.groups, t->r, t->s),
                               VIEW(NULL, dtype, t->k), VIEW(NULL, dtype, t->n, t->k, oh, ow)};
    const int same_as[PARTS] = {X, W, B, Y, Y, X, W, B};
    for (int p = 0; p < PARTS; p++) {
        const quern_view v = like[same_as[p]];
        const bool given = p == X || p == W || p == B || p == GY;
        d->count[p] = v.count;
        d->naive[p] = calloc((size_t)v.count, sizeof(double));
        d->found[p] = calloc((size_t)v.count, sizeof(double));
        d->view[p] = v;
        d->view[p].data = d->found[p];
        for (int64_t i = 0; i < v.count; i++) {
            float value = 0.5f;
            if (given) fill_random_f32(&value, 1, (uint32_t)(p * 1000003 + i));
            d->naive[p][i] = given || (t->accumulate && p > GY) ? (double)value : 0;
            if (dtype == QUERN_F32)
                ((float *)d->found[p])[i] = value;
            else
                ((double *)d->found[p])[i] = (double)value;
        }
    }
}

static void conv_compare(const conv_case *t, const conv_data *d, quern_dtype dtype, int part,
                         double tolerance) {
    double worst = 0, largest = 1;
    for (int64_t i = 0; i < d->count[part]; i++) largest = fmax(largest, fabs(d->naive[part][i]));
    for (int64_t i = 0; i < d->count[part]; i++) {
        const double found = dtype == QUERN_F32 ? (double)((float *)d->found[part])[i]
                                                : ((double *)d->found[part])[i];
        const double error = fabs(found - d->naive[part][i]) / largest;
        if (!(error <= worst)) worst = error;
    }
    CHECK_SAY(worst <= tolerance,
              "%s x (%d, %d, %d, %d), k %d, stride %d, padding %d, dilation %d, groups %d: part %d "
              "is off by %g",
              quern_dtype_name(dtype), (int)t->n, (int)t->c, (int)t->h, (int)t->w, (int)t->k,
              t->desc.stride[0], t->desc.padding[0], t->desc.dilation[0], t->desc.groups, part,
              worst);
}

static void conv_check(const conv_case *t) {
    for (int pass = 0; pass < 2; pass++) {
        const quern_dtype dtype = pass == 0 ? QUERN_F32 : QUERN_F64;
        conv_data d;
        conv_make(t, dtype, &d);
        naive_conv(t, &d);
        kernel_run run = {.op = QUERN_OP_ID_conv2d,
                          .attributes = &t->desc,
                          .input_count = 3,
                          .output_count = 1,
                          .in = {d.view[X], d.view[W], d.view[B]},
                          .out = {d.view[Y]},
                          .grad_out = {d.view[GY]},
                          .grad_in = {d.view[GX], d.view[GW], d.view[GB]},
                          .accumulate = {t->accumulate, t->accumulate, t->accumulate}};
        if (t->no_bias) {
            run.in[2] = (quern_view){.rank = -1, .dtype = dtype};
            run.grad_in[2].data = NULL;
        }
        CHECK_OK(kernel_run_all(&run));
        const double tolerance = dtype == QUERN_F32 ? TOL_PRODUCT_F32 : TOL_ACCUMULATE_F64;
        for (int part = Y; part < PARTS; part++)
            if (part != GY && !(part == GB && t->no_bias))
                conv_compare(t, &d, dtype, part, tolerance);
        for (int p = 0; p < PARTS; p++) {
            free(d.naive[p]);
            free(d.found[p]);
        }
    }
}

TEST_CASE(Convolution, is_the_definition_in_every_path) {
    const quern_conv2d_desc plain = {{1, 1}, {0, 0}, {1, 1}, 1};
    const quern_conv2d_desc padded = {{1, 1}, {2, 1}, {1, 1}, 1};
    const conv_case cases[] = {
        {.n = 1, .c = 1, .h = 1, .w = 1, .k = 1, .r = 1, .s = 1, .desc = plain},
        {.n = 8,
         .c = 1,
         .h = 28,
         .w = 28,
         .k = 6,
         .r = 5,
         .s = 5,
         .desc = {{1, 1}, {2, 2}, {1, 1}, 1}},
        {.n = 17, .c = 6, .h = 14, .w = 14, .k = 16, .r = 5, .s = 5, .desc = plain},
        {.n = 11, .c = 7, .h = 6, .w = 9, .k = 13, .r = 3, .s = 3, .desc = padded},
        {.n = 9, .c = 3, .h = 5, .w = 3, .k = 5, .r = 3, .s = 2, .desc = padded, .no_bias = true},
        {.n = 200, .c = 2, .h = 4, .w = 4, .k = 2, .r = 3, .s = 3, .desc = padded},
        {.n = 3, .c = 40, .h = 9, .w = 11, .k = 35, .r = 3, .s = 3, .desc = padded},
        {.n = 2, .c = 3, .h = 70, .w = 50, .k = 4, .r = 7, .s = 7, .desc = padded},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) conv_check(&cases[i]);
}

TEST_CASE(Convolution, is_the_definition_with_stride_padding_dilation_and_groups) {
    for (int32_t stride = 1; stride <= 3; stride++)
        for (int32_t padding = 0; padding <= 3; padding++)
            for (int32_t dilation = 1; dilation <= 2; dilation++)
                for (int32_t groups = 1; groups <= 4; groups *= 2)
                    conv_check(&(conv_case){
                        .n = 9,
                        .c = 4,
                        .h = 8,
                        .w = 7,
                        .k = 8,
                        .r = 3,
                        .s = 2,
                        .desc = {{stride, 1}, {padding, 1}, {dilation, dilation}, groups}});
}

TEST_CASE(Convolution, adds_to_gradients_where_asked) {
    conv_check(&(conv_case){.n = 9,
                            .c = 3,
                            .h = 10,
                            .w = 11,
                            .k = 7,
                            .r = 3,
                            .s = 3,
                            .desc = {{1, 1}, {1, 1}, {1, 1}, 1},
                            .accumulate = true});
    conv_check(&(conv_case){.n = 3,
                            .c = 4,
                            .h = 6,
                            .w = 6,
                            .k = 6,
                            .r = 3,
                            .s = 3,
                            .desc = {{2, 2}, {1, 1}, {1, 1}, 2},
                            .accumulate = true});
}

/* --- pools --- */

typedef struct pool_case {
    int64_t h, w;
    quern_pool2d_desc desc;
} pool_case;

static double naive_window(const pool_case *t, const double *x, int64_t i, int64_t j,
                           bool maximum) {
    const quern_pool2d_desc *d = &t->desc;
    double best = -INFINITY, sum = 0, inside = 0;
    for (int64_t r = 0; r < d->window[0]; r++)
        for (int64_t s = 0; s < d->window[1]; s++) {
            const int64_t row = i * d->stride[0] + r - d->padding[0];
            const int64_t column = j * d->stride[1] + s - d->padding[1];
            if (row < 0 || row >= t->h || column < 0 || column >= t->w) continue;
            const double v = x[row * t->w + column];
            if (v > best) best = v;
            sum += v;
            inside += 1;
        }
    const double area = (double)d->window[0] * (double)d->window[1];
    return maximum ? best : sum / (d->count_exclude_padding ? inside : area);
}

static void pool_check(const pool_case *t) {
    enum { PLANES = 6 };
    const quern_pool2d_desc *d = &t->desc;
    const int64_t oh = (t->h + 2 * d->padding[0] - d->window[0]) / d->stride[0] + 1;
    const int64_t ow = (t->w + 2 * d->padding[1] - d->window[1]) / d->stride[1] + 1;
    double x[PLANES * 400], y[PLANES * 400];
    REQUIRE(t->h * t->w <= 400 && oh * ow <= 400);
    fill_random(x, PLANES * t->h * t->w, 5);
    for (int which = 0; which < 2; which++) {
        CHECK_OK(kernel_run_all(
            &(kernel_run){.op = which == 0 ? QUERN_OP_ID_max_pool2d : QUERN_OP_ID_avg_pool2d,
                          .attributes = d,
                          .input_count = 1,
                          .output_count = 1,
                          .in = {VIEW(x, QUERN_F64, 2, 3, t->h, t->w)},
                          .out = {VIEW(y, QUERN_F64, 2, 3, oh, ow)}}));
        double worst = 0;
        for (int64_t n = 0; n < PLANES; n++)
            for (int64_t p = 0; p < oh * ow; p++) {
                const double wanted =
                    naive_window(t, x + n * t->h * t->w, p / ow, p % ow, which == 0);
                const double error = fabs(y[n * oh * ow + p] - wanted);
                if (!(error <= worst)) worst = error;
            }
        CHECK_SAY(worst <= TOL_ACCUMULATE_F64, "pool %d: error %g", which, worst);
    }
}

TEST_CASE(Pool, is_the_definition) {
    const pool_case cases[] = {
        {8, 10, {{2, 2}, {2, 2}, {0, 0}, false}}, {9, 17, {{2, 2}, {2, 2}, {0, 0}, false}},
        {9, 9, {{3, 3}, {2, 2}, {1, 1}, false}},  {9, 8, {{3, 2}, {1, 3}, {1, 1}, true}},
        {5, 6, {{5, 6}, {1, 1}, {2, 3}, true}},   {7, 7, {{2, 2}, {2, 2}, {1, 1}, false}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) pool_check(&cases[i]);
}

TEST_CASE(MaxPool, gives_a_nan_that_is_anywhere_in_the_window) {
    for (int32_t stride = 1; stride <= 2; stride++)
        for (int at = 0; at < 4; at++) {
            float x[4] = {1, 2, 3, 4}, y = 0;
            x[at] = NAN;
            const quern_pool2d_desc desc = {{2, 2}, {stride, stride}, {0, 0}, false};
            CHECK_OK(kernel_run_all(&(kernel_run){.op = QUERN_OP_ID_max_pool2d,
                                                  .attributes = &desc,
                                                  .input_count = 1,
                                                  .output_count = 1,
                                                  .in = {VIEW(x, QUERN_F32, 1, 1, 2, 2)},
                                                  .out = {VIEW(&y, QUERN_F32, 1, 1, 1, 1)}}));
            CHECK_SAY(isnan(y), "stride %d, NaN at %d: %g", stride, at, (double)y);
        }
}

TEST_CASE(MaxPool, sends_the_gradient_to_the_first_of_equals) {
    for (int32_t stride = 1; stride <= 2; stride++) {
        float x[4] = {1, 7, 7, 7}, y = 0, gy = 3, gx[4] = {9, 9, 9, 9};
        const quern_pool2d_desc desc = {{2, 2}, {stride, stride}, {0, 0}, false};
        CHECK_OK(kernel_run_all(&(kernel_run){.op = QUERN_OP_ID_max_pool2d,
                                              .attributes = &desc,
                                              .input_count = 1,
                                              .output_count = 1,
                                              .in = {VIEW(x, QUERN_F32, 1, 1, 2, 2)},
                                              .out = {VIEW(&y, QUERN_F32, 1, 1, 1, 1)},
                                              .grad_out = {VIEW(&gy, QUERN_F32, 1, 1, 1, 1)},
                                              .grad_in = {VIEW(gx, QUERN_F32, 1, 1, 2, 2)}}));
        CHECK(y == 7 && gx[0] == 0 && gx[1] == 3 && gx[2] == 0 && gx[3] == 0);
    }
}
