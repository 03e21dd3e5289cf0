/* fake_cudnn_compute.c - what a graph of operations computes. */
#include "fake_cudnn.h"

#include <stdlib.h>

static quern_dtype dtype_of(int32_t type) {
    switch (type) {
    case CUDNN_DATA_FLOAT: return QUERN_F32;
    case CUDNN_DATA_DOUBLE: return QUERN_F64;
    case CUDNN_DATA_HALF: return QUERN_F16;
    default: return QUERN_BF16;
    }
}

typedef struct operand {
    const fake_cudnn_tensor *t;
    void *data;
} operand;

static double read_at(operand o, int64_t a, int64_t b, int64_t c, int64_t d) {
    const int64_t *s = o.t->stride;
    return fake_number_read(o.data, dtype_of(o.t->type), a * s[0] + b * s[1] + c * s[2] + d * s[3]);
}

static void write_at(operand o, const int64_t at[4], double value) {
    const int64_t *s = o.t->stride;
    fake_number_write(o.data, dtype_of(o.t->type),
                      at[0] * s[0] + at[1] * s[1] + at[2] * s[2] + at[3] * s[3], value);
}

bool fake_cudnn_check(const fake_cudnn_operation *o) {
    if (o->kind == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) return true;
    for (int i = 0; i < 2; i++) {
        const int64_t extent = o->dilation[i] * (o->w.dim[2 + i] - 1) + 1;
        const int64_t room = o->x.dim[2 + i] + o->before[i] + o->after[i] - extent;
        if (room < 0 || room / o->stride[i] + 1 != o->y.dim[2 + i]) return false;
    }
    return o->x.dim[0] == o->y.dim[0] && o->w.dim[0] == o->y.dim[1] && o->w.dim[1] > 0 &&
           o->x.dim[1] % o->w.dim[1] == 0 && o->w.dim[0] % (o->x.dim[1] / o->w.dim[1]) == 0;
}

/* Where output (i, j) and filter (r, s) meet in x; false: in the padding. */
static bool meet(const fake_cudnn_operation *o, int64_t i, int64_t j, int64_t r, int64_t s,
                 int64_t *h, int64_t *w) {
    *h = i * o->stride[0] - o->before[0] + r * o->dilation[0];
    *w = j * o->stride[1] - o->before[1] + s * o->dilation[1];
    return *h >= 0 && *h < o->x.dim[2] && *w >= 0 && *w < o->x.dim[3];
}

/* Each product of the convolution, once: sums[the result's element] += factor factor. */
static void accumulate(const fake_cudnn_operation *o, operand x, operand w, operand y,
                       double *sums) {
    const int64_t per_group = o->w.dim[0] / (o->x.dim[1] / o->w.dim[1]);
    const int64_t *xd = o->x.dim, *wd = o->w.dim, *yd = o->y.dim;
    for (int64_t e = 0; e < yd[0] * yd[1] * yd[2] * yd[3]; e++) {
        const int64_t j = e % yd[3], i = e / yd[3] % yd[2];
        const int64_t k = e / yd[3] / yd[2] % yd[1], n = e / yd[3] / yd[2] / yd[1];
        for (int64_t f = 0; f < wd[1] * wd[2] * wd[3]; f++) {
            const int64_t s = f % wd[3], r = f / wd[3] % wd[2], c = f / wd[3] / wd[2];
            const int64_t channel = k / per_group * wd[1] + c;
            int64_t h, v;
            if (!meet(o, i, j, r, s, &h, &v)) continue;
            if (o->kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
                sums[e] += read_at(x, n, channel, h, v) * read_at(w, k, c, r, s);
            else if (o->kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR)
                sums[((n * xd[1] + channel) * xd[2] + h) * xd[3] + v] +=
                    read_at(y, n, k, i, j) * read_at(w, k, c, r, s);
            else
                sums[((k * wd[1] + c) * wd[2] + r) * wd[3] + s] +=
                    read_at(y, n, k, i, j) * read_at(x, n, channel, h, v);
        }
    }
}

static void put(const fake_cudnn_operation *o, operand to, const double *sums) {
    const int64_t *d = to.t->dim;
    for (int64_t e = 0; e < d[0] * d[1] * d[2] * d[3]; e++) {
        const int64_t at[4] = {e / d[3] / d[2] / d[1], e / d[3] / d[2] % d[1], e / d[3] % d[2],
                               e % d[3]};
        const double was = o->beta != 0 ? read_at(to, at[0], at[1], at[2], at[3]) : 0;
        write_at(to, at, o->alpha * sums[e] + (o->beta != 0 ? o->beta * was : 0));
    }
}

static void convolve(const fake_cudnn_operation *o, operand x, operand w, operand y) {
    operand to = y;
    if (o->kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR) to = x;
    if (o->kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR) to = w;
    const int64_t *d = to.t->dim;
    double *sums = calloc((size_t)(d[0] * d[1] * d[2] * d[3]) + 1, sizeof *sums);
    if (sums == NULL) abort();
    accumulate(o, x, w, y, sums);
    put(o, to, sums);
    free(sums);
}

/* y = x + w, w repeated along its dimensions of 1. */
static void add(operand x, operand w, operand y) {
    const int64_t *d = y.t->dim, *b = w.t->dim;
    for (int64_t e = 0; e < d[0] * d[1] * d[2] * d[3]; e++) {
        const int64_t at[4] = {e / d[3] / d[2] / d[1], e / d[3] / d[2] % d[1], e / d[3] % d[2],
                               e % d[3]};
        write_at(y, at,
                 read_at(x, at[0], at[1], at[2], at[3]) +
                     read_at(w, b[0] == 1 ? 0 : at[0], b[1] == 1 ? 0 : at[1], b[2] == 1 ? 0 : at[2],
                             b[3] == 1 ? 0 : at[3]));
    }
}

static operand find(const fake_cudnn_tensor *t, void *virtual_data, const int64_t *ids,
                    void *const *pointers, int64_t count) {
    operand o = {t, t->is_virtual ? virtual_data : NULL};
    for (int64_t i = 0; i < count; i++)
        if (!t->is_virtual && ids[i] == t->id) o.data = pointers[i];
    return o;
}

bool fake_cudnn_compute(const fake_cudnn_graph *g, const int64_t *ids, void *const *pointers,
                        int64_t count) {
    const int64_t *d = g->operations[0].y.dim; /* the only virtual tensor is what it gives */
    void *between = calloc((size_t)(d[0] * d[1] * d[2] * d[3]) + 1, sizeof(double));
    bool whole = between != NULL;
    for (int32_t i = 0; whole && i < g->count; i++) {
        const fake_cudnn_operation *o = &g->operations[i];
        const operand x = find(&o->x, between, ids, pointers, count);
        const operand w = find(&o->w, between, ids, pointers, count);
        const operand y = find(&o->y, between, ids, pointers, count);
        whole = x.data != NULL && w.data != NULL && y.data != NULL;
        if (whole && o->kind == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
            add(x, w, y);
        else if (whole)
            convolve(o, x, w, y);
    }
    free(between);
    return whole;
}
