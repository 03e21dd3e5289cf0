/* table_rows.h - gather and embedding: rows of a table by index.
 *
 * y row i = table row index[i];  g table row v = sum of gy rows i with index[i] = v.
 * Any dtype forward, real ones backward; g may be F32 beside gy of 16 bits. An index outside of
 * the table is a fault: its y row is zero, its gy row is dropped.
 * Backward sorts the indices, stably (sort.h); then the first of each run of equal ones owns a row
 * of the table, a thread 16 bytes of its columns, and adds the run's rows of gy in the order of i.
 * Cost: forward 1 read and 1 write per element of y; backward clears the table's gradient (unless
 * it accumulates), reads gy once and writes the rows that are named. A row that is named very often
 * is added by those threads alone, one row after another.
 * Deterministic: yes. */
#ifndef QUERN_KERNELS_CUDA_TABLE_ROWS_H
#define QUERN_KERNELS_CUDA_TABLE_ROWS_H

#include "constant.h"
#include "copy.h"
#include "sort.h"

struct table_shape {
    int64_t index_count, table_count, width; /* rows, rows, elements of a row */
};

static inline table_shape table_shape_of(const quern_view *table, const quern_view *index) {
    table_shape s = {index->count, table->dim[0], 1};
    for (int32_t i = 1; i < table->rank; i++) s.width *= table->dim[i];
    return s;
}

template <int WIDTH, typename W>
__global__ void table_copy_kernel(table_shape s, launch_check check, const int32_t *index,
                                  const W *table, W *out) {
    const int64_t packs = s.width / WIDTH;
    for (int64_t i = launch_index(); i < s.index_count * packs; i += launch_stride()) {
        const int64_t row = i / packs, column = i % packs * WIDTH, from = index[row];
        pack<WIDTH, W> p = {};
        if (check.holds(row, from)) p = pack_load<WIDTH>(table + from * s.width + column);
        *reinterpret_cast<pack<WIDTH, W> *>(out + i * WIDTH) = p;
    }
}

/* Keys for the sort: an index that is wrong comes last. */
static __global__ void table_key_kernel(table_shape s, launch_check check, const int32_t *index,
                                        sort_items items) {
    for (int64_t i = launch_index(); i < s.index_count; i += launch_stride()) {
        items.key[i] = check.holds(i, index[i]) ? (uint32_t)index[i] : (uint32_t)s.table_count;
        items.position[i] = (int32_t)i;
    }
}

template <int WIDTH, typename T, typename G>
__global__ void table_add_kernel(table_shape s, sort_items sorted, const T *gy, bool add,
                                 G *table) {
    const int64_t packs = s.width / WIDTH;
    for (int64_t i = launch_index(); i < s.index_count * packs; i += launch_stride()) {
        const int64_t first = i / packs, column = i % packs * WIDTH;
        const uint32_t row = sorted.key[first];
        if (row >= (uint64_t)s.table_count || (first > 0 && sorted.key[first - 1] == row)) continue;
        G *to = table + row * s.width + column;
        real<T> sum[WIDTH] = {};
        pack<WIDTH, G> g;
        if (add) g = pack_load<WIDTH>(to);
        for (int j = 0; add && j < WIDTH; j++) sum[j] = (real<T>)g.at[j];
        for (int64_t r = first; r < s.index_count && sorted.key[r] == row; r++) {
            const pack<WIDTH, T> p = pack_load<WIDTH>(gy + sorted.position[r] * s.width + column);
            for (int j = 0; j < WIDTH; j++) sum[j] += (real<T>)p.at[j];
        }
        for (int j = 0; j < WIDTH; j++) g.at[j] = (G)sum[j];
        *reinterpret_cast<pack<WIDTH, G> *>(to) = g;
    }
}

static inline quern_status table_plan(quern_kernel_plan *plan) {
    const int64_t count = plan->args->in[1].count;
    if (!plan->backward) return QUERN_OK;
    if (count > INT32_MAX)
        return cuda_fail(QUERN_UNSUPPORTED, "%lld indices: CUDA adds at most 2^31 - 1 rows",
                         (long long)count);
    plan->backward_scratch_bytes = sort_bytes(count);
    return real_check(plan->args->in[0].dtype);
}

template <quern_op_id OP> quern_status table_forward(const quern_kernel_args *args) {
    const quern_view *table = &args->in[0], *index = &args->in[1], *y = &args->out[0];
    const table_shape s = table_shape_of(table, index);
    const launch_check check = launch_check_of(args, OP, s.table_count);
    return copy_dispatch(table->dtype, [&](auto zero) {
        typedef decltype(zero) W;
        constexpr int WIDTH = pack_width<W>();
        const W *from = (const W *)table->data;
        const int32_t *rows = (const int32_t *)index->data;
        W *to = (W *)y->data;
        if (s.width % WIDTH == 0 && pack_aligned<WIDTH>(from) && pack_aligned<WIDTH>(to))
            return launch(args->stream, launch_over(y->count / WIDTH), table_copy_kernel<WIDTH, W>,
                          s, check, rows, from, to);
        return launch(args->stream, launch_over(y->count), table_copy_kernel<1, W>, s, check, rows,
                      from, to);
    });
}

/* From gy of type T into a gradient of type G. */
template <typename T, typename G>
quern_status table_add(const quern_kernel_args *args, const table_shape &s,
                       const sort_items &sorted) {
    constexpr int WIDTH = pack_width<T>();
    const quern_view *table = &args->grad_in[0], *gy = &args->grad_out[0];
    const T *from = (const T *)gy->data;
    G *to = (G *)table->data;
    const bool add = args->accumulate[0];
    if (!add) QUERN_TRY(constant_fill(args->stream, to, table->count, (real<G>)0));
    if (s.width % WIDTH == 0 && pack_aligned<WIDTH>(from) && pack_aligned<WIDTH>(to))
        return launch(args->stream, launch_over(gy->count / WIDTH), table_add_kernel<WIDTH, T, G>,
                      s, sorted, from, add, to);
    return launch(args->stream, launch_over(gy->count), table_add_kernel<1, T, G>, s, sorted, from,
                  add, to);
}

template <quern_op_id OP> quern_status table_backward(const quern_kernel_args *args) {
    const quern_view *table = &args->grad_in[0], *index = &args->in[1];
    const quern_dtype dtype = args->grad_out[0].dtype;
    if (table->data == NULL) return QUERN_OK;
    const table_shape s = table_shape_of(table, index);
    const launch_check check = launch_check_of(args, OP, s.table_count);
    sort_items sorted = sort_items_at(args->scratch, s.index_count, 0);
    QUERN_TRY(launch(args->stream, launch_over(s.index_count), table_key_kernel, s, check,
                     (const int32_t *)index->data, sorted));
    QUERN_TRY(sort_run(args->stream, args->scratch, s.index_count, s.table_count, &sorted));
    return real_dispatch(dtype, [&](auto zero) {
        typedef decltype(zero) T;
        if (table->dtype != dtype) return table_add<T, real<T>>(args, s, sorted);
        return table_add<T, T>(args, s, sorted);
    });
}

#define TABLE_KERNEL(op)                                                                           \
    { table_plan, table_forward<op>, table_backward<op>, NULL }

#endif
