/* window.c - the windows of an epoch: a window's batches are fetched, then one attempt is issued.
 *
 * A window that is being filled is t->open. A stop leaves it as it is: the next fit fetches what it
 * lacks. What an epoch leaves over with QUERN_TAIL_CARRY is copied out of the loader's slots, which
 * the next epoch takes back, into slots of its own; it is the beginning of the next epoch's first
 * window, and stays `held` until an attempt with it has been counted: after a failure the window
 * begins with it again, and what was fetched behind it is fetched again. */
#include "../trainer.h"

#include <string.h>

static bool tail_is(const quern_trainer *t, quern_tail tail) { return t->desc.tail == tail; }

static quern_status emit_issued(quern_trainer *t, quern_event_kind kind, int64_t batch) {
    return trainer_emit(t,
                        &(emission){.kind = kind, .attempts = t->attempts_issued, .batch = batch});
}

static void microbatch_release(quern_trainer *t, const window_batch *m) {
    if (m->slot != SLOT_NONE) loader_release(t->train_feed.loader, m->slot);
}

static void open_add(quern_trainer *t, const loader_batch *batch) {
    attempt *open = &t->open;
    if (open->count == open->held) open->batch = t->next_batch;
    open->microbatches[open->count++] = (window_batch){
        .data = feed_slot(&t->train_feed, batch->slot),
        .slot = batch->slot,
        .staged = true,
        .sample_count = batch->sample_count,
        .epoch = t->epoch,
        .batch = t->next_batch,
    };
    open->sample_count += batch->sample_count;
    t->next_batch++;
}

static void open_drop_last(quern_trainer *t) {
    const window_batch *m = &t->open.microbatches[--t->open.count];
    t->open.sample_count -= m->sample_count;
    microbatch_release(t, m);
}

static void open_drop_all(quern_trainer *t) {
    while (t->open.count > 0) open_drop_last(t);
    t->open.held = 0;
    t->open.skip = false;
}

static quern_status batch_load(quern_trainer *t, loader_batch *out) {
    trace_begin(t->host, "train", "fetch", t->next_batch);
    const quern_status status = loader_next(t->train_feed.loader, out);
    trace_end(t->host);
    if (status != QUERN_OK && !loader_can_restart(t->train_feed.loader)) t->epoch_open = false;
    return status;
}

/* One more batch for the open window, unless a callback ends the epoch before. */
static quern_status batch_fetch(quern_trainer *t, bool *end) {
    loader_batch batch;
    QUERN_TRY(emit_issued(t, QUERN_EVENT_fetch_begin, t->next_batch));
    if (trainer_epoch_over(t)) return QUERN_OK;
    QUERN_TRY(batch_load(t, &batch));
    *end = batch.end;
    if (batch.end) return QUERN_OK;
    open_add(t, &batch);
    t->skip_next = t->skip_batch = false;
    const quern_status status = emit_issued(t, QUERN_EVENT_fetch_end, t->next_batch - 1);
    if (t->skip_batch) open_drop_last(t);
    t->open.skip |= t->skip_next && !t->skip_batch;
    t->skip_next = t->skip_batch = false;
    return status;
}

static quern_status open_issue(quern_trainer *t) {
    attempt *open = &t->open;
    open->feed = &t->train_feed;
    open->next_batch = t->next_batch;
    QUERN_TRY(attempt_units(t, open));
    t->skip_next = open->skip;
    const quern_status status = emit_issued(t, QUERN_EVENT_step_begin, open->batch);
    if (status != QUERN_OK) {
        t->skip_next = false;
        return status;
    }
    const quern_status issued = attempt_issue(t, open);
    open->count = open->held = 0; /* the slots are the attempt's now */
    open->sample_count = 0;
    open->skip = false;
    return issued;
}

bool window_data_over(const quern_trainer *t) {
    const int64_t count = loader_batch_count(t->train_feed.loader);
    const int64_t limit = t->desc.train_batch_limit;
    return (count >= 0 && t->next_batch >= count) || (limit > 0 && t->next_batch >= limit);
}

static quern_status open_fill(quern_trainer *t, bool *end) {
    while (t->open.count < t->desc.accumulate) {
        QUERN_TRY(trainer_poll_stop(t));
        *end = *end || window_data_over(t);
        if (*end || trainer_epoch_over(t)) return QUERN_OK;
        const int32_t before = t->open.count;
        QUERN_TRY(batch_fetch(t, end));
        if (!*end && t->open.count == before) limits_look(t); /* it may never be full */
    }
    return QUERN_OK;
}

quern_status window_run(quern_trainer *t, bool *end) {
    QUERN_TRY(records_make_room(t));
    QUERN_TRY(trainer_poll_stop(t));
    limits_look(t);
    *end = window_data_over(t) && t->open.count < t->desc.accumulate;
    if (*end || trainer_epoch_over(t)) return QUERN_OK;
    if (t->open.count == t->open.held) QUERN_TRY(boundary_run(t));
    if (trainer_epoch_over(t)) return QUERN_OK;
    QUERN_TRY(open_fill(t, end));
    if (t->open.count < t->desc.accumulate) return QUERN_OK;
    QUERN_TRY(open_issue(t));
    return records_keep_up(t);
}

