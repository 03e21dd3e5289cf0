/* argmax - y = index of the largest x along an axis, the first of equals; I32, axis removed.
 * NaN counts as the largest, as in PyTorch. Cost: 1 read per element. Deterministic: yes. */
#include "largest.h"

template <int GROUP, typename T>
static __global__ void find_kernel(axis_split s, const T *x, int32_t *y) {
    for (int64_t row = group_index<GROUP>(); row < axis_rows(s); row += group_count<GROUP>()) {
        const int32_t at = largest_of_row<GROUP>(x + axis_row_start(s, row), s.length, s.inner);
        if (group_lane<GROUP>() == 0) y[row] = at;
    }
}

static quern_status forward(const quern_kernel_args *args) {
    const quern_view *x = &args->in[0];
    const axis_split s = axis_split_of(x, ((const quern_argmax_desc *)args->attributes)->axis);
    return real_dispatch(x->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return axis_dispatch(s, [&](auto group) {
            constexpr int GROUP = decltype(group)::value;
            return launch(args->stream, group_shape<GROUP>(s.outer * s.inner),
                          find_kernel<GROUP, T>, s, (const T *)x->data,
                          (int32_t *)args->out[0].data);
        });
    });
}

const quern_kernel quern_cuda_argmax = {real_plan, forward, NULL, NULL};
