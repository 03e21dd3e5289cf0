/* unit.c - a program for one batch size, the tasks around it, and their capture.
 *
 * An attempt of a training unit is its segments (loop/attempt.h); in a window of several batches
 * each batch's unit gives those up to its backward pass, and the other two are `closing`'s, which
 * has no program. Segments that no callback wants to look between are captured together and
 * replayed with one launch;
 * without capture the same calls are issued one by one. Everything that the calls point to lives in
 * the unit and stays as it is. Owns the program and the captures; allocates when a unit is planned
 * and bound, or windows are opened, never after. */
#include "trainer.h"

#include <inttypes.h>

static quern_status outputs_collect(quern_trainer *t, unit_kind kind, quern_program_desc *out) {
    const quern_trainer_desc *d = &t->desc;
    quern_tensor **outputs = NULL;
    int32_t count = 0;
    const int64_t capacity =
        1 + (int64_t)d->output_count + QUERN_HOST_METRIC_TENSORS * (int64_t)d->metric_count;
    QUERN_TRY(arena_allocate(&t->memory, &outputs, capacity, sizeof *outputs, "outputs"));
    if (kind == UNIT_WEIGH && d->loss_weight) outputs[count++] = d->loss_weight;
    if (kind == UNIT_TRAIN || kind == UNIT_PREDICT)
        for (int32_t i = 0; i < d->output_count; i++) outputs[count++] = d->outputs[i];
    for (int32_t i = 0; (kind == UNIT_TRAIN || kind == UNIT_EVALUATE) && i < d->metric_count; i++) {
        const quern_metric *m = &d->metrics[i];
        if (kind == UNIT_TRAIN && !metric_in_training(m)) continue;
        if (m->value) outputs[count++] = m->value;
        if (m->weight) outputs[count++] = m->weight;
        for (int32_t j = 0; j < m->host.tensor_count; j++) outputs[count++] = m->host.tensors[j];
    }
    out->outputs = outputs;
    out->output_count = count;
    return QUERN_OK;
}

quern_status unit_plan(trainer_unit **out, quern_trainer *t, unit_kind kind, int64_t batch_size) {
    trainer_unit *unit = NULL;
    const bool loss = kind == UNIT_TRAIN || kind == UNIT_EVALUATE;
    quern_program_desc desc = {
        .graph = t->graph,
        .parameters = unit_parameters(t, kind),
        .batch_size = batch_size,
        .training = kind == UNIT_TRAIN || kind == UNIT_WEIGH,
        .no_backward = kind == UNIT_WEIGH,
        .loss = loss ? t->desc.loss : NULL,
        .loss_weight = loss ? t->desc.loss_weight : NULL,
        .no_fusion = t->desc.no_fusion,
        .precision = t->desc.precision,
    };
    QUERN_TRY(outputs_collect(t, kind, &desc));
    QUERN_TRY(arena_allocate(&t->memory, &unit, 1, sizeof *unit, "compiled batch size"));
    unit->kind = kind;
    unit->batch_size = batch_size;
    t->backend->record_use(t->device->memory, t->algorithms);
    const quern_status status = program_plan(&unit->program, &desc, !t->algorithms);
    t->backend->record_use(t->device->memory, NULL);
    if (status != QUERN_OK) return status;
    unit->next = t->units;
    t->units = unit;
    *out = unit;
    return QUERN_OK;
}

static void sum_add(quern_trainer *t, trainer_unit *unit, double *sums, const quern_tensor *value) {
    const int32_t i = unit->sum_count++;
    unit->sums[i] = (task_accumulate){.sums = sums, .constant = (double)unit->batch_size};
    if (value) unit->sums[i].value = program_view(unit->program, value);
    unit->sum_args[i] = (quern_kernel_args){
        .attributes = &unit->sums[i], .run = &t->state->run, .stream = t->stream};
}

