/* rows.cu - the kernels of rows.h. Cost: rows_finish reads and writes y once, rows_mask reads gy
 * and y and writes once, rows_sum reads gy once. */
#include "rows.h"

#include "fold.h"

namespace {

/* Keeps NaN: a broken value must not be hidden. */
template <typename R> __device__ R clamp_at_zero(R x) { return x <= 0 ? (R)0 : x; }

struct finish_op : map_op {
    bool bias, relu;
    template <typename R> __device__ R operator()(int64_t, R y, R b) const {
        const R value = bias ? y + b : y;
        return relu ? clamp_at_zero(value) : value;
    }
};

struct mask_op : map_op {
    template <typename R> __device__ R operator()(int64_t, R g, R y) const {
        return y <= 0 ? (R)0 : g;
    }
};

} // namespace

quern_status rows_finish(quern_stream *stream, rows_shape shape, void *y, const void *bias,
                         bool relu) {
    const int64_t step = bias != NULL ? 0 : shape.columns;
    walk w = {2,
              3,
              shape.rows * shape.columns,
              {shape.rows, shape.columns},
              {{shape.columns, 1}, {shape.columns, 1}, {step, 1}}};
    finish_op op = {};
    op.bias = bias != NULL;
    op.relu = relu;
    walk_axes_close(&w);
    return real_dispatch(shape.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return walk_run(stream, w, op, false, (T *)y, (const T *)y,
                        (const T *)(bias != NULL ? bias : y));
    });
}

quern_status rows_mask(quern_stream *stream, rows_shape shape, void *to, const void *gy,
                       const void *y) {
    return real_dispatch(shape.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return map(stream, shape.rows * shape.columns, mask_op(), false, (T *)to, (const T *)gy,
                   (const T *)y);
    });
}

size_t rows_sum_scratch(rows_shape shape) { return fold_scratch_bytes(shape.rows * shape.columns); }

quern_status rows_sum(quern_stream *stream, rows_shape shape, void *sums, bool wide, const void *gy,
                      bool accumulate, void *scratch) {
    walk w = {2,
              2,
              shape.rows * shape.columns,
              {shape.rows, shape.columns},
              {{0, 1}, {shape.columns, 1}}};
    walk_axes_close(&w);
    return real_dispatch(shape.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        if (wide)
            return fold_run<FOLD_SUM>(stream, w, fold_self(),
                                      fold_into((real<T> *)sums, 1, accumulate), scratch,
                                      (const T *)gy);
        return fold_run<FOLD_SUM>(stream, w, fold_self(), fold_into((T *)sums, 1, accumulate),
                                  scratch, (const T *)gy);
    });
}
