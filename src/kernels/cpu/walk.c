#include "walk.h"
#include "cpu.h"

void walk_begin(walk *w, const quern_view *shape) {
    *w = (walk){.rank = shape->rank, .count = shape->count, .factor = 1.0};
    for (int32_t i = 0; i < shape->rank; i++) w->dim[i] = shape->dim[i];
}

void walk_add(walk *w, const quern_view *operand) {
    const int32_t o = w->operand_count++, missing = w->rank - operand->rank;
    w->data[o] = operand->data;
    w->bytes[o] = quern_dtype_bytes(operand->dtype);
    for (int32_t i = missing; i < w->rank; i++)
        w->stride[o][i] = operand->dim[i - missing] == 1 ? 0 : operand->stride[i - missing];
}

static bool mergeable(const walk *w, int32_t outer, int32_t inner) {
    for (int32_t o = 0; o < w->operand_count; o++)
        if (w->stride[o][outer] != w->stride[o][inner] * w->dim[inner]) return false;
    return true;
}

static void move_axis(walk *w, int32_t to, int32_t from) {
    w->dim[to] = w->dim[from];
    for (int32_t o = 0; o < w->operand_count; o++) w->stride[o][to] = w->stride[o][from];
}

void walk_close(walk *w) {
    int32_t kept = 0;
    for (int32_t i = 0; i < w->rank; i++) {
        if (w->dim[i] == 1) continue;
        move_axis(w, kept, i);
        if (kept > 0 && mergeable(w, kept - 1, kept)) {
            const int64_t merged = w->dim[kept - 1] * w->dim[kept];
            move_axis(w, kept - 1, kept);
            w->dim[kept - 1] = merged;
        } else {
            kept++;
        }
    }
    if (kept == 0) { /* a single element: any stride will do */
        w->dim[0] = 1;
        for (int32_t o = 0; o < w->operand_count; o++) w->stride[o][0] = 1;
        kept = 1;
    }
    w->rank = kept;
}

void walk_seek(const walk *w, walk_cursor *cursor, int64_t index) {
    for (int32_t o = 0; o < w->operand_count; o++) cursor->offset[o] = 0;
    for (int32_t i = cursor->rank - 1; i >= 0; i--) {
        const int32_t axis = cursor->axis[i];
        cursor->at[i] = index % w->dim[axis];
        index /= w->dim[axis];
        for (int32_t o = 0; o < w->operand_count; o++)
            cursor->offset[o] += cursor->at[i] * w->stride[o][axis];
    }
}

void walk_next(const walk *w, walk_cursor *cursor) {
    for (int32_t i = cursor->rank - 1; i >= 0; i--) {
        const int32_t axis = cursor->axis[i];
        const bool wraps = ++cursor->at[i] == w->dim[axis];
        const int64_t steps = wraps ? 1 - w->dim[axis] : 1;
        for (int32_t o = 0; o < w->operand_count; o++)
            cursor->offset[o] += steps * w->stride[o][axis];
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
    const cpu_range range = cpu_parallel_range(chunk, w->count);
    const int32_t last = w->rank - 1;
    const int64_t length = w->dim[last];
    walk_cursor cursor = {.rank = last, .axis = {0, 1, 2, 3, 4, 5, 6, 7}};
    walk_seek(w, &cursor, range.start / length);
    int64_t first = range.start % length;
    for (int64_t i = range.start; i < range.end;) {
        walk_row row = {.count = cpu_min(length - first, range.end - i), .factor = w->factor};
        for (int32_t o = 0; o < w->operand_count; o++) {
            const int64_t element = cursor.offset[o] + first * w->stride[o][last];
            row.data[o] = w->data[o] + element * (int64_t)w->bytes[o];
            row.stride[o] = w->stride[o][last];
        }
        work->function(&row);
        i += row.count;
        first = 0;
        walk_next(w, &cursor);
    }
}

void walk_run(const walk *w, quern_stream *stream, walk_function function) {
    walk_work work = {w, function};
    cpu_parallel(stream, w->count, run_chunk, &work);
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

quern_view view_with_dims(const quern_view *view, int32_t rank, const int64_t *dim) {
    quern_view out = {.data = view->data, .count = 1, .rank = rank, .dtype = view->dtype};
    for (int32_t i = rank - 1; i >= 0; i--) {
        out.dim[i] = dim[i];
        out.stride[i] = out.count;
        out.count *= dim[i];
    }
    return out;
}
