/* copy.h - elements moved as they are, whatever their type: as words of their size. */
#ifndef QUERN_KERNELS_CUDA_COPY_H
#define QUERN_KERNELS_CUDA_COPY_H

#include "walk.h"

struct copy_op : map_op {
    template <typename R> __device__ R operator()(int64_t, R value) const { return value; }
};

/* f(W()) for the unsigned integer of a dtype's size. */
template <typename F> quern_status copy_dispatch(quern_dtype dtype, F f) {
    switch (dtype_bytes(dtype)) {
    case 1: return f(uint8_t());
    case 2: return f(uint16_t());
    case 4: return f(uint32_t());
    default: return f(uint64_t());
    }
}

/* The last two axes of a walk: rows and columns of the first operand. */
struct copy_square {
    int64_t rows, columns, out_step, in_step;
};

/* Through squares in shared memory, so that neighbours in a warp are neighbours in memory both when
 * they read and when they write: for a walk whose last axis is innermost in the first operand, and
 * the one before it in the second. */
constexpr int COPY_SQUARE = 32, COPY_LINES = LAUNCH_THREADS / COPY_SQUARE;

static inline __host__ __device__ int64_t copy_squares(int64_t length) {
    return (length + COPY_SQUARE - 1) / COPY_SQUARE;
}

template <typename T>
__global__ void copy_turned(walk outer, copy_square s, bool add, T *out, const T *in) {
    SHARED(T, square, COPY_SQUARE * (COPY_SQUARE + 1));
    const int lane = (int)threadIdx.x % COPY_SQUARE, line = (int)threadIdx.x / COPY_SQUARE;
    const int64_t across = copy_squares(s.columns), down = copy_squares(s.rows);
    const bool narrow = outer.count * down * across <= UINT32_MAX;
    for (int64_t item = blockIdx.x; item < outer.count * down * across; item += gridDim.x) {
        const int64_t strip = launch_divide(item, across, narrow);
        const int64_t of_outer = launch_divide(strip, down, narrow);
        const int64_t row = (strip - of_outer * down) * COPY_SQUARE;
        const int64_t column = (item - strip * across) * COPY_SQUARE;
        int64_t base[2];
        walk_seek(outer, of_outer, base);
        __syncthreads(); /* nobody reads the last square any more */
        for (int i = line; i < COPY_SQUARE; i += COPY_LINES)
            if (row + lane < s.rows && column + i < s.columns)
                square[i * (COPY_SQUARE + 1) + lane] =
                    in[base[1] + row + lane + (column + i) * s.in_step];
        __syncthreads();
        for (int i = line; i < COPY_SQUARE; i += COPY_LINES) {
            if (row + i >= s.rows || column + lane >= s.columns) continue;
            T *to = out + base[0] + (row + i) * s.out_step + column + lane;
            const T value = square[lane * (COPY_SQUARE + 1) + i];
            *to = add ? (T)((real<T>)*to + (real<T>)value) : value;
        }
    }
}

/* Where an axis is short, the lanes of a square would mostly be idle. */
static inline bool copy_is_turned(const walk &w) {
    const int32_t last = w.rank - 1;
    return w.rank >= 2 && w.dim[last] >= COPY_LINES && w.dim[last - 1] >= COPY_LINES &&
           w.stride[0][last] == 1 && w.stride[1][last - 1] == 1;
}

template <typename T>
quern_status copy_run_turned(quern_stream *stream, const walk &w, bool add, T *out, const T *in) {
    const int32_t rows = w.rank - 2, columns = w.rank - 1;
    const copy_square s = {w.dim[rows], w.dim[columns], w.stride[0][rows], w.stride[1][columns]};
    walk outer = w;
    outer.rank = rows;
    outer.count = w.count / (s.rows * s.columns);
    const int64_t squares = outer.count * copy_squares(s.rows) * copy_squares(s.columns);
    return launch(stream, launch_over(squares * LAUNCH_THREADS), copy_turned<T>, outer, s, add, out,
                  in);
}

/* to = from, views of one shape and dtype, or to += from in a real type. */
static inline quern_status copy_view(quern_stream *stream, const quern_view *to,
                                     const quern_view *from, bool add) {
    walk w = walk_axes_of(to);
    walk_axes_add(&w, to);
    walk_axes_add(&w, from);
    walk_axes_sort(&w, 0);
    walk_axes_close(&w);
    const auto run = [&](auto zero) {
        typedef decltype(zero) T;
        if (copy_is_turned(w))
            return copy_run_turned(stream, w, add, (T *)to->data, (const T *)from->data);
        return walk_run(stream, w, copy_op(), add, (T *)to->data, (const T *)from->data);
    };
    return add ? real_dispatch(to->dtype, run) : copy_dispatch(to->dtype, run);
}

/* A plan for ops that copy any dtype forward and add real gradients. */
static inline quern_status copy_plan(quern_kernel_plan *plan) {
    return plan->backward ? real_check(plan->args->in[0].dtype) : QUERN_OK;
}

#endif
