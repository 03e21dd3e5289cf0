/* product_measure.c - times the proposals for a product on this device, on memory of its own.
 * Only when tuning was asked for: what is fastest differs from run to run, so a run that measures
 * is reproducible only through what it remembers. */
#include "../device/device.h"
#include "product_parts.h"

enum { MEASURE_RUNS = 10, MEASURE_ROUNDS = 3 };

typedef struct trial {
    void *memory[6]; /* a, b, c, bias, scratch, aux */
    product_run_desc run;
} trial;

static void trial_end(trial *t) {
    backend_device *device = cuda_stream_device(t->run.stream);
    for (int i = 0; i < 6; i++)
        if (t->memory[i] != NULL) TORN_DOWN(device, cudaFree, (t->memory[i]));
}

static quern_status trial_begin(trial *t, const product *p, quern_stream *stream, size_t scratch) {
    const product_desc *d = &p->desc;
    const size_t batch = (size_t)d->batch * p->element_bytes;
    const size_t m = (size_t)d->m, n = (size_t)d->n, k = (size_t)d->k;
    const size_t bytes[6] = {m * k * batch,
                             k * n * batch,
                             m * n * (size_t)d->batch * p->result_bytes,
                             (m > n ? m : n) * p->result_bytes,
                             scratch,
                             product_aux_bytes(p)};
    cudaStream_t handle = cuda_stream_handle(stream);
    for (int i = 0; i < 6; i++) {
        if (bytes[i] == 0) continue;
        QUERN_TRY(CUDA_CALL(stream, cudaMalloc, (&t->memory[i], bytes[i])));
        QUERN_TRY(CUDA_CALL(stream, cudaMemsetAsync, (t->memory[i], 0, bytes[i], handle)));
    }
    t->run = (product_run_desc){.a = t->memory[0],
                                .b = t->memory[1],
                                .c = t->memory[2],
                                .bias = t->memory[3],
                                .aux = t->memory[5],
                                .scratch = t->memory[4],
                                .stream = stream};
    return QUERN_OK;
}

static quern_status time_of(product *p, const trial *t, const product_choice *choice,
                            int64_t *nanoseconds) {
    const quern_clock *clock = &p->libraries->host->clock;
    quern_stream *stream = t->run.stream;
    cudaStream_t handle = cuda_stream_handle(stream);
    *nanoseconds = INT64_MAX;
    for (int round = 0; round < MEASURE_ROUNDS; round++) {
        QUERN_TRY(CUDA_CALL(stream, cudaStreamSynchronize, (handle)));
        const int64_t start = clock->monotonic_ns(clock->self);
        for (int i = 0; i < MEASURE_RUNS; i++) QUERN_TRY(product_call(p, &t->run, choice));
        QUERN_TRY(CUDA_CALL(stream, cudaStreamSynchronize, (handle)));
        const int64_t taken = clock->monotonic_ns(clock->self) - start;
        if (taken < *nanoseconds) *nanoseconds = taken;
    }
    return QUERN_OK;
}

static quern_status time_all(product *p, const trial *t, const product_choice *proposals, int count,
                             int *fastest) {
    int64_t best = INT64_MAX;
    *fastest = 0;
    for (int i = 0; i < count; i++) {
        int64_t taken;
        QUERN_TRY(time_of(p, t, &proposals[i], &taken));
        if (taken < best) best = taken, *fastest = i;
    }
    return QUERN_OK;
}

quern_status product_measure(product *p, quern_stream *stream, const product_choice *proposals,
                             int count, int *fastest) {
    size_t scratch = 0;
    for (int i = 0; i < count; i++)
        if (proposals[i].scratch_bytes > scratch) scratch = proposals[i].scratch_bytes;
    trial t = {.run = {.stream = stream}};
    quern_status status = trial_begin(&t, p, stream, scratch);
    if (status == QUERN_OK) status = time_all(p, &t, proposals, count, fastest);
    trial_end(&t);
    return status;
}
