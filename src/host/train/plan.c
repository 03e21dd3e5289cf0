/* plan.c - which programs a run needs, and every byte of device memory, before any is allocated.
 * quern_trainer_create allocates what this computes; quern_trainer_memory only computes it.
 * Pinned staging is host memory and is not counted. */
#include "trainer.h"

#include <inttypes.h>
#include <stdio.h>

static quern_status plan_unit(quern_trainer *t, unit_kind kind, int64_t batch_size) {
    trainer_unit *unit = unit_find(t, kind, batch_size);
    return unit ? QUERN_OK : unit_plan(&unit, t, kind, batch_size);
}

/* The program of a size, and in training what weighs a window of such batches. */
static quern_status plan_size(quern_trainer *t, unit_kind kind, int64_t batch_size) {
    QUERN_TRY(plan_unit(t, kind, batch_size));
    if (kind != UNIT_TRAIN || t->desc.accumulate == 1) return QUERN_OK;
    return plan_unit(t, UNIT_WEIGH, batch_size);
}

static quern_status plan_units_of(quern_trainer *t, unit_kind kind, const quern_dataset *dataset,
                                  const char *name, bool drop_last) {
    const int64_t full = t->desc.batch_size;
    const int64_t length = dataset ? quern_dataset_length(dataset) : -1;
    if (length == 0) return quern_fail(QUERN_INPUT, "trainer: the set %s has no samples", name);
    if (length > 0 && length < full && drop_last)
        return quern_fail(QUERN_INPUT,
                          "trainer: the training set has %" PRId64 " samples, fewer than the batch "
                          "size %" PRId64 ", and drop_last leaves none",
                          length, full);
    if (length < 0 || length >= full) QUERN_TRY(plan_size(t, kind, full));
    if (length > 0 && length % full != 0 && !drop_last)
        QUERN_TRY(plan_size(t, kind, length % full));
    return QUERN_OK;
}

/* Training sums first, of what is a number there. Evaluation: loss, its weight, then all. */
static void place_sums(quern_trainer *t) {
    int64_t train = 0, eval = 2;
    for (int32_t i = 0; i < t->desc.metric_count; i++) {
        const quern_metric *m = &t->desc.metrics[i];
        const int64_t count = metric_sum_count(m), in_training = metric_in_training(m) ? count : 0;
        t->train_places[i] = (metric_place){.first = train, .count = in_training};
        t->eval_places[i] = (metric_place){.first = eval, .count = count};
        train += in_training;
        eval += count;
    }
    t->train_sum_count = train;
    t->eval_sum_count = eval;
}

static bool memory_total(quern_memory *m) {
    m->peak_bytes = m->parameter_bytes;
    return size_add(m->peak_bytes, m->gradient_bytes, &m->peak_bytes) &&
           size_add(m->peak_bytes, m->optimizer_bytes, &m->peak_bytes) &&
           size_add(m->peak_bytes, m->activation_bytes, &m->peak_bytes) &&
           size_add(m->peak_bytes, m->input_bytes, &m->peak_bytes) &&
           size_add(m->peak_bytes, m->staging_bytes, &m->peak_bytes) &&
           size_add(m->peak_bytes, m->data_bytes, &m->peak_bytes);
}

/* What quern_parameters_create takes, but for the gradients. */
static size_t value_bytes(const quern_parameters *p) {
    const size_t element = quern_dtype_bytes(p->dtype);
    return (size_t)(p->value_count + 2 * p->buffer_count) * element + parameters_copy_bytes(p);
}

static size_t gradient_bytes(const quern_parameters *p) {
    return (size_t)p->trainable_count * quern_dtype_bytes(p->dtype);
}

size_t memory_still_needed(const quern_trainer *t) {
    const quern_parameters *p = t->parameters;
    return t->planned.peak_bytes - (p->values ? value_bytes(p) + gradient_bytes(p) : 0);
}

static quern_status memory_count(quern_trainer *t) {
    const quern_parameters *p = t->parameters;
    quern_memory *m = &t->planned;
    *m = (quern_memory){
        .parameter_bytes =
            value_bytes(p) + average_bytes(t) + (t->average ? parameters_copy_bytes(p) : 0),
        .gradient_bytes = gradient_bytes(p),
    };
    size_t rule_bytes = 0;
    QUERN_TRY(optimizer_bytes(&t->desc.optimizer, p, &rule_bytes));
    m->optimizer_bytes = rule_bytes + sizeof(task_state) +
                         (size_t)(t->train_sum_count + t->eval_sum_count) * sizeof(double);
    for (const trainer_unit *u = t->units; u; u = u->next) {
        const size_t bytes = program_arena_bytes(u->program);
        const size_t inputs = program_input_bytes(u->program);
        const size_t workspace = program_workspace_bytes(u->program);
        if (workspace > m->workspace_bytes) m->workspace_bytes = workspace;
        if (bytes > m->activation_bytes) m->activation_bytes = bytes;
        if (inputs > m->input_bytes) m->input_bytes = inputs;
    }
    if (!memory_total(m)) return quern_fail(QUERN_SHAPE, "trainer: the bytes needed do not fit");
    return QUERN_OK;
}

quern_status trainer_plan(quern_trainer *t) {
    place_sums(t);
    average_plan(t);
    QUERN_TRY(plan_units_of(t, UNIT_TRAIN, t->desc.train, "train", t->desc.drop_last));
    for (int32_t i = 0; i < t->set_count; i++)
        QUERN_TRY(plan_units_of(t, UNIT_EVALUATE, t->sets[i].dataset, t->sets[i].name, false));
    QUERN_TRY(memory_count(t));
    QUERN_TRY(resident_plan(t));
    QUERN_TRY(upload_plan(t));
    if (memory_total(&t->planned)) return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "trainer: the bytes needed do not fit");
}

