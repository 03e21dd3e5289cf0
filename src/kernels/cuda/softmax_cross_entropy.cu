/* softmax_cross_entropy - loss = sum over rows of (1 - s) (l - z_t) + s (l - mean_c z_c), where
 * l = log sum_c e^z_c, t is the row's target and s the label smoothing.
 * gz_c = g (e^(z_c - l) - (1 - s) [c = t] - s / C);  0 in ignored rows.
 * Shapes   z (..., C), t (...) I32, loss ().   Saved: l of each row.   z may be 16 bits: it is
 *          widened as it is read and gz rounded as it is written, loss, seed and l are F32.
 * One warp or block a row; one pass of z gives the largest and the sum (softmax.h), backward is one
 * pass more, which needs no sum again: the program puts gz where z lies when nobody else reads it.
 * Cost     1 read of z forward (2 with smoothing), 1 read and 1 write backward: 6 bytes a logit of
 *          16 bits. Both in one step would need 4, but g is not there when forward runs: a window's
 *          weight may come out of the same forward pass, and a callback may look between the two.
 *          C exponentials a row each, quick_exp's: at 16 bytes a load they stay below the memory's
 *          time.
 * Deterministic: yes: a row's loss lies in scratch, the rows' sum is of fold.h.
 * A target outside [0, C) that is not ignored is a fault, and counts for nothing. */
#include "fold.h"
#include "softmax.h"
#include "target.h"

namespace {

template <int GROUP, int WIDTH, typename T>
__global__ void forward_kernel(int64_t rows, int64_t classes, targets of, real<T> smoothing,
                               const T *logits, real<T> *saved, double *losses) {
    typedef real<T> R;
    for (int64_t row = group_index<GROUP>(); row < rows; row += group_count<GROUP>()) {
        const T *z = logits + row * classes;
        const int32_t target = of.of_row(row);
        softmax_sum<R> all = softmax_sum<R>::nothing();
        group_packs<GROUP, WIDTH>(z, classes,
                                  [&](int64_t, const R(&value)[WIDTH]) { all.add(value); });
        all = group_fold<GROUP>(all, softmax_add());
        R below = 0;
        if (smoothing > 0)
            group_each<GROUP, WIDTH>(z, classes,
                                     [&](int64_t, R value) { below += all.largest - value; });
        below = smoothing > 0 ? group_sum<GROUP>(below) : 0;
        if (group_lane<GROUP>() != 0) continue;
        const R rest = log(all.sum);
        const R hit = target < 0 ? (R)0 : rest + (all.largest - (R)z[target]);
        const R spread = target < 0 ? (R)0 : rest + below / (R)classes;
        losses[row] = (double)(smoothing > 0 ? (1 - smoothing) * hit + smoothing * spread : hit);
        if (saved != NULL) saved[row] = rest + all.largest;
    }
}

template <typename R> struct gradient_op : map_op {
    R seed, l, spread, hit;
    int64_t target; /* -1: the row counts for nothing */

    __device__ R operator()(int64_t c, R z) const {
        if (target < 0) return 0;
        return seed * (quick_exp(z - l) - spread) - (c == target ? hit : (R)0);
    }
};

template <int GROUP, int WIDTH, typename T>
__global__ void backward_kernel(int64_t rows, int64_t classes, targets of, real<T> smoothing,
                                const T *logits, const real<T> *saved, const real<T> *seed,
                                bool add, T *gradient) {
    gradient_op<real<T>> op = {};
    op.seed = *seed;
    op.spread = smoothing / (real<T>)classes;
    op.hit = op.seed * (1 - smoothing);
    for (int64_t row = group_index<GROUP>(); row < rows; row += group_count<GROUP>()) {
        op.target = of.of_row(row);
        op.l = saved[row];
        group_map<GROUP, WIDTH>(classes, op, add, gradient + row * classes, logits + row * classes);
    }
}

int64_t classes_of(const quern_kernel_args *args) { return args->in[0].dim[args->in[0].rank - 1]; }

size_t losses_bytes(int64_t rows) { return ((size_t)rows * sizeof(double) + 63) & ~(size_t)63; }

quern_status plan(quern_kernel_plan *p) {
    const int64_t rows = p->args->in[1].count;
    size_t unused;
    QUERN_TRY(real_check(p->args->in[0].dtype));
    QUERN_TRY(bytes_of(rows + 8, sizeof(double), &unused));
    p->forward_scratch_bytes = losses_bytes(rows) + fold_scratch_bytes(rows);
    if (p->backward) p->saved_bytes = (size_t)rows * sizeof(double);
    return QUERN_OK;
}

quern_status forward(const quern_kernel_args *args) {
    const quern_softmax_cross_entropy_desc *d =
        (const quern_softmax_cross_entropy_desc *)args->attributes;
    const quern_view *z = &args->in[0];
    const int64_t rows = args->in[1].count, classes = classes_of(args);
    const targets of = targets_of(args, QUERN_OP_ID_softmax_cross_entropy, d);
    double *losses = (double *)args->scratch;
    return real_dispatch(z->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const T *logits = (const T *)z->data;
        QUERN_TRY(group_dispatch(classes, logits, [&](auto group, auto width) {
            constexpr int GROUP = decltype(group)::value, WIDTH = decltype(width)::value;
            return launch(args->stream, group_shape<GROUP>(rows), forward_kernel<GROUP, WIDTH, T>,
                          rows, classes, of, (real<T>)d->label_smoothing, logits,
                          (real<T> *)args->saved, losses);
        }));
        return fold_run<FOLD_SUM>(args->stream, fold_all(rows, 1), fold_self(),
                                  fold_into((real<T> *)args->out[0].data, 1, false),
                                  (char *)args->scratch + losses_bytes(rows),
                                  (const double *)losses);
    });
}

quern_status backward(const quern_kernel_args *args) {
    const quern_softmax_cross_entropy_desc *d =
        (const quern_softmax_cross_entropy_desc *)args->attributes;
    const int64_t rows = args->in[1].count, classes = classes_of(args);
    const targets of = targets_of(args, QUERN_OP_ID_softmax_cross_entropy, d);
    if (args->grad_in[0].data == NULL) return QUERN_OK;
    return real_dispatch(args->in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const T *logits = (const T *)args->in[0].data;
        T *gradient = (T *)args->grad_in[0].data;
        return group_dispatch(
            classes, logits,
            [&](auto group, auto width) {
                constexpr int GROUP = decltype(group)::value, WIDTH = decltype(width)::value;
                return launch(
                    args->stream, group_shape<GROUP>(rows), backward_kernel<GROUP, WIDTH, T>, rows,
                    classes, of, (real<T>)d->label_smoothing, logits, (const real<T> *)args->saved,
                    (const real<T> *)args->grad_out[0].data, args->accumulate[0], gradient);
            },
            gradient);
    });
}

} // namespace

const quern_kernel quern_cuda_softmax_cross_entropy = {plan, forward, backward, NULL};
