/* largest.h - the position of a row's largest element, the first of equals; NaN counts as the
 * largest. What argmax and confusion_matrix share. */
#ifndef QUERN_KERNELS_CUDA_LARGEST_H
#define QUERN_KERNELS_CUDA_LARGEST_H

#include "axis.h"

template <typename R> struct largest_at {
    R value;
    int32_t at; /* -1: nothing so far */
    int32_t unused;
};

struct larger_at {
    template <typename R>
    __device__ largest_at<R> operator()(largest_at<R> a, largest_at<R> b) const {
        if (a.at < 0 || b.at < 0) return a.at < 0 ? b : a;
        const bool equal = a.value == b.value || (a.value != a.value && b.value != b.value);
        if (equal) return a.at < b.at ? a : b;
        const bool second = b.value > a.value || b.value != b.value;
        return second && a.value == a.value ? b : a;
    }
};

/* Every thread of the group gets it; x points at the row's first element. */
template <int GROUP, typename T>
__device__ int32_t largest_of_row(const T *x, int64_t length, int64_t step) {
    largest_at<real<T>> best = {0, -1, 0};
    for (int64_t i = group_lane<GROUP>(); i < length; i += GROUP)
        best = larger_at()(best, largest_at<real<T>>{(real<T>)x[i * step], (int32_t)i, 0});
    return group_fold<GROUP>(best, larger_at()).at;
}

#endif