static quern_status sums_prepare(quern_trainer *t, trainer_unit *unit) {
    const bool train = unit->kind == UNIT_TRAIN;
    const metric_place *places = train ? t->train_places : t->eval_places;
    double *sums = train ? t->sums : t->sums + t->train_sum_count;
    const int64_t capacity = 2 + 2 * (int64_t)t->desc.metric_count;
    QUERN_TRY(arena_allocate(&t->memory, &unit->sums, capacity, sizeof *unit->sums, "sums"));
    QUERN_TRY(
        arena_allocate(&t->memory, &unit->sum_args, capacity, sizeof *unit->sum_args, "sums"));
    if (!train) {
        sum_add(t, unit, &sums[0], t->desc.loss);
        sum_add(t, unit, &sums[1], t->desc.loss_weight);
    }
    for (int32_t i = 0; i < t->desc.metric_count; i++) {
        const quern_metric *m = &t->desc.metrics[i];
        if (places[i].count == 0) continue;
        sum_add(t, unit, &sums[places[i].first], m->value);
        if (metric_is_weighted(m)) sum_add(t, unit, &sums[places[i].first + 1], m->weight);
    }
    return QUERN_OK;
}

static quern_kernel_args args_of(const quern_trainer *t, const void *attributes) {
    return (quern_kernel_args){
        .attributes = attributes, .run = &t->state->run, .stream = t->stream};
}

static void weigh_prepare(quern_trainer *t, trainer_unit *unit) {
    unit->weigh = (task_weigh){.state = t->state, .samples = unit->batch_size};
    if (unit->kind == UNIT_TRAIN) unit->weigh.loss = program_view(unit->program, t->desc.loss);
    if (t->desc.loss_weight) unit->weigh.weight = program_view(unit->program, t->desc.loss_weight);
    unit->weigh_args = args_of(t, &unit->weigh);
}

static quern_status training_prepare(quern_trainer *t, trainer_unit *unit) {
    unit->loss = (task_accumulate){.sums = &t->state->loss,
                                   .value = program_view(unit->program, t->desc.loss)};
    unit->seed = (task_seed){.state = t->state,
                             .gradient = program_gradient_view(unit->program, t->desc.loss)};
    if (!unit->seed.gradient.data)
        return quern_fail(QUERN_INVALID, "trainer: loss %s depends on no trainable parameter",
                          t->desc.loss->name);
    unit->loss_args = args_of(t, &unit->loss);
    unit->seed_args = args_of(t, &unit->seed);
    return QUERN_OK;
}

static quern_status tasks_prepare(quern_trainer *t, trainer_unit *unit) {
    const bool train = unit->kind == UNIT_TRAIN;
    if (train || unit->kind == UNIT_EVALUATE) QUERN_TRY(sums_prepare(t, unit));
    if (train || unit->kind == UNIT_WEIGH) weigh_prepare(t, unit);
    return train ? training_prepare(t, unit) : QUERN_OK;
}

static quern_status call_task(const quern_trainer *t, task_id task, const quern_kernel_args *args) {
    return t->backend->call(t->stream, t->backend->tasks[task], args);
}

/* What a weighing pass leaves in pending state is written anew by the first microbatch, so that it
 * may begin each one from what is committed. */
static quern_status issue_forward(const quern_trainer *t, const trainer_unit *unit,
                                  window_turn turn) {
    const bool train = unit->kind == UNIT_TRAIN, following = train && turn == TURN_FOLLOWING;
    QUERN_TRY(program_issue(unit->program, following ? PROGRAM_FORWARD_FOLLOWING : PROGRAM_FORWARD,
                            t->stream));
    if (unit->kind == UNIT_WEIGH || (train && turn == TURN_ONLY))
        QUERN_TRY(call_task(t, TASK_weigh, &unit->weigh_args));
    if (train && turn != TURN_ONLY) QUERN_TRY(call_task(t, TASK_accumulate, &unit->loss_args));
    for (int32_t i = 0; i < unit->sum_count; i++)
        QUERN_TRY(call_task(t, TASK_accumulate, &unit->sum_args[i]));
    return QUERN_OK;
}

