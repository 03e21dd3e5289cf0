/* save.c - when the state is copied off and handed to the writer, and what the run is told of it.
 *
 * A save costs the training thread the copy; the writer's thread does the rest. save_activity
 * counts what may have changed the state: where it has not moved since the last snapshot, saving
 * again would write the same bytes, so the run's end does not. A save that fails is logged and
 * told, and the run goes on; only a last one that fails is the run's failure. */
#include "state.h"
#include "../checkpoint/snapshot.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static bool saves(const quern_trainer *t) { return t->save && t->save->writer; }

static quern_status check_unread(const quern_save_desc *d) {
    const char *field = d->every           ? "every"
                        : d->keep_last     ? "keep_last"
                        : d->keep_best     ? "keep_best"
                        : d->keep_every    ? "keep_every"
                        : d->best_metric   ? "best_metric"
                        : d->two_snapshots ? "two_snapshots"
                        : d->resume        ? "resume"
                                           : NULL;
    if (d->best_is_largest && !field) field = "best_is_largest";
    if (!field) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "trainer: save.%s is set without save.directory", field);
}

static quern_status check_counts(const quern_save_desc *d) {
    if (d->every < 0 || d->keep_every < 0 || d->keep_best < 0)
        return quern_fail(QUERN_INVALID, "trainer: save.every, keep_best and keep_every are not "
                                         "negative");
    if (d->keep_last != 0 && (d->keep_last < 2 || d->keep_last > RETENTION_KEEP_MAX))
        return quern_fail(QUERN_INVALID,
                          "trainer: save.keep_last is %" PRId32 ", not 2 … %d: with one, there "
                          "would be none while it is replaced",
                          d->keep_last, RETENTION_KEEP_MAX);
    if (d->keep_best == 0 && (d->best_metric || d->best_is_largest))
        return quern_fail(QUERN_INVALID, "trainer: save.%s is set without keep_best",
                          d->best_metric ? "best_metric" : "best_is_largest");
    return QUERN_OK;
}

quern_status save_resolve(quern_trainer_desc *desc) {
    quern_save_desc *d = &desc->save;
    if (!d->directory) return check_unread(d);
    if (!d->directory[0]) return quern_fail(QUERN_INVALID, "trainer: save.directory is empty");
    QUERN_TRY(check_counts(d));
    if (d->keep_last == 0) d->keep_last = 3;
    if (d->keep_best > 0 && !d->best_metric) d->best_metric = "val/loss";
    return QUERN_OK;
}

/* NaN: no evaluation has given it, or not of these weights. */
static double metric_value_now(quern_trainer *t) {
    const int32_t count = t->evaluated_step == t->step ? scalars_eval_all(t, 0) : 0;
    for (int32_t i = 0; i < count; i++)
        if (strcmp(t->scalars[i].name, t->desc.save.best_metric) == 0) return t->scalars[i].value;
    return (double)NAN;
}

static quern_status check_metric(quern_trainer *t) {
    const char *name = t->desc.save.best_metric;
    const int32_t count = scalars_eval_all(t, 0);
    for (int32_t i = 0; i < count; i++)
        if (strcmp(t->scalars[i].name, name) == 0) return QUERN_OK;
    return quern_fail(QUERN_INVALID,
                      "trainer: save.best_metric is %s, which no evaluation of this run gives",
                      name);
}

/* On the writer's thread. A fit ends with nothing left to be written, so that no signal of a later
 * one meets what an earlier one saved. */
static bool writer_gives_up(void *self) { return trainer_at_once(self); }

static quern_status writer_create(quern_trainer *t) {
    trainer_save *save = t->save;
    const quern_save_desc *d = &t->desc.save;
    const checkpoint_content *content = &save->table.content;
    checkpoint_writer_desc desc = {
        .store = {.host = t->host,
                  .directory = d->directory,
                  .largest = content,
                  .retention = {.keep_last = d->keep_last,
                                .keep_best = d->keep_best,
                                .best_is_largest = d->best_is_largest,
                                .keep_every = d->keep_every},
                  .whole = t->resume_from,
                  .gives_up = writer_gives_up,
                  .gives_up_self = t},
        .slot_count = d->two_snapshots ? 2 : 1,
    };
    QUERN_TRY(checkpoint_snapshot_bytes(content, &save->block_bytes));
    for (int32_t i = 0; i < desc.slot_count; i++) {
        QUERN_TRY(
            t->backend->allocate_pinned(t->device->memory, &save->blocks[i], save->block_bytes));
        /* the gaps between tensors, and what a page fault would cost at the first save */
        memset(save->blocks[i], 0, save->block_bytes);
        desc.blocks[i] = save->blocks[i];
    }
    return checkpoint_writer_create(&save->writer, &desc);
}

