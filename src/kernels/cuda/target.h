/* target.h - class indices that may be ignored: a row's target, checked, for the classifier's loss
 * and the metrics. */
#ifndef QUERN_KERNELS_CUDA_TARGET_H
#define QUERN_KERNELS_CUDA_TARGET_H

#include "group.h"

struct targets {
    const int32_t *target;
    launch_check check; /* against the number of classes */
    bool ignore;
    int32_t ignore_index;

    /* The class of a row; -1 where it is ignored, or wrong and noted. */
    __device__ int32_t of_row(int64_t row) const {
        const int32_t t = target[row];
        if (ignore && t == ignore_index) return -1;
        return check.holds(row, t) ? t : -1;
    }
};

template <typename Desc>
targets targets_of(const quern_kernel_args *args, quern_op_id op, const Desc *d) {
    const quern_view *z = &args->in[0];
    return {(const int32_t *)args->in[1].data, launch_check_of(args, op, z->dim[z->rank - 1]),
            d->ignore, d->ignore_index};
}

#endif