static quern_status issue_segment(const quern_trainer *t, const trainer_unit *unit,
                                  window_turn turn, segment s) {
    switch (s) {
    case SEGMENT_GATHER: return gather_issue(t, unit->gather);
    case SEGMENT_FORWARD: return issue_forward(t, unit, turn);
    case SEGMENT_BACKWARD:
        QUERN_TRY(call_task(t, TASK_seed, &unit->seed_args));
        return program_issue(unit->program,
                             turn == TURN_FOLLOWING ? PROGRAM_BACKWARD_FOLLOWING : PROGRAM_BACKWARD,
                             t->stream);
    case SEGMENT_NORM: return optimizer_issue_norm(&t->optimizer);
    case SEGMENT_UPDATE:
        QUERN_TRY(optimizer_issue_decide(&t->optimizer));
        QUERN_TRY(optimizer_issue_update(&t->optimizer));
        QUERN_TRY(average_issue(t));
        QUERN_TRY(optimizer_issue_commit(&t->optimizer));
        return call_task(t, TASK_record, &t->record_args);
    case SEGMENT_COUNT: break;
    }
    return QUERN_OK;
}

quern_status unit_issue_eager(const quern_trainer *t, const trainer_unit *unit, window_turn turn,
                              segment first, segment last) {
    if (turn != TURN_ONLY && first <= SEGMENT_FORWARD)
        QUERN_TRY(call_task(t, TASK_open, &t->open_args[turn]));
    for (int s = (int)first; s <= (int)last; s++)
        QUERN_TRY(issue_segment(t, unit, turn, (segment)s));
    return QUERN_OK;
}

static bool is_split_behind(const quern_trainer *t, segment s) {
    switch (s) {
    case SEGMENT_GATHER: return false;
    case SEGMENT_FORWARD: return t->subscribed[QUERN_EVENT_loss_ready];
    case SEGMENT_BACKWARD:
        return t->subscribed[QUERN_EVENT_micro_end] || t->subscribed[QUERN_EVENT_grads_ready];
    case SEGMENT_NORM: return t->subscribed[QUERN_EVENT_update_begin];
    case SEGMENT_UPDATE:
    case SEGMENT_COUNT: break;
    }
    return true;
}

segment unit_run_end(const quern_trainer *t, segment first, segment last) {
    int s = (int)first;
    while (s < (int)last && !is_split_behind(t, (segment)s)) s++;
    return (segment)s;
}

/* The capture is ended whatever happened inside it, so that the stream runs again. */
quern_status trainer_record(const quern_trainer *t,
                            quern_status (*issue)(const quern_trainer *t, const void *context),
                            const void *context, backend_capture **out) {
    QUERN_TRY(t->backend->capture_begin(t->stream));
    const quern_status issued = issue(t, context);
    error_text text;
    if (issued != QUERN_OK) error_save(&text);
    const quern_status ended = t->backend->capture_end(t->stream, out);
    if (issued == QUERN_OK) return ended;
    error_restore(&text);
    return issued;
}

/* Segments of a unit. */
typedef struct unit_run {
    const trainer_unit *unit;
    window_turn turn;
    segment first, last;
} unit_run;

static quern_status run_issue(const quern_trainer *t, const void *context) {
    const unit_run *run = context;
    return unit_issue_eager(t, run->unit, run->turn, run->first, run->last);
}

static quern_status runs_capture(quern_trainer *t, trainer_unit *unit, window_turn turn,
                                 segment first, segment last) {
    if (t->desc.no_capture || t->device->trace_ops) return QUERN_OK;
    for (int at = (int)first; at <= (int)last;) {
        const segment end = unit_run_end(t, (segment)at, last);
        const unit_run run = {unit, turn, (segment)at, end};
        if (!unit->captures[turn][at])
            QUERN_TRY(trainer_record(t, run_issue, &run, &unit->captures[turn][at]));
        at = (int)end + 1;
    }
    return QUERN_OK;
}

/* With the gather, where there is one, and without it where other data may come. */
static quern_status turn_capture(quern_trainer *t, trainer_unit *unit, window_turn turn,
                                 segment last) {
    if (unit->gather) QUERN_TRY(runs_capture(t, unit, turn, SEGMENT_GATHER, last));
    if (unit->gather && !t->uploads) return QUERN_OK;
    return runs_capture(t, unit, turn, SEGMENT_FORWARD, last);
}