/* Two runs in one directory would retire and resume each other's checkpoints. */
static quern_status check_alone(const quern_trainer *t) {
    int64_t newest = -1;
    generation_list list;
    QUERN_TRY(generation_list_read(&list, t->host, t->desc.save.directory));
    for (int64_t i = list.count; i-- > 0;)
        if (list.items[i].kind == GENERATION_WHOLE) newest = list.items[i].step;
    generation_list_release(&list, t->host);
    if (newest < 0) return QUERN_OK;
    return quern_fail(QUERN_INVALID,
                      "trainer: %s holds checkpoints of another run, the newest step-%" PRId64
                      ": set save.resume, or choose another directory",
                      t->desc.save.directory, newest);
}

quern_status save_create(quern_trainer *t) {
    const bool kept = t->desc.save.directory && !t->desc.fast_dev_run;
    QUERN_TRY(arena_allocate(&t->memory, &t->save, 1, sizeof *t->save, "saving"));
    t->save->saved_activity = -1;
    QUERN_TRY(rollback_check(t));
    QUERN_TRY(configuration_check_settings(t));
    QUERN_TRY(kept ? configuration_write(t, &t->save->configuration)
                   : arena_copy_string(&t->memory, &t->save->configuration, ""));
    QUERN_TRY(algorithms_note(t));
    QUERN_TRY(state_create(t));
    if (!kept) return QUERN_OK;
    if (t->desc.save.best_metric) QUERN_TRY(check_metric(t));
    t->save->table.content.metric = t->desc.save.best_metric;
    if (!t->desc.save.resume) QUERN_TRY(check_alone(t));
    QUERN_TRY(writer_create(t));
    return t->desc.save.resume ? resume_run(t) : QUERN_OK;
}

void save_release(quern_trainer *t) {
    if (!t->save) return;
    checkpoint_writer_destroy(t->save->writer);
    t->save->writer = NULL;
    for (int32_t i = 0; i < CHECKPOINT_SLOT_MAX; i++)
        if (t->save->blocks[i])
            t->backend->release_pinned(t->device->memory, t->save->blocks[i], t->save->block_bytes);
}

static quern_status outcome_tell(quern_trainer *t, const checkpoint_outcome *o) {
    trainer_save *save = t->save;
    save->durable = o->status == QUERN_OK;
    save->failure = o->reason;
    if (save->durable)
        save->path = o->path;
    else
        log_write(t->host, QUERN_LOG_WARNING, "step %" PRId64 " could not be saved: %s", o->step,
                  o->reason.text);
    return trainer_emit(t, &(emission){.kind = QUERN_EVENT_save_durable,
                                       .attempts = t->attempts,
                                       .batch = t->batch,
                                       .status = o->status,
                                       .reason = save->durable ? NULL : o->reason.text,
                                       .checkpoint = o->path});
}

quern_status save_poll(quern_trainer *t) {
    checkpoint_outcome outcome;
    while (saves(t) && checkpoint_writer_poll(t->save->writer, &outcome))
        QUERN_TRY(outcome_tell(t, &outcome));
    return QUERN_OK;
}

static quern_status reserve(quern_trainer *t, checkpoint_snapshot **out) {
    for (*out = NULL; !*out;) {
        QUERN_TRY(save_poll(t));
        checkpoint_writer_reserve(t->save->writer, out);
    }
    return QUERN_OK;
}

/* Spent training so far, the fits and processes before this one included. */
static int64_t train_ns_now(const quern_trainer *t) {
    const int64_t own_loop = t->desc.train ? 0 : t->train_ns;
    return t->train_ns_before + (t->fitting ? trainer_fit_ns(t) : own_loop);
}

int64_t save_activity(const quern_trainer *t) {
    return t->activity + t->parameters->writes + (t->average ? t->average->writes : 0);
}

