/* valid_count - y = number of targets other than ignore_index; all of them without `ignore`.
 * Shapes   target (...) I32, y () of the graph's dtype. A count above 2^24 is rounded in F32.
 * Cost: 1 read per target. Deterministic: yes, whole numbers. */
#include "fold.h"

namespace {

struct is_valid : map_op {
    bool ignore;
    int32_t ignore_index;
    __device__ double operator()(int32_t target) const {
        return ignore && target == ignore_index ? 0 : 1;
    }
};

quern_status plan(quern_kernel_plan *p) {
    p->forward_scratch_bytes = fold_scratch_bytes(p->args->in[0].count);
    return real_check(p->args->out[0].dtype);
}

quern_status forward(const quern_kernel_args *args) {
    const quern_valid_count_desc *d = (const quern_valid_count_desc *)args->attributes;
    is_valid op = {};
    op.ignore = d->ignore;
    op.ignore_index = d->ignore_index;
    return real_dispatch(args->out[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return fold_run<FOLD_SUM>(args->stream, fold_all(args->in[0].count, 1), op,
                                  fold_into((T *)args->out[0].data, 1, false), args->scratch,
                                  (const int32_t *)args->in[0].data);
    });
}

} // namespace

const quern_kernel quern_cuda_valid_count = {plan, forward, NULL, NULL};
