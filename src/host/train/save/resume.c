/* resume.c - a checkpoint becomes the state of a trainer that has just been created: everything is
 * compared first, then loaded. A changed configuration is told key by key; what makes it another
 * run (its data, its optimizer, its model) is refused. Changes nothing on the disk. */
#include "state.h"
#include "../checkpoint/configuration.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { CHANGE_BYTES = 1200, REASON_BYTES = 800 };

typedef struct comparison {
    const quern_trainer *trainer;
    bool refused, another_model;
    char reason[REASON_BYTES]; /* of what is refused, the first of it */
    int64_t places;            /* of the model that differ; the first of them: */
    char place_reason[REASON_BYTES], place_sentence[CHANGE_BYTES];
} comparison;

static const char *words_before(const char *key) {
    if (strcmp(key, TRAINING_DATA_KEY "." SAMPLE_DIGEST_KEY) == 0 ||
        configuration_is_below(key, TRAINING_DIGESTS_KEY))
        return "the training set holds other samples: ";
    if (configuration_is_below(key, EVALUATION_DATA_KEY) ||
        configuration_is_below(key, EVALUATION_DIGESTS_KEY))
        return "an evaluation set holds other data: ";
    return "";
}

static void reason_write(char to[REASON_BYTES], const quern_checkpoint_change *change) {
    snprintf(to, REASON_BYTES, "%s%s was %s, is %s", words_before(change->key), change->key,
             change->before[0] ? change->before : "not set",
             change->now[0] ? change->now : "not set");
}

static bool is_of_model(const char *key) {
    return configuration_is_below(key, MODEL_KEY) || strcmp(key, "loss") == 0 ||
           strcmp(key, "loss_weight") == 0 || strcmp(key, MODEL_DIGEST_KEY) == 0;
}

/* Told together, when all were seen. The digest comes last, and is a place of its own only where it
 * alone knows. */
static void place_note(comparison *c, const quern_checkpoint_change *change) {
    c->another_model = c->another_model || change->another_run;
    if (strcmp(change->key, MODEL_DIGEST_KEY) == 0 && c->places > 0) return;
    if (c->places++ == 0) {
        reason_write(c->place_reason, change);
        snprintf(c->place_sentence, sizeof c->place_sentence, "%s", change->sentence);
    }
}

static void change_note(void *context, const quern_checkpoint_change *change) {
    comparison *c = context;
    if (is_of_model(change->key)) {
        place_note(c, change);
    } else if (!change->another_run) {
        log_write(c->trainer->host, change->exact ? QUERN_LOG_INFO : QUERN_LOG_WARNING,
                  "resume: %s", change->sentence);
    } else if (!c->refused) {
        reason_write(c->reason, change);
        c->refused = true;
    }
}

static quern_status configurations_compare(const quern_trainer *t, const quern_checkpoint *from) {
    comparison c = {.trainer = t};
    bool exact = false;
    QUERN_TRY(quern_checkpoint_compare(from->manifest.content.configuration, t->save->configuration,
                                       &exact, change_note, &c));
    if (c.refused)
        return quern_fail(QUERN_INPUT, "%s is the checkpoint of another run: %s", from->path,
                          c.reason);
    if (c.another_model)
        return quern_fail(
            QUERN_INPUT,
            "%s is the checkpoint of another model, which differs in %" PRId64 " place%s: %s",
            from->path, c.places, c.places == 1 ? "" : "s, the first", c.place_reason);
    if (c.places > 0) log_write(t->host, QUERN_LOG_WARNING, "resume: %s", c.place_sentence);
    if (c.places > 1)
        log_write(t->host, QUERN_LOG_WARNING,
                  "resume: nodes of the model that differ besides that one: %" PRId64,
                  c.places - 1);
    return QUERN_OK;
}

