#include "measure.h"

#include "../../../host/base/size.h"
#include "../device/device.h"
#include "../random_fill.h"

#include <math.h>

enum { RUNS_MAX = 20, ROWS = 3, TURNS_LEAST = 2, FLUSH_VALUE = 0 };
#define COPIES_BYTES ((size_t)256 << 20) /* of all turns, unless two take more */
#define ROW_MILLISECONDS 2.0

static bool count_bytes_of(measure *m, const measure_desc *d, size_t *total) {
    const size_t cache = (size_t)cuda_device_cache_bytes(cuda_stream_device(m->stream));
    for (int32_t i = 0; i < d->count; i++) {
        size_t bytes = 0;
        m->offsets[i] = m->turn_bytes;
        if (!count_bytes(d->elements[i], cuda_dtype_bytes(d->dtype[i]), &bytes) ||
            !size_align_to(bytes, QUERN_SCRATCH_ALIGNMENT, &bytes) ||
            !size_add(m->turn_bytes, bytes, &m->turn_bytes))
            return false;
    }
    const size_t turns = m->turn_bytes > 0 ? COPIES_BYTES / m->turn_bytes : 0;
    m->turns = turns < TURNS_LEAST ? TURNS_LEAST : turns > RUNS_MAX ? RUNS_MAX : (int32_t)turns;
    return size_align_to(2 * cache, QUERN_SCRATCH_ALIGNMENT, &m->flush_bytes) &&
           size_multiply(m->turn_bytes, (size_t)m->turns, total) &&
           size_add(*total, m->flush_bytes, total) && size_add(*total, d->scratch_bytes, total);
}

static quern_status fill_operands(const measure *m, const measure_desc *d) {
    for (int32_t turn = 0; turn < m->turns; turn++)
        for (int32_t i = 0; i < m->count; i++)
            QUERN_TRY(random_fill(m->stream, d->dtype[i],
                                  m->block + (size_t)turn * m->turn_bytes + m->offsets[i],
                                  d->elements[i], (uint64_t)(turn * MEASURE_OPERANDS + i)));
    QUERN_TRY(CUDA_CALL(m->stream, cudaStreamSynchronize, (cuda_stream_handle(m->stream))));
    return cuda_stream_status(m->stream); /* what failed before is not what is measured */
}

static quern_status block_allocate(measure *m, const measure_desc *d, size_t bytes, bool *there) {
    void *block = NULL;
    const cudaError_t code = cuda_driver.cudaMalloc(&block, bytes);
    if (code != cudaErrorMemoryAllocation) {
        QUERN_TRY(cuda_check(cuda_stream_device(m->stream), code, "cudaMalloc", d->what));
        m->block = block;
        *there = true;
        return QUERN_OK;
    }
    IGNORED(cudaGetLastError, ());
    cuda_services()->log(cuda_device_host(cuda_stream_device(m->stream)), QUERN_LOG_WARNING,
                         "%s is not measured: the device has no %zu bytes for it", d->what, bytes);
    return QUERN_OK;
}

quern_status measure_begin(measure *m, quern_stream *stream, const measure_desc *d, bool *there) {
    size_t bytes = 0;
    *m = (measure){.stream = stream, .count = d->count};
    *there = false;
    if (!count_bytes_of(m, d, &bytes))
        return cuda_fail(QUERN_SHAPE, "%s: its operands' bytes do not fit in 64 bits", d->what);
    QUERN_TRY(block_allocate(m, d, bytes, there));
    if (!*there) return QUERN_OK;
    QUERN_TRY(CUDA_CALL(stream, cudaEventCreateWithFlags, (&m->start, cudaEventDefault)));
    QUERN_TRY(CUDA_CALL(stream, cudaEventCreateWithFlags, (&m->stop, cudaEventDefault)));
    return fill_operands(m, d);
}

void measure_end(measure *m) {
    if (m->stop != NULL) IGNORED(cudaEventDestroy, (m->stop));
    if (m->start != NULL) IGNORED(cudaEventDestroy, (m->start));
    if (m->block != NULL) IGNORED(cudaFree, (m->block));
}