static quern_status batch_hold(const quern_trainer *t, const window_batch *m, int32_t held) {
    const feed *f = &t->train_feed;
    if (!m->data) return feed_read(f, m, &f->slots[(f->slot_count + held) * f->input_count]);
    for (int32_t input = 0; input < f->input_count; input++) {
        const size_t sample =
            (size_t)f->inputs[input].count * quern_dtype_bytes(f->inputs[input].dtype);
        memcpy(window_held_memory(t, held, input), m->data[input],
               sample * (size_t)m->sample_count);
    }
    return QUERN_OK;
}

/* Into slots that outlive the epoch; those already there stay where they are. */
static quern_status open_hold(quern_trainer *t) {
    const feed *f = &t->train_feed;
    for (int32_t i = t->open.held; i < t->open.count; i++) {
        window_batch *m = &t->open.microbatches[i];
        QUERN_TRY(batch_hold(t, m, i));
        microbatch_release(t, m);
        m->slot = SLOT_NONE;
        m->data = feed_slot(f, f->slot_count + i);
    }
    t->open.held = t->open.count;
    window_batch *items = t->held.microbatches;
    memcpy(items, t->open.microbatches, (size_t)t->open.count * sizeof *items);
    t->held = t->open;
    t->held.microbatches = items;
    return QUERN_OK;
}

/* Where every epoch is too short for a window, dropping what is left would never end. */
static quern_status drop_check(const quern_trainer *t) {
    if (t->epoch_ending || t->next_batch >= t->desc.accumulate) return QUERN_OK;
    return quern_fail(QUERN_INPUT,
                      "the training set gives %lld batches an epoch: less than a window of %lld, "
                      "and the tail is dropped",
                      (long long)t->next_batch, (long long)t->desc.accumulate);
}

quern_status window_tail(quern_trainer *t) {
    QUERN_ENSURE(t->in_flight_count == 0);
    if (t->open.count > 0 && tail_is(t, QUERN_TAIL_FLUSH)) return open_issue(t);
    if (tail_is(t, QUERN_TAIL_DROP)) {
        QUERN_TRY(drop_check(t));
        open_drop_all(t);
    } else if (tail_is(t, QUERN_TAIL_CARRY)) {
        QUERN_TRY(open_hold(t));
    }
    t->counted_batch = t->next_batch;
    return QUERN_OK;
}

void window_rewind(quern_trainer *t) {
    window_batch *items = t->open.microbatches;
    memcpy(items, t->held.microbatches, (size_t)t->held.count * sizeof *items);
    t->open = t->held;
    t->open.microbatches = items;
}

void window_clear(quern_trainer *t) {
    open_drop_all(t);
    t->held.count = t->held.held = 0;
    t->held.sample_count = 0;
    t->held.skip = false;
}

quern_status window_reserve(quern_trainer *t, int32_t capacity) {
    QUERN_ENSURE(t->in_flight_count == 0);
    if (capacity <= t->window_capacity) return QUERN_OK;
    for (int32_t i = 0; i < t->lanes; i++) {
        window_batch *larger = NULL; /* what there was stays usable when there is no more */
        QUERN_TRY(arena_allocate(&t->memory, &larger, capacity, sizeof(window_batch), "windows"));
        t->in_flight[i].microbatches = larger;
    }
    t->window_capacity = capacity;
    return QUERN_OK;
}

void *window_held_memory(const quern_trainer *t, int32_t held, int32_t input) {
    const feed *f = &t->train_feed;
    return f->slots[(f->slot_count + held) * f->input_count + input];
}

quern_status window_hold_again(quern_trainer *t, const window_batch *held, int32_t count,
                               bool skip) {
    const feed *f = &t->train_feed;
    if (count < 0 || count > f->held_count)
        return quern_fail(QUERN_INPUT, "%d held batches, at most %d", (int)count,
                          (int)f->held_count);
    window_clear(t);
    for (int32_t i = 0; i < count; i++) {
        if (held[i].sample_count < 1 || held[i].sample_count > t->desc.batch_size)
            return quern_fail(QUERN_INPUT, "held batch %d of %lld samples, not 1 … %lld", (int)i,
                              (long long)held[i].sample_count, (long long)t->desc.batch_size);
        t->held.microbatches[i] = (window_batch){.data = feed_slot(f, f->slot_count + i),
                                                 .slot = SLOT_NONE,
                                                 .staged = true,
                                                 .sample_count = held[i].sample_count,
                                                 .epoch = held[i].epoch,
                                                 .batch = held[i].batch};
        t->held.sample_count += held[i].sample_count;
    }
    t->held.count = t->held.held = count;
    t->held.skip = skip;
    window_rewind(t);
    return QUERN_OK;
}