static quern_status window_capture(quern_trainer *t, trainer_unit *unit) {
    const bool train = unit->kind == UNIT_TRAIN;
    if (!train && unit->kind != UNIT_WEIGH) return QUERN_OK;
    const segment last = train ? SEGMENT_BACKWARD : SEGMENT_FORWARD;
    QUERN_TRY(turn_capture(t, unit, TURN_FIRST, last));
    return turn_capture(t, unit, TURN_FOLLOWING, last);
}

/* A unit whose making failed stays in the list, released. */
static quern_status captures_make(quern_trainer *t, trainer_unit *unit) {
    if (!unit->program) return QUERN_OK;
    const segment last = unit->kind == UNIT_TRAIN ? SEGMENT_UPDATE : SEGMENT_FORWARD;
    if (unit->kind != UNIT_WEIGH) QUERN_TRY(turn_capture(t, unit, TURN_ONLY, last));
    return t->windows ? window_capture(t, unit) : QUERN_OK;
}

quern_status unit_capture(quern_trainer *t, trainer_unit *unit) {
    const bool train = unit->kind == UNIT_TRAIN || unit->kind == UNIT_WEIGH;
    if (train) QUERN_TRY(gather_prepare(t, &t->train_feed, unit, &unit->gather));
    return captures_make(t, unit);
}

quern_status units_open_uploads(quern_trainer *t) {
    if (t->uploads) return QUERN_OK;
    quern_status status = QUERN_OK;
    t->uploads = true; /* which the captures look at */
    for (trainer_unit *u = t->units; u && status == QUERN_OK; u = u->next)
        status = captures_make(t, u);
    t->uploads = status == QUERN_OK;
    return status;
}

quern_status units_open_windows(quern_trainer *t) {
    if (t->windows) return QUERN_OK;
    t->closing.kind = UNIT_CLOSE;
    for (int turn = TURN_FIRST; turn < TURN_COUNT; turn++) {
        t->opens[turn] = (task_open){.state = t->state, .first = turn == TURN_FIRST};
        t->open_args[turn] = args_of(t, &t->opens[turn]);
    }
    QUERN_TRY(runs_capture(t, &t->closing, TURN_ONLY, SEGMENT_NORM, SEGMENT_UPDATE));
    for (trainer_unit *u = t->units; u; u = u->next) QUERN_TRY(window_capture(t, u));
    t->windows = true;
    return QUERN_OK;
}

quern_status unit_issue(const quern_trainer *t, const trainer_unit *unit, window_turn turn,
                        segment first, segment last) {
    if (unit->captures[turn][first])
        return t->backend->capture_launch(unit->captures[turn][first], t->stream);
    return unit_issue_eager(t, unit, turn, first, last);
}

/* Programs share the trainer's blocks; one that needs more (a size compiled later) has its own. */
static quern_status blocks_choose(quern_trainer *t, trainer_unit *unit, void **block,
                                  void **inputs) {
    const size_t arena_bytes = program_arena_bytes(unit->program);
    const size_t input_bytes = program_input_bytes(unit->program);
    *block = t->arena_block;
    *inputs = t->input_block;
    if (arena_bytes > t->planned.activation_bytes) {
        unit->own_arena_bytes = arena_bytes;
        QUERN_TRY(t->backend->allocate(t->device->memory, &unit->own_arena, arena_bytes));
        *block = unit->own_arena;
    }
    if (input_bytes > t->planned.input_bytes) {
        unit->own_input_bytes = input_bytes;
        QUERN_TRY(t->backend->allocate(t->device->memory, &unit->own_inputs, input_bytes));
        *inputs = unit->own_inputs;
    }
    return QUERN_OK;
}

quern_status unit_bind(quern_trainer *t, trainer_unit *unit) {
    void *block = NULL, *inputs = NULL;
    QUERN_TRY(blocks_choose(t, unit, &block, &inputs));
    QUERN_TRY(program_bind(unit->program, block, inputs, &t->state->run));
    return tasks_prepare(t, unit);
}

