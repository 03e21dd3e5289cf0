#include "batch.h"

#include "../../base/size.h"

#include <inttypes.h>
#include <string.h>

enum { DEFAULT_BATCH_SIZE = 64 };

static bool is_read(const quern_graph *graph, const quern_tensor *tensor) {
    for (const graph_node *n = graph->nodes; n; n = n->next)
        for (int32_t i = 0; i < n->input_count; i++)
            if (n->in[i] == tensor) return true;
    return false;
}

static quern_status inputs_find(verify_batch *b, const quern_graph *graph) {
    for (const quern_tensor *t = graph->tensors; t; t = t->next) {
        quern_view sample;
        if (t->role != ROLE_INPUT || !is_read(graph, t)) continue;
        if (b->count == QUERN_INPUT_MAX)
            return quern_fail(QUERN_UNSUPPORTED, "verify: more than %d inputs", QUERN_INPUT_MAX);
        QUERN_TRY(shape_view(&t->shape, 1, &sample));
        const quern_dtype dtype = sample.dtype == QUERN_F64 ? QUERN_F32 : sample.dtype;
        b->inputs[b->count++] = (loader_input){t->name, dtype, sample.count};
    }
    return QUERN_OK;
}

static quern_status rows_allocate(verify_batch *b, int64_t rows) {
    int64_t most = 0;
    for (int32_t i = 0; i < b->count; i++) {
        int64_t count = 0;
        if (!count_multiply(b->inputs[i].count, rows, &count))
            return quern_fail(QUERN_SHAPE, "verify: a batch of input %s is too large",
                              b->inputs[i].name);
        if (count > most) most = count;
        QUERN_TRY(arena_allocate(&b->memory, &b->data[i], count,
                                 quern_dtype_bytes(b->inputs[i].dtype), b->inputs[i].name));
    }
    return arena_allocate(&b->memory, &b->wide, most, sizeof *b->wide, "batch");
}

static quern_status first_batch(verify_batch *b, loader *l) {
    loader_batch first;
    QUERN_TRY(loader_start(l, 0, 0));
    QUERN_TRY(loader_next(l, &first));
    if (first.end) return quern_fail(QUERN_INPUT, "verify: the dataset has no samples");
    b->sample_count = first.sample_count;
    return QUERN_OK;
}

static quern_status dataset_load(verify_batch *b, const quern_graph *graph,
                                 const quern_verify_desc *d) {
    loader *l = NULL;
    const int64_t length = quern_dataset_length(d->dataset);
    int64_t rows = d->batch_size ? d->batch_size : DEFAULT_BATCH_SIZE;
    if (rows < 0)
        return quern_fail(QUERN_INVALID, "verify: batch_size is %" PRId64 ", not 1 or more", rows);
    if (length > 0 && rows > length) rows = length;
    QUERN_TRY(rows_allocate(b, rows));
    QUERN_TRY(loader_create(&l, &(loader_desc){.host = graph->host,
                                               .dataset = d->dataset,
                                               .inputs = b->inputs,
                                               .input_count = b->count,
                                               .transforms = d->transforms,
                                               .transform_count = d->transform_count,
                                               .batch_size = rows,
                                               .seed = graph->device->seed,
                                               .slot_count = 1,
                                               .slots = b->data}));
    const quern_status status = first_batch(b, l);
    error_text text;
    error_save(&text);
    loader_destroy(l);
    error_restore(&text);
    return status;
}

static const void *rows_find(const quern_batch *batch, const char *name) {
    for (int32_t i = 0; i < batch->field_count; i++)
        if (batch->names[i] && strcmp(batch->names[i], name) == 0) return batch->data[i];
    return NULL;
}

static quern_status application_load(verify_batch *b, const quern_verify_desc *d) {
    const quern_batch *from = d->batch;
    if (from->on_device || from->ready || d->batch_size || d->transform_count)
        return quern_fail(QUERN_INVALID,
                          "verify: a batch is in host memory and has its own size; %s is set",
                          from->on_device ? "on_device"
                          : from->ready   ? "ready"
                          : d->batch_size ? "batch_size"
                                          : "transform_count");
    if (from->sample_count < 1 || from->field_count < 0 || from->field_count > QUERN_FIELD_MAX)
        return quern_fail(QUERN_INVALID, "verify: a batch of %" PRId64 " samples and %d fields",
                          from->sample_count, (int)from->field_count);
    b->sample_count = from->sample_count;
    QUERN_TRY(rows_allocate(b, b->sample_count));
    for (int32_t i = 0; i < b->count; i++) {
        const loader_input *input = &b->inputs[i];
        const void *rows = rows_find(from, input->name);
        if (!rows)
            return quern_fail(QUERN_INVALID, "verify: the batch has no data for input %s",
                              input->name);
        memcpy(b->data[i], rows,
               (size_t)(input->count * b->sample_count) * quern_dtype_bytes(input->dtype));
    }
    return QUERN_OK;
}

quern_status batch_load(verify_batch *b, const quern_graph *graph, const quern_verify_desc *desc) {
    if (!desc->dataset == !desc->batch)
        return quern_fail(QUERN_INVALID, "verify: expected a dataset or a batch, found %s",
                          desc->batch ? "both" : "neither");
    QUERN_TRY(inputs_find(b, graph));
    return desc->batch ? application_load(b, desc) : dataset_load(b, graph, desc);
}

quern_status batch_write(const verify_batch *b, quern_graph *graph, quern_program *program) {
    for (int32_t i = 0; i < b->count; i++) {
        const quern_tensor *tensor = quern_tensor_find(graph, b->inputs[i].name);
        const void *from = b->data[i];
        const int64_t count = b->inputs[i].count * b->sample_count;
        if (!quern_program_input(program, tensor)) continue; /* its loss does not need it */
        if (tensor->shape.dtype == QUERN_F64) {
            const float *narrow = b->data[i];
            for (int64_t k = 0; k < count; k++) b->wide[k] = (double)narrow[k];
            from = b->wide;
        }
        QUERN_TRY(quern_program_write(program, tensor, from,
                                      (size_t)count * quern_dtype_bytes(tensor->shape.dtype)));
    }
    return QUERN_OK;
}

void batch_release(verify_batch *b) { arena_release(&b->memory); }
