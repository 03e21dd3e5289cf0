/* regression_sums - what R^2 is made of: y = (sum (p - t)^2, sum t, sum t^2, number of elements).
 * Shapes   p, t (any), equal; y (4) F64 whatever p is: sums of squares cancel later.
 * Cost: 1 read of p, 2 of t. Deterministic: yes, in the order of fold.h. */
#include "constant.h"
#include "fold.h"

namespace {

struct residual_term : map_op {
    template <typename R> __device__ double operator()(R t, R p) const {
        const double off = (double)p - (double)t;
        return off * off;
    }
};

struct power_terms : map_op {
    template <typename R> __device__ fold_values<2> operator()(R t) const {
        return {{(double)t, (double)t * (double)t}};
    }
};

quern_status plan(quern_kernel_plan *p) {
    p->forward_scratch_bytes = fold_scratch_bytes(p->args->in[0].count, 2);
    return real_check(p->args->in[0].dtype);
}

quern_status forward(const quern_kernel_args *args) {
    const int64_t count = args->in[0].count;
    const walk one = fold_all(count, 1), two = fold_all(count, 2);
    double *y = (double *)args->out[0].data;
    const fold_result<double> residual = {{y}, 1, {}};
    const fold_result<double, 2> powers = {{y + 1, y + 2}, 1, {}};
    QUERN_TRY(constant_fill(args->stream, y + 3, 1, (double)count));
    return real_dispatch(args->in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const T *p = (const T *)args->in[0].data, *t = (const T *)args->in[1].data;
        quern_stream *stream = args->stream;
        QUERN_TRY(fold_run<FOLD_SUM>(stream, two, residual_term(), residual, args->scratch, t, p));
        return fold_run<FOLD_SUM>(stream, one, power_terms(), powers, args->scratch, t);
    });
}

} // namespace

const quern_kernel quern_cuda_regression_sums = {plan, forward, NULL, NULL};
