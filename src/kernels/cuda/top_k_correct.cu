/* top_k_correct - y = number of rows whose target is among the k largest logits.
 * Of equal logits the one with the lower index is the larger, and NaN is larger than all numbers:
 * with k = 1 this is exactly argmax = target. Ignored rows do not count; a target that is no class
 * is a fault, and does not count either.
 * Shapes   logits (..., C), target (...) I32, y () of the graph's dtype; 16-bit logits, y F32.
 * Cost: 1 read per logit. Deterministic: yes, whole numbers. */
#include "fold.h"
#include "target.h"

namespace {

template <typename R> __device__ bool is_above(R z, R own, bool earlier) {
    const bool larger = z > own || (z != z && own == own);
    const bool equal = z == own || (z != z && own != own);
    return larger || (equal && earlier);
}

/* hits[row] = 1 where fewer than k logits are above the target's. */
template <int GROUP, typename T>
__global__ void hits_kernel(int64_t rows, int64_t classes, targets of, int32_t k, const T *logits,
                            double *hits) {
    typedef real<T> R;
    for (int64_t row = group_index<GROUP>(); row < rows; row += group_count<GROUP>()) {
        const T *z = logits + row * classes;
        const int32_t target = of.of_row(row);
        const R own = target < 0 ? (R)0 : (R)z[target];
        int64_t above = 0;
        for (int64_t c = group_lane<GROUP>(); c < classes; c += GROUP)
            above += is_above((R)z[c], own, c < target) ? 1 : 0;
        above = group_sum<GROUP>(above);
        if (group_lane<GROUP>() == 0) hits[row] = target >= 0 && above < k ? 1 : 0;
    }
}

size_t hits_bytes(int64_t rows) { return ((size_t)rows * sizeof(double) + 63) & ~(size_t)63; }

quern_status plan(quern_kernel_plan *p) {
    const int64_t rows = p->args->in[1].count;
    size_t unused;
    QUERN_TRY(real_check(p->args->in[0].dtype));
    QUERN_TRY(bytes_of(rows + 8, sizeof(double), &unused));
    p->forward_scratch_bytes = hits_bytes(rows) + fold_scratch_bytes(rows);
    return QUERN_OK;
}

quern_status forward(const quern_kernel_args *args) {
    const quern_top_k_correct_desc *d = (const quern_top_k_correct_desc *)args->attributes;
    const quern_view *z = &args->in[0];
    const int64_t rows = args->in[1].count, classes = z->dim[z->rank - 1];
    const targets of = targets_of(args, QUERN_OP_ID_top_k_correct, d);
    double *hits = (double *)args->scratch;
    return real_dispatch(z->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        QUERN_TRY(group_dispatch(classes, (const T *)z->data, [&](auto group, auto) {
            constexpr int GROUP = decltype(group)::value;
            return launch(args->stream, group_shape<GROUP>(rows), hits_kernel<GROUP, T>, rows,
                          classes, of, d->k, (const T *)z->data, hits);
        }));
        return fold_run<FOLD_SUM>(args->stream, fold_all(rows, 1), fold_self(),
                                  fold_into((real<T> *)args->out[0].data, 1, false),
                                  (char *)args->scratch + hits_bytes(rows), (const double *)hits);
    });
}

} // namespace

const quern_kernel quern_cuda_top_k_correct = {plan, forward, NULL, NULL};
