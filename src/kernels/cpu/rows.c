#include "rows.h"
#include "cpu.h"
#include "walk.h"
#include "../../host/base/report.h"
#include <string.h>

#define COLUMNS INT64_C(1024) /* of a chunk of backward */

typedef struct rows_work {
    const int32_t *index;
    char *table, *rows;
    int64_t index_count, table_count, width; /* rows, rows, elements of a row */
    quern_dtype dtype;
    bool accumulate;
} rows_work;

static rows_work work_of(const quern_view *table, const quern_view *index, const quern_view *rows) {
    rows_work w = {.index = index->data, .table = table->data, .rows = rows->data};
    w.index_count = index->count;
    w.table_count = table->dim[0];
    w.width = 1;
    for (int32_t i = 1; i < table->rank; i++) w.width *= table->dim[i];
    w.dtype = table->dtype;
    return w;
}

static void copy_chunk(void *context, int64_t chunk) {
    const rows_work *w = context;
    const cpu_range range = cpu_chunk_range(chunk, cpu_rows_per_chunk(w->width), w->index_count);
    const size_t pitch = (size_t)w->width * quern_dtype_bytes(w->dtype);
    for (int64_t i = range.start; i < range.end; i++)
        memcpy(w->rows + (size_t)i * pitch, w->table + (size_t)w->index[i] * pitch, pitch);
}

static void add_chunk(void *context, int64_t chunk) {
    const rows_work *w = context;
    const cpu_range columns = cpu_chunk_range(chunk, COLUMNS, w->width);
    const size_t bytes = quern_dtype_bytes(w->dtype), pitch = (size_t)w->width * bytes;
    const int64_t count = columns.end - columns.start;
    char *table = w->table + (size_t)columns.start * bytes;
    const char *rows = w->rows + (size_t)columns.start * bytes;
    for (int64_t v = 0; !w->accumulate && v < w->table_count; v++)
        memset(table + (size_t)v * pitch, 0, (size_t)count * bytes);
    for (int64_t i = 0; i < w->index_count; i++)
        row_add(w->dtype, table + (size_t)w->index[i] * pitch, rows + (size_t)i * pitch, count);
}

quern_status rows_plan(quern_kernel_plan *plan) {
    const quern_dtype dtype = plan->args->in[0].dtype;
    if (plan->backward && dtype != QUERN_F32 && dtype != QUERN_F64)
        return quern_fail(QUERN_UNSUPPORTED, "the CPU adds gradients in F32 and F64, not %s",
                          quern_dtype_name(dtype));
    return QUERN_OK;
}

/* Backward checks again: a failed forward does not end the stream, so it may still be called. */
static quern_status check_indices(const rows_work *w) {
    for (int64_t i = 0; i < w->index_count; i++)
        if (w->index[i] < 0 || w->index[i] >= w->table_count)
            return quern_fail(QUERN_INPUT, "index %d at position %lld is outside [0, %lld)",
                              w->index[i], (long long)i, (long long)w->table_count);
    return QUERN_OK;
}

quern_status rows_forward(const quern_kernel_args *args) {
    rows_work w = work_of(&args->in[0], &args->in[1], &args->out[0]);
    const quern_status status = check_indices(&w);
    if (status != QUERN_OK) return status;
    if (w.width == 0) return QUERN_OK;
    quern_cpu_parallel(args->stream, cpu_chunk_count(w.index_count, cpu_rows_per_chunk(w.width)),
                       copy_chunk, &w);
    return QUERN_OK;
}

quern_status rows_backward(const quern_kernel_args *args) {
    if (args->grad_in[0].data == NULL) return QUERN_OK;
    rows_work w = work_of(&args->grad_in[0], &args->in[1], &args->grad_out[0]);
    w.accumulate = args->accumulate[0];
    const quern_status status = check_indices(&w);
    if (status != QUERN_OK) return status;
    quern_cpu_parallel(args->stream, cpu_chunk_count(w.width, COLUMNS), add_chunk, &w);
    return QUERN_OK;
}