static quern_status callback_load(quern_trainer *t, int64_t i, const quern_checkpoint *from) {
    const checkpoint_callback *mine = &t->save->table.callbacks[i];
    const checkpoint_callback *found = state_find_callback(from, mine->name);
    if (!found) {
        log_write(t->host, QUERN_LOG_WARNING,
                  "resume: %s holds no state of callback %s, which starts anew", from->path,
                  mine->name);
        return QUERN_OK;
    }
    if (found->bytes != mine->bytes)
        return quern_fail(QUERN_INPUT,
                          "%s/" MANIFEST_FILE ": the state of callback %s has %zu bytes, here it "
                          "has %zu",
                          from->path, mine->name, found->bytes, mine->bytes);
    if (found->bytes > 0) memcpy(t->save->table.callback_data[i], found->data, found->bytes);
    return QUERN_OK;
}

static quern_status callbacks_load(quern_trainer *t, const quern_checkpoint *from) {
    for (int64_t i = 0; i < t->save->table.content.callback_count; i++)
        QUERN_TRY(callback_load(t, i, from));
    for (int64_t i = 0; i < from->manifest.content.callback_count; i++) {
        bool used = false;
        for (int64_t k = 0; k < t->save->table.content.callback_count; k++)
            used |= strcmp(t->save->table.callbacks[k].name, from->manifest.callbacks[i].name) == 0;
        if (!used)
            log_write(t->host, QUERN_LOG_WARNING,
                      "resume: the state of callback %s is left out: the run has none of that name",
                      from->manifest.callbacks[i].name);
    }
    return state_load(t, from, STATE_CALLBACK);
}

/* What both files say, and what cannot be more than something else. */
static quern_status counters_agree(const quern_trainer *t, const checkpoint_counters *c) {
    const loader *l = t->train_feed.loader;
    /* the epoch of a stream that broke and cannot start again */
    const bool gave_up = l && !loader_can_restart(l) && t->epoch == 0 && !t->epoch_open;
    const struct {
        const char *name;
        int64_t value;
        const char *other;
        int64_t most;
        bool equal;
    } rules[] = {
        {STATE_TRAINER "step", t->step, "the manifest's step", c->step, true},
        {STATE_TRAINER "attempts", t->attempts, "the manifest's attempts", c->attempts, true},
        {STATE_TRAINER "samples", t->samples, "the manifest's samples", c->samples, true},
        {STATE_TRAINER "epoch", t->epoch, "the manifest's epoch", c->epoch, true},
        {STATE_TRAINER "epochs_started", t->epochs_started, "the epochs over and open",
         gave_up ? t->epochs_started > 0 : t->epoch + t->epoch_open, true},
        {"step", c->step, "attempts", c->attempts, false},
        {STATE_TRAINER "evaluated_step", t->evaluated_step, "attempts", c->attempts, false},
        {STATE_TRAINER "evaluated_attempts", t->evaluated_attempts, "attempts", c->attempts, false},
        {STATE_TRAINER "failed_step", t->failed_step, "attempts", c->attempts, false},
        {"begun_step", c->begun_step, "attempts", c->attempts, false},
        {"begun_epoch", c->begun_epoch, "epoch", c->epoch, false},
        {"begun_samples", c->begun_samples, "samples", c->samples, false},
        {"begun_train_ns", c->begun_train_ns, "train_ns", c->train_ns, false},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const bool right =
            rules[i].equal ? rules[i].value == rules[i].most : rules[i].value <= rules[i].most;
        if (!right)
            return quern_fail(QUERN_INPUT,
                              "%s is %" PRId64 ", but %s %" PRId64 ": no run can have written both",
                              rules[i].name, rules[i].value, rules[i].other, rules[i].most);
    }
    return QUERN_OK;
}

/* In an open epoch, of batches that all have one size, and whose last one begins inside the set. */
static quern_status position_check(const quern_trainer *t, const checkpoint_counters *c) {
    const int64_t length = t->desc.train ? quern_dataset_length(t->desc.train) : -1;
    const int64_t size = c->batch > 0 ? c->sample / c->batch : 0;
    const bool inside = length < 0 || c->batch == 0 || c->sample - size < length;
    if (c->batch * size == c->sample && inside && (t->epoch_open || c->batch == 0)) return QUERN_OK;
    return quern_fail(QUERN_INPUT,
                      "the data position is batch %" PRId64 ", sample %" PRId64
                      " of an epoch that is %s, of a set of %" PRId64 " samples",
                      c->batch, c->sample, t->epoch_open ? "open" : "over", length);
}