static quern_status run_turn(const measure *m, measure_run run, void *self, int32_t turn) {
    void *operands[MEASURE_OPERANDS];
    unsigned char *const copy = m->block + (size_t)(turn % m->turns) * m->turn_bytes;
    for (int32_t i = 0; i < m->count; i++) operands[i] = copy + m->offsets[i];
    return run(self, operands, m->block + (size_t)m->turns * m->turn_bytes + m->flush_bytes);
}

static quern_status time_between(const measure *m, double *milliseconds) {
    float taken = 0;
    QUERN_TRY(CUDA_CALL(m->stream, cudaEventSynchronize, (m->stop)));
    QUERN_TRY(CUDA_CALL(m->stream, cudaEventElapsedTime, (&taken, m->start, m->stop)));
    *milliseconds = (double)taken;
    return QUERN_OK;
}

/* The first run of a kernel loads it; the second says how many a row is worth. */
static quern_status time_once(const measure *m, measure_run run, void *self, double *milliseconds) {
    cudaStream_t handle = cuda_stream_handle(m->stream);
    QUERN_TRY(run_turn(m, run, self, 0));
    QUERN_TRY(CUDA_CALL(m->stream, cudaEventRecord, (m->start, handle)));
    QUERN_TRY(run_turn(m, run, self, 1));
    QUERN_TRY(CUDA_CALL(m->stream, cudaEventRecord, (m->stop, handle)));
    return time_between(m, milliseconds);
}

static quern_status record_row(const measure *m, measure_run run, void *self, int32_t runs,
                               backend_capture **out) {
    QUERN_TRY(cuda_capture_begin(m->stream));
    quern_status status = QUERN_OK;
    for (int32_t i = 0; i < runs && status == QUERN_OK; i++) status = run_turn(m, run, self, i);
    const quern_status ended = cuda_capture_end(m->stream, out);
    if (status == QUERN_OK) return ended;
    cuda_capture_destroy(*out);
    *out = NULL;
    return status;
}

static quern_status time_row(const measure *m, backend_capture *row, double *milliseconds) {
    cudaStream_t handle = cuda_stream_handle(m->stream);
    void *const flushed = m->block + (size_t)m->turns * m->turn_bytes;
    if (m->flush_bytes > 0)
        QUERN_TRY(
            CUDA_CALL(m->stream, cudaMemsetAsync, (flushed, FLUSH_VALUE, m->flush_bytes, handle)));
    QUERN_TRY(CUDA_CALL(m->stream, cudaEventRecord, (m->start, handle)));
    QUERN_TRY(cuda_capture_launch(row, m->stream));
    QUERN_TRY(CUDA_CALL(m->stream, cudaEventRecord, (m->stop, handle)));
    return time_between(m, milliseconds);
}

static quern_status time_rows(const measure *m, measure_run run, void *self, double *best) {
    backend_capture *row = NULL;
    double once = 0;
    QUERN_TRY(time_once(m, run, self, &once));
    int32_t runs = RUNS_MAX;
    if (once * RUNS_MAX > ROW_MILLISECONDS) runs = (int32_t)(ROW_MILLISECONDS / once);
    if (runs < TURNS_LEAST) runs = TURNS_LEAST;
    quern_status status = record_row(m, run, self, runs, &row);
    for (int i = 0; i < ROWS && status == QUERN_OK; i++) {
        double taken = 0;
        status = time_row(m, row, &taken);
        if (status == QUERN_OK) *best = fmin(*best, taken / runs);
    }
    cuda_capture_destroy(row);
    return status;
}

quern_status measure_time(measure *m, measure_run run, void *self, double *milliseconds) {
    *milliseconds = (double)INFINITY;
    const quern_status status = time_rows(m, run, self, milliseconds);
    if (status == QUERN_OK || status == QUERN_DEVICE_LOST) return status;
    *milliseconds = (double)INFINITY;
    const quern_status waited =
        CUDA_CALL(m->stream, cudaStreamSynchronize, (cuda_stream_handle(m->stream)));
    if (waited == QUERN_DEVICE_LOST) return waited;
    /* Or nothing more would run; behind the wait, because what was under way may fail too. */
    const quern_status kept = cuda_stream_take_failure(m->stream);
    if (waited == QUERN_OK && kept != QUERN_DEVICE_LOST) return QUERN_OK;
    return kept != QUERN_OK ? kept : waited; /* the one that was said last */
}
