/* gather - a batch of a data set in memory becomes the inputs: shuffled, converted, normalised,
 * cropped and flipped by the code that a loader uses.
 * Cost: one read and one write per element. Deterministic: yes, each row on its own. */
#include "../sampler.h"
#include "cpu.h"
#include "field_plan.h"

typedef struct gather_rows {
    const task_gather *task;
    task_batch batch;
    sampler order;
    int64_t chunk_rows;
} gather_rows;

static void row_write(const gather_rows *g, int64_t row) {
    const task_gather *t = g->task;
    const int64_t sample = sampler_index(&g->order, g->batch.first_position + row);
    for (int32_t i = 0; i < t->field_count; i++) {
        const task_field *f = &t->fields[i];
        const size_t from_bytes = (size_t)f->plan.count * quern_dtype_bytes(f->plan.from);
        const size_t to_bytes = (size_t)f->plan.count * quern_dtype_bytes(f->plan.to);
        field_plan_apply(&f->plan, (const char *)f->from + (size_t)sample * from_bytes,
                         (char *)f->to + (size_t)row * to_bytes, t->seed, g->batch.epoch, sample);
    }
}

static void rows_write(void *context, int64_t chunk) {
    const gather_rows *g = context;
    const cpu_range r = cpu_chunk_range(chunk, g->chunk_rows, g->task->sample_count);
    for (int64_t row = r.start; row < r.end; row++) row_write(g, row);
}

quern_status quern_cpu_task_gather(const quern_kernel_args *args) {
    const task_gather *t = args->attributes;
    gather_rows g = {.task = t, .batch = *gather_batch(t)};
    g.order = sampler_of_epoch(t->length, t->shuffle, t->seed, g.batch.epoch);
    int64_t elements = 0;
    for (int32_t i = 0; i < t->field_count; i++) elements += t->fields[i].plan.count;
    g.chunk_rows = cpu_rows_per_chunk(elements);
    quern_cpu_parallel(args->stream, cpu_chunk_count(t->sample_count, g.chunk_rows), rows_write,
                       &g);
    if (t->advance) t->run->attempt++;
    return QUERN_OK;
}