static void scratch_trainer_release(quern_trainer *t, quern_parameters *p) {
    for (trainer_unit *u = t->units; u; u = u->next) unit_release(t, u);
    parameters_release(p);
    arena_release(&t->memory);
}

quern_status quern_trainer_memory(quern_memory *out, const quern_trainer_desc *desc) {
    if (!out) return quern_fail(QUERN_INVALID, "quern_trainer_memory: out is NULL");
    *out = (quern_memory){0};
    if (!desc || !desc->graph) return quern_fail(QUERN_INVALID, "trainer: graph is NULL");
    quern_device *device = desc->graph->device;
    quern_trainer *t = NULL;
    QUERN_TRY(memory_allocate(&device->host, &t, 1, sizeof *t, "trainer"));
    quern_parameters p = {0};
    t->device = device;
    t->host = &device->host;
    t->backend = device->backend;
    t->memory = (arena){.host = t->host};
    t->parameters = &p;
    quern_status status = trainer_resolve(t, desc);
    if (status == QUERN_OK) status = parameters_plan(&p, t->graph, t->desc.precision);
    if (status == QUERN_OK) status = trainer_plan(t);
    if (status == QUERN_OK) *out = t->planned;
    scratch_trainer_release(t, &p);
    memory_release(t->host, t, 1, sizeof *t);
    return status;
}

/* The system's free memory is no limit of the CPU's: what it does not give, it says itself. */
quern_status memory_preflight(const quern_trainer *t) {
    const size_t needed = memory_still_needed(t);
    quern_device_info info = {0};
    if (t->backend->kind == QUERN_BACKEND_CPU) return QUERN_OK;
    QUERN_TRY(t->backend->info(t->device->memory, &info));
    if (needed <= (size_t)info.memory_free_bytes) return QUERN_OK;
    return quern_fail(QUERN_DEVICE_MEMORY,
                      "%zu bytes more are needed, %" PRId64 " of %" PRId64 " are free on %s",
                      needed, info.memory_free_bytes, info.memory_bytes, info.name);
}

/* The largest batch whose plan fits into `room`; 0 when none does. */
static int64_t largest_batch(const quern_trainer_desc *desc, int64_t full, size_t room) {
    int64_t fits = 0, too_large = full + 1;
    while (too_large - fits > 1) {
        quern_trainer_desc smaller = *desc;
        quern_memory m;
        smaller.batch_size = fits + (too_large - fits) / 2;
        if (quern_trainer_memory(&m, &smaller) == QUERN_OK && m.peak_bytes <= room)
            fits = smaller.batch_size;
        else
            too_large = smaller.batch_size;
    }
    return fits;
}

void memory_write(const quern_memory *m, char to[MEMORY_WORDS]) {
    snprintf(to, MEMORY_WORDS,
             "parameters %zu, gradients %zu, optimizer %zu, activations %zu with a workspace of up "
             "to %zu, inputs %zu, their staging slots %zu, resident sets %zu",
             m->parameter_bytes, m->gradient_bytes, m->optimizer_bytes, m->activation_bytes,
             m->workspace_bytes, m->input_bytes, m->staging_bytes, m->data_bytes);
}

void memory_advise(int64_t fits, int64_t batch, char to[MEMORY_ADVICE]) {
    to[0] = 0;
    if (fits == 0) snprintf(to, MEMORY_ADVICE, "; no batch size fits");
    if (fits > 0 && fits < batch)
        snprintf(to, MEMORY_ADVICE, "; a batch of %" PRId64 " would fit", fits);
}

quern_status memory_explain(const quern_trainer_desc *desc) {
    const quern_device *device = desc->graph->device;
    const int64_t batch = desc->batch_size > 0 ? desc->batch_size : 64;
    quern_device_info info = {0};
    quern_memory m = {0};
    error_text text;
    error_save(&text);
    int64_t fits = batch;
    const bool known = quern_trainer_memory(&m, desc) == QUERN_OK;
    if (known && device->backend->info(device->memory, &info) == QUERN_OK)
        fits = largest_batch(desc, batch, (size_t)info.memory_free_bytes);
    error_restore(&text);
    if (!known) return QUERN_DEVICE_MEMORY;
    char plan[MEMORY_WORDS], advice[MEMORY_ADVICE];
    memory_advise(fits, batch, advice);
    memory_write(&m, plan);
    return error_prefix(QUERN_DEVICE_MEMORY,
                        "the trainer needs %zu bytes with a batch of %" PRId64 " (%s)%s",
                        m.peak_bytes, batch, plan, advice);
}

quern_status memory_explain_run(const quern_trainer *t) {
    quern_device_info info = {0};
    error_text text;
    error_save(&text);
    const bool known = t->backend->info(t->device->memory, &info) == QUERN_OK;
    error_restore(&text);
    char plan[MEMORY_WORDS], rest[96] = "";
    memory_write(&t->planned, plan);
    if (known)
        snprintf(rest, sizeof rest, ", %" PRId64 " of %" PRId64 " are free", info.memory_free_bytes,
                 info.memory_bytes);
    return error_prefix(QUERN_DEVICE_MEMORY,
                        "the trainer holds %zu bytes with a batch of %" PRId64 " (%s)%s",
                        t->planned.peak_bytes, t->desc.batch_size, plan, rest);
}