static void counters_fill(quern_trainer *t, checkpoint_content *content) {
    content->counters = (checkpoint_counters){
        .step = t->step,
        .attempts = t->attempts,
        .samples = t->samples,
        .epoch = t->epoch,
        .batch = t->epoch_open ? t->counted_batch : 0,
        .sample = t->epoch_open ? t->counted_batch * t->desc.batch_size : 0,
        .train_ns = train_ns_now(t),
        .begun_step = t->begun.step,
        .begun_epoch = t->begun.epoch,
        .begun_samples = t->begun.samples,
        .begun_train_ns = t->begun.train_ns,
    };
    content->metric_value = content->metric ? metric_value_now(t) : (double)NAN;
}

quern_status save_run(quern_trainer *t) {
    checkpoint_snapshot *snapshot = NULL;
    if (!saves(t) || trainer_at_once(t)) return QUERN_OK;
    QUERN_TRY(trainer_emit_known(t, QUERN_EVENT_save_begin));
    QUERN_TRY(reserve(t, &snapshot));
    trace_begin(t->host, "train", "save", t->step);
    const quern_status status = state_copy(t, snapshot);
    trace_end(t->host);
    if (status != QUERN_OK) {
        checkpoint_writer_drop(t->save->writer, snapshot);
        if (!status_is_of_device(status)) return status;
        return error_prefix(status, "saving step %" PRId64, t->step);
    }
    counters_fill(t, &snapshot->content);
    snapshot->content.algorithms = t->save->algorithms;
    t->save->saved_activity = save_activity(t);
    checkpoint_writer_submit(t->save->writer, snapshot);
    return trainer_emit_known(t, QUERN_EVENT_save_snapshot);
}

quern_status save_wait(quern_trainer *t) {
    checkpoint_writer_wait(t->save->writer);
    return save_poll(t);
}

static bool is_saved(const quern_trainer *t) {
    return saves(t) && t->save->durable && t->save->saved_activity == save_activity(t);
}

quern_status save_finish(quern_trainer *t) {
    if (!saves(t)) return QUERN_OK;
    QUERN_TRY(save_wait(t));
    if (is_saved(t) || trainer_at_once(t)) return QUERN_OK;
    QUERN_TRY(save_run(t));
    QUERN_TRY(save_wait(t));
    if (t->save->durable || trainer_at_once(t)) return QUERN_OK;
    return quern_fail(QUERN_IO, "the last state could not be saved: %s", t->save->failure.text);
}

void save_settle(quern_trainer *t) {
    if (!saves(t)) return;
    error_text sentence;
    error_save(&sentence);
    if (save_wait(t) != QUERN_OK) log_write(t->host, QUERN_LOG_WARNING, "%s", quern_error());
    error_restore(&sentence);
}

const char *save_path(const quern_trainer *t) { return is_saved(t) ? t->save->path : NULL; }

quern_status quern_trainer_save(quern_trainer *t) {
    QUERN_TRY(trainer_enter(t, "save"));
    if (!saves(t)) return quern_fail(QUERN_INVALID, "save: the trainer has no save.directory");
    QUERN_TRY(quern_trainer_wait(t, NULL));
    QUERN_TRY(save_run(t));
    QUERN_TRY(save_wait(t));
    if (t->save->durable) return QUERN_OK;
    return quern_fail(QUERN_IO, "%s", t->save->failure.text);
}

static quern_status digest_of_copy(quern_trainer *t, arena *memory, char digest_text[33]) {
    const checkpoint_content *largest = &t->save->table.content;
    checkpoint_snapshot snapshot;
    size_t bytes = 0;
    void *block = NULL;
    QUERN_TRY(checkpoint_snapshot_bytes(largest, &bytes));
    QUERN_TRY(arena_allocate(memory, &block, (int64_t)bytes, 1, "a copy of the state"));
    QUERN_TRY(snapshot_create(&snapshot, memory, largest, block));
    QUERN_TRY(state_copy(t, &snapshot));
    return content_digest(t->host, &snapshot.content, digest_text);
}

quern_status quern_trainer_digest(quern_trainer *t, char digest_text[33]) {
    QUERN_TRY(trainer_enter(t, "digest"));
    QUERN_TRY(quern_trainer_wait(t, NULL));
    arena memory = {.host = t->host};
    const quern_status status = digest_of_copy(t, &memory, digest_text);
    arena_release(&memory);
    return status;
}

const char *quern_trainer_resumed(const quern_trainer *t) {
    return t && t->save ? t->save->resumed : NULL;
}
