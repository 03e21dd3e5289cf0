/* batch_norm - y = w (x - mean) / sqrt(variance + epsilon) + b per channel.
 * With inverse = 1 / sqrt(variance + epsilon), n = (x - mean) inverse and m numbers a channel:
 *   gb = sum gy;   gw = sum gy n;   gx = w inverse (gy - gb / m - n gw / m)
 * and in evaluation, where mean and variance are constants, gx = w inverse gy.
 * Of 16 bits are x and y alone: the rest is F32 then (FIRST in ops.def).
 * Shapes   x (N, C, ...), the rest (C). Training uses the batch's mean and (biased) variance, and
 * writes running = (1 - momentum) running + momentum batch, there with the unbiased variance.
 * Saved: mean, then inverse.
 * Mean and variance are one pass: sums of x - shift and its square, in F64, shift being the
 * channel's first element: what cancels is a few deviations, never the mean.
 * Cost     forward 2 reads and 1 write of x, backward 4 reads and 1 write: the floor where a batch
 *          is larger than the cache. 16 bytes at a time where a plane's size allows (7 x 7 does
 *          not) or, channels last, the number of channels.
 * Deterministic: yes, in the order of fold.h.
 * cuDNN is not used: of row-major images its engines make turned copies first, two more passes than
 * this; channels last they would do what this does; and of F64, odd channel counts and evaluation
 * it has none.
 * Source: Ioffe, Szegedy, "Batch normalization" (2015). */
#include "channels.h"

