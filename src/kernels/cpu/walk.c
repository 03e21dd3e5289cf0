#include "walk.h"
#include "cpu.h"

void walk_begin(walk *w, const quern_view *shape) {
    *w = (walk){.axes = walk_axes_of(shape), .factor = 1.0};
}

void walk_add(walk *w, const quern_view *operand) {
    w->data[w->axes.operand_count] = operand->data;
    w->bytes[w->axes.operand_count] = quern_dtype_bytes(operand->dtype);
    walk_axes_add(&w->axes, operand);
}

void walk_close(walk *w) { walk_axes_close(&w->axes); }

void walk_seek(const walk *w, walk_cursor *cursor, int64_t index) {
    for (int32_t o = 0; o < w->axes.operand_count; o++) cursor->offset[o] = 0;
    for (int32_t i = cursor->rank - 1; i >= 0; i--) {
        const int32_t axis = cursor->axis[i];
        cursor->at[i] = index % w->axes.dim[axis];
        index /= w->axes.dim[axis];
        for (int32_t o = 0; o < w->axes.operand_count; o++)
            cursor->offset[o] += cursor->at[i] * w->axes.stride[o][axis];
    }
}

void walk_next(const walk *w, walk_cursor *cursor) {
    for (int32_t i = cursor->rank - 1; i >= 0; i--) {
        const int32_t axis = cursor->axis[i];
        const bool wraps = ++cursor->at[i] == w->axes.dim[axis];
        const int64_t steps = wraps ? 1 - w->axes.dim[axis] : 1;
        for (int32_t o = 0; o < w->axes.operand_count; o++)
            cursor->offset[o] += steps * w->axes.stride[o][axis];
        if (!wraps) return;
        cursor->at[i] = 0;
    }
}

typedef struct walk_work {
    const walk *walk;
    walk_function function;
} walk_work;

static void run_chunk(void *context, int64_t chunk) {
    const walk_work *work = context;
    const walk *w = work->walk;
    const cpu_range range = cpu_parallel_range(chunk, w->axes.count);
    const int32_t last = w->axes.rank - 1;
    const int64_t length = w->axes.dim[last];
    walk_cursor cursor = {.rank = last, .axis = {0, 1, 2, 3, 4, 5, 6, 7}};
    walk_seek(w, &cursor, range.start / length);
    int64_t first = range.start % length;
    for (int64_t i = range.start; i < range.end;) {
        walk_row row = {.count = cpu_min(length - first, range.end - i), .factor = w->factor};
        for (int32_t o = 0; o < w->axes.operand_count; o++) {
            const int64_t element = cursor.offset[o] + first * w->axes.stride[o][last];
            row.data[o] = w->data[o] + element * (int64_t)w->bytes[o];
            row.stride[o] = w->axes.stride[o][last];
        }
        work->function(&row);
        i += row.count;
        first = 0;
        walk_next(w, &cursor);
    }
}

void walk_run(const walk *w, quern_stream *stream, walk_function function) {
    walk_work work = {w, function};
    cpu_parallel(stream, w->axes.count, run_chunk, &work);
}

void row_add(quern_dtype dtype, void *to, const void *from, int64_t count) {
    if (dtype == QUERN_F32) {
        float *sum = to;
        const float *term = from;
        for (int64_t i = 0; i < count; i++) sum[i] += term[i];
    } else {
        double *sum = to;
        const double *term = from;
        for (int64_t i = 0; i < count; i++) sum[i] += term[i];
    }
}