static quern_status counters_check(const quern_trainer *t, const quern_checkpoint *from) {
    const checkpoint_counters *c = &from->manifest.content.counters;
    quern_status status = state_check_counters(t);
    if (status == QUERN_OK) status = counters_agree(t, c);
    if (status == QUERN_OK) status = position_check(t, c);
    return status == QUERN_OK ? status : error_prefix(status, "%s", from->path);
}

/* The data position counts batches; with another batch size it goes on with the batch that holds
 * the sample where it stood. */
static void position_adjust(quern_trainer *t, const quern_checkpoint *from) {
    const checkpoint_counters *c = &from->manifest.content.counters;
    const int64_t count = t->train_feed.loader ? loader_batch_count(t->train_feed.loader) : -1;
    t->next_batch = t->counted_batch = c->sample / t->desc.batch_size;
    if (count >= 0 && t->next_batch > count) t->next_batch = t->counted_batch = count;
    t->epoch_rewind = t->epoch_open && t->train_feed.loader;
}

static void begun_restore(quern_trainer *t, const checkpoint_counters *from) {
    t->train_ns_before = from->train_ns;
    t->begun = (trainer_begun){.step = from->begun_step,
                               .epoch = from->begun_epoch,
                               .samples = from->begun_samples,
                               .train_ns = from->begun_train_ns};
}

static quern_status state_resume(quern_trainer *t, const quern_checkpoint *from) {
    QUERN_TRY(state_check(t, from));
    QUERN_TRY(quern_checkpoint_load(from, t->graph, t->parameters));
    QUERN_TRY(state_load(t, from, STATE_OPTIMIZER));
    QUERN_TRY(state_load(t, from, STATE_AVERAGE));
    QUERN_TRY(state_load(t, from, STATE_TRAINER));
    QUERN_TRY(counters_check(t, from));
    QUERN_TRY(state_upload(t));
    QUERN_TRY(state_load(t, from, STATE_TRAINER)); /* the sums, which the upload has cleared */
    QUERN_TRY(state_load_held(t, from));
    position_adjust(t, from);
    begun_restore(t, &from->manifest.content.counters);
    return callbacks_load(t, from);
}

static quern_status load_emit(quern_trainer *t, quern_event_kind kind) {
    return trainer_emit(t, &(emission){.kind = kind,
                                       .attempts = t->attempts,
                                       .batch = t->batch,
                                       .checkpoint = t->save->resumed});
}

static quern_status resume_from(quern_trainer *t, const quern_checkpoint *from) {
    QUERN_TRY(arena_copy_string(&t->memory, &t->save->resumed, from->path));
    QUERN_TRY(load_emit(t, QUERN_EVENT_load_begin));
    QUERN_TRY(configurations_compare(t, from));
    algorithms_tell(t, from);
    QUERN_TRY(state_resume(t, from));
    QUERN_TRY(load_emit(t, QUERN_EVENT_load_end));
    t->resumed = true;
    t->save->path = t->save->resumed;
    t->save->durable = true;
    t->save->saved_activity = save_activity(t);
    log_write(t->host, QUERN_LOG_INFO, "resumed from %s: step %" PRId64 ", %" PRId64 " attempts",
              from->path, t->step, t->attempts);
    return QUERN_OK;
}

quern_status resume_run(quern_trainer *t) {
    if (!t->resume_from) {
        log_write(t->host, QUERN_LOG_INFO, "%s holds no checkpoint: the run begins anew",
                  t->desc.save.directory);
        return QUERN_OK;
    }
    const quern_status status = resume_from(t, t->resume_from);
    quern_checkpoint_destroy(t->resume_from);
    t->resume_from = NULL;
    return status;
}