namespace {

size_t aligned(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* Two numbers a channel, then two computed as R, then what the folds need. */
template <typename R> struct parts {
    double *sums, *others;
    R *first, *second;
    void *fold;
};

template <typename R> parts<R> parts_of(void *scratch, const channels_shape &s) {
    const size_t each = aligned((size_t)s.channels * sizeof(double));
    char *at = (char *)scratch;
    return {(double *)at, (double *)(at + each), (R *)(at + 2 * each), (R *)(at + 3 * each),
            at + 4 * each};
}

quern_status plan(quern_kernel_plan *plan) {
    const quern_view *x = &plan->args->in[0];
    const channels_shape s = channels_of(x);
    QUERN_TRY(real_check(x->dtype));
    if (plan->args->in[1].dtype != (x->dtype == QUERN_F64 ? QUERN_F64 : QUERN_F32))
        return cuda_fail(QUERN_UNSUPPORTED, "CUDA normalises %s with weights in F32, not %s",
                         dtype_name(x->dtype), dtype_name(plan->args->in[1].dtype));
    QUERN_TRY(bytes_of(s.channels, 2 * sizeof(double), &plan->saved_bytes));
    plan->forward_scratch_bytes =
        4 * aligned((size_t)s.channels * sizeof(double)) + fold_scratch_bytes(x->count, 2);
    plan->backward_scratch_bytes = plan->forward_scratch_bytes;
    return QUERN_OK;
}

struct moment_terms : map_op {
    template <typename R> __device__ fold_values<2> operator()(R x, R shift) const {
        const double off = (double)x - (double)shift;
        return {{off, off * off}};
    }
};

struct gradient_terms : map_op {
    template <typename R> __device__ fold_values<2> operator()(R g, R x, R mean) const {
        return {{(double)g, (double)(g * (x - mean))}};
    }
};

template <typename T> struct statistics {
    typedef real<T> R;
    const R *weight, *running_mean, *running_variance;
    R *next_mean, *next_variance; /* NULL: not wanted */
    const double *off, *square;   /* the batch's means of x - shift and its square */
    const T *shift;               /* a channel's first element is `step` from the last one's */
    int64_t step;
    R *mean, *scale;         /* out: mean, w inverse */
    R *saved;                /* NULL: not wanted */
    int64_t channels, count; /* numbers a channel */
    R epsilon, momentum;
    bool training;
};

/* A channel a thread. An empty batch has the running statistics. */
template <typename T> __global__ void finish_kernel(statistics<T> s) {
    typedef real<T> R;
    for (int64_t c = launch_index(); c < s.channels; c += launch_stride()) {
        const R old_mean = s.running_mean[c], old_variance = s.running_variance[c];
        const bool batch = s.training && s.count > 0;
        const double spread = batch ? s.square[c] - s.off[c] * s.off[c] : 0;
        const R mean = batch ? (R)((double)(R)s.shift[c * s.step] + s.off[c]) : old_mean;
        const R variance = batch ? (R)(spread < 0 ? 0 : spread) : old_variance;
        const R unbiased = s.count > 1 ? variance * ((R)s.count / (R)(s.count - 1)) : variance;
        const R inverse = 1 / sqrt(variance + s.epsilon), keep = 1 - s.momentum;
        if (s.training && s.next_mean != NULL) s.next_mean[c] = keep * old_mean + s.momentum * mean;
        if (s.training && s.next_variance != NULL)
            s.next_variance[c] = keep * old_variance + s.momentum * unbiased;
        s.mean[c] = mean;
        s.scale[c] = s.weight[c] * inverse;
        if (s.saved == NULL) continue;
        s.saved[c] = mean;
        s.saved[s.channels + c] = inverse;
    }
}

template <typename R> struct normalise_op {
    const R *mean, *scale, *bias;
    struct numbers {
        R mean, scale, shift;
    };
    __device__ numbers of(int64_t c) const { return {mean[c], scale[c], bias[c]}; }
    static __device__ R value(const numbers &n, R x) { return (x - n.mean) * n.scale + n.shift; }
};

template <typename T> quern_status measure(const quern_kernel_args *args, const channels_shape &s) {
    typedef real<T> R;
    const parts<R> p = parts_of<R>(args->scratch, s);
    const quern_batch_norm_desc *d = (const quern_batch_norm_desc *)args->attributes;
    const T *x = (const T *)args->in[0].data;
    const int64_t count = s.images * s.area;
    if (args->training && count > 0) {
        const double each = 1 / (double)count;
        const walk w = channels_walk(s, 1, 3, channels_step(s)); /* x, and its first elements */
        QUERN_TRY(fold_run<FOLD_SUM>(args->stream, w, moment_terms(),
                                     fold_result<double, 2>{{p.sums, p.others}, each, {}}, p.fold,
                                     x, x));
    }
    const statistics<T> all = {(const R *)args->in[1].data,
                               (const R *)args->in[3].data,
                               (const R *)args->in[4].data,
                               (R *)args->out[1].data,
                               (R *)args->out[2].data,
                               p.sums,
                               p.others,
                               x,
                               channels_step(s),
                               p.first,
                               p.second,
                               (R *)args->saved,
                               s.channels,
                               count,
                               (R)d->epsilon,
                               (R)d->momentum,
                               args->training};
    return launch(args->stream, launch_over(s.channels), finish_kernel<T>, all);
}

quern_status forward(const quern_kernel_args *args) {
    const channels_shape s = channels_of(&args->in[0]);
    return real_dispatch(args->in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const parts<real<T>> p = parts_of<real<T>>(args->scratch, s);
        const T *x = (const T *)args->in[0].data;
        const real<T> *bias = (const real<T> *)args->in[2].data;
        T *y = (T *)args->out[0].data;
        QUERN_TRY((measure<T>(args, s)));
        const normalise_op<real<T>> op = {p.first, p.second, bias};
        return channels_map(args->stream, s, op, false, y, x);
    });
}

/* gb from the sums of gy, gw from those of gy (x - mean). */
template <typename T>
__global__ void parameters_kernel(int64_t channels, const real<T> *sums, const real<T> *products,
                                  const real<T> *inverse, real<T> *gw, real<T> *gb, bool add_w,
                                  bool add_b) {
    typedef real<T> R;
    for (int64_t c = launch_index(); c < channels; c += launch_stride()) {
        const R product = products[c] * inverse[c];
        if (gw != NULL) gw[c] = add_w ? gw[c] + product : product;
        if (gb != NULL) gb[c] = add_b ? gb[c] + sums[c] : sums[c];
    }
}

template <typename R> struct gradient_op {
    const R *weight, *saved, *sums, *products;
    int64_t channels;
    R count;
    bool training;
    struct numbers {
        R mean, scale, center, tilt;
    };
    __device__ numbers of(int64_t c) const {
        const R inverse = saved[channels + c];
        return {saved[c], weight[c] * inverse, training ? sums[c] / count : (R)0,
                training ? products[c] * inverse * inverse / count : (R)0};
    }
    static __device__ R value(const numbers &n, R g, R x) {
        return n.scale * (g - n.center - (x - n.mean) * n.tilt);
    }
};

template <typename T>
quern_status parameter_gradients(const quern_kernel_args *args, const channels_shape &s) {
    typedef real<T> R;
    const parts<R> p = parts_of<R>(args->scratch, s);
    const T *gy = (const T *)args->grad_out[0].data, *x = (const T *)args->in[0].data;
    const R *saved = (const R *)args->saved;
    QUERN_TRY(fold_run<FOLD_SUM>(args->stream, channels_walk(s, 2, 4), gradient_terms(),
                                 fold_result<R, 2>{{p.first, p.second}, 1, {}}, p.fold, gy, x,
                                 saved));
    return launch(args->stream, launch_over(s.channels), parameters_kernel<T>, s.channels, p.first,
                  p.second, saved + s.channels, (R *)args->grad_in[1].data,
                  (R *)args->grad_in[2].data, args->accumulate[1], args->accumulate[2]);
}

quern_status backward(const quern_kernel_args *args) {
    const channels_shape s = channels_of(&args->in[0]);
    return real_dispatch(args->in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const parts<real<T>> p = parts_of<real<T>>(args->scratch, s);
        const T *gy = (const T *)args->grad_out[0].data, *x = (const T *)args->in[0].data;
        T *gx = (T *)args->grad_in[0].data;
        QUERN_TRY((parameter_gradients<T>(args, s)));
        if (gx == NULL) return QUERN_OK;
        typedef real<T> R;
        const gradient_op<R> op = {
            (const R *)args->in[1].data, (const R *)args->saved, p.first, p.second, s.channels,
            (R)(s.images * s.area),      args->training};
        return channels_map(args->stream, s, op, args->accumulate[0], gx, gy, x);
    });
}

} // namespace

const quern_kernel quern_cuda_batch_norm = {plan, forward, backward, NULL};