void unit_release(quern_trainer *t, trainer_unit *unit) {
    for (int turn = 0; turn < TURN_COUNT; turn++)
        for (int s = 0; s < SEGMENT_COUNT; s++)
            if (unit->captures[turn][s]) t->backend->capture_destroy(unit->captures[turn][s]);
    quern_program_destroy(unit->program);
    if (unit->own_arena)
        t->backend->release(t->device->memory, unit->own_arena, unit->own_arena_bytes);
    if (unit->own_inputs)
        t->backend->release(t->device->memory, unit->own_inputs, unit->own_input_bytes);
    *unit = (trainer_unit){.kind = UNIT_KIND_COUNT, .next = unit->next};
}

trainer_unit *unit_find(const quern_trainer *t, unit_kind kind, int64_t batch_size) {
    for (trainer_unit *u = t->units; u; u = u->next)
        if (u->kind == kind && u->batch_size == batch_size) return u;
    return NULL;
}

/* What a program takes beside the trainer's blocks. */
static size_t own_bytes(const quern_trainer *t, const trainer_unit *unit) {
    const size_t arena_bytes = program_arena_bytes(unit->program);
    const size_t input_bytes = program_input_bytes(unit->program);
    return (arena_bytes > t->planned.activation_bytes ? arena_bytes : 0) +
           (input_bytes > t->planned.input_bytes ? input_bytes : 0);
}

static bool unit_measure(quern_trainer *t, unit_kind kind, int64_t batch_size, size_t *out) {
    trainer_unit *unit = NULL;
    if (unit_plan(&unit, t, kind, batch_size) != QUERN_OK) return false;
    *out = own_bytes(t, unit);
    unit_release(t, unit);
    return true;
}

/* 0: none, not even of one sample. */
static int64_t largest_of(quern_trainer *t, unit_kind kind, int64_t too_large, size_t room) {
    int64_t fits = 0;
    while (too_large - fits > 1) {
        const int64_t middle = fits + (too_large - fits) / 2;
        size_t bytes;
        if (unit_measure(t, kind, middle, &bytes) && bytes <= room)
            fits = middle;
        else
            too_large = middle;
    }
    return fits;
}

/* Puts the plan, and the largest batch for which there is room, before this thread's sentence. */
static quern_status unit_explain(quern_trainer *t, unit_kind kind, int64_t batch_size) {
    error_text text;
    quern_device_info info = {0};
    size_t bytes = 0;
    int64_t fits = batch_size;
    char plan[MEMORY_WORDS], advice[MEMORY_ADVICE];
    error_save(&text);
    const bool known = unit_measure(t, kind, batch_size, &bytes);
    if (known && t->backend->info(t->device->memory, &info) == QUERN_OK)
        fits = largest_of(t, kind, batch_size, (size_t)info.memory_free_bytes);
    error_restore(&text);
    if (!known) return QUERN_DEVICE_MEMORY;
    memory_write(&t->planned, plan);
    memory_advise(fits, batch_size, advice);
    return error_prefix(QUERN_DEVICE_MEMORY,
                        "a program for a batch of %" PRId64 " needs %zu bytes beside the trainer's "
                        "%zu (%s)%s",
                        batch_size, bytes, t->planned.peak_bytes, plan, advice);
}

quern_status unit_get(trainer_unit **out, quern_trainer *t, unit_kind kind, int64_t batch_size) {
    static const char *const names[] = {"training", "the weight of a window", "evaluation",
                                        "prediction"};
    *out = unit_find(t, kind, batch_size);
    if (*out) return QUERN_OK;
    log_write(t->host, QUERN_LOG_INFO,
              "a batch of %" PRId64 " samples comes for the first time in %s: one more program is "
              "compiled",
              batch_size, names[kind]);
    trainer_unit *unit = NULL;
    QUERN_TRY(unit_plan(&unit, t, kind, batch_size));
    quern_status status = unit_bind(t, unit);
    if (status == QUERN_OK) status = unit_capture(t, unit);
    if (status != QUERN_OK) {
        error_text text;
        error_save(&text);
        unit_release(t, unit);
        error_restore(&text);
        return status == QUERN_DEVICE_MEMORY ? unit_explain(t, kind, batch_size) : status;
    }
    *out = unit;
    return algorithms_note(t);
}
