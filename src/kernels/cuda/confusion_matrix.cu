/* confusion_matrix - y[t, p] = number of rows of class t whose largest logit is p, the first of
 * equals; NaN counts as the largest, as in argmax. Ignored rows do not count; a target that is no
 * class is a fault, and does not count either.
 * Shapes   logits (..., C), target (...) I32, y (C, C) of the graph's dtype; 16-bit logits, y F32.
 * Cost: 1 read per logit. Deterministic: yes, integers are counted and only then made real. */
#include "constant.h"
#include "largest.h"
#include "target.h"

namespace {

template <int GROUP, typename T>
__global__ void count_kernel(int64_t rows, int64_t classes, targets of, const T *logits,
                             uint32_t *counts) {
    for (int64_t row = group_index<GROUP>(); row < rows; row += group_count<GROUP>()) {
        const int32_t target = of.of_row(row);
        const int32_t found = largest_of_row<GROUP>(logits + row * classes, classes, 1);
        if (group_lane<GROUP>() == 0 && target >= 0)
            atomicAdd(&counts[target * classes + found], 1u);
    }
}

struct to_real : map_op {
    __device__ double operator()(int64_t, uint32_t count) const { return (double)count; }
};

quern_status plan(quern_kernel_plan *p) {
    QUERN_TRY(real_check(p->args->in[0].dtype));
    return bytes_of(p->args->out[0].count, sizeof(uint32_t), &p->forward_scratch_bytes);
}

quern_status forward(const quern_kernel_args *args) {
    const quern_confusion_matrix_desc *d = (const quern_confusion_matrix_desc *)args->attributes;
    const quern_view *z = &args->in[0], *y = &args->out[0];
    const int64_t rows = args->in[1].count, classes = z->dim[z->rank - 1];
    const targets of = targets_of(args, QUERN_OP_ID_confusion_matrix, d);
    uint32_t *counts = (uint32_t *)args->scratch;
    QUERN_TRY(constant_fill(args->stream, counts, y->count, (uint32_t)0));
    return real_dispatch(z->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        QUERN_TRY(group_dispatch(classes, (const T *)z->data, [&](auto group, auto) {
            constexpr int GROUP = decltype(group)::value;
            return launch(args->stream, group_shape<GROUP>(rows), count_kernel<GROUP, T>, rows,
                          classes, of, (const T *)z->data, counts);
        }));
        return map(args->stream, y->count, to_real(), false, (real<T> *)y->data,
                   (const uint32_t *)counts);
    });
}

} // namespace

const quern_kernel quern_cuda_confusion_matrix = {plan, forward, NULL, NULL};
