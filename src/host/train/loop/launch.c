/* launch.c - several attempts with one launch.
 *
 * Where the device finds an attempt's data by itself, all that changes from one attempt to the next
 * lies in its memory, so that a recorded attempt can be recorded 2, 4, 8 … times in a row. An
 * attempt is then issued by being put off: it is in flight as any other, and whatever asks how far
 * the device is, issues something else, or lets a callback look, first launches what was put off.
 * So only the launches can tell the difference, and a trigger, an epoch's end or a shorter batch
 * ends a row without being looked for. After a rest the rows begin short, to let the device begin
 * at once. */
#include "../trainer.h"

#include <inttypes.h>

enum { STEPS_DEFAULT = 32 };

/* The exponent of the longest row of at most `count`. */
static int32_t exponent_of(int64_t count) {
    int32_t exponent = 0;
    while (exponent + 1 < ROW_COUNT && INT64_C(2) << exponent <= count) exponent++;
    return exponent;
}

quern_status launch_check(const quern_trainer_desc *d) {
    const int32_t steps = d->steps_per_launch, most = 1 << (ROW_COUNT - 1);
    if (steps < 0 || steps > most || (steps & (steps - 1)) != 0)
        return quern_fail(QUERN_INVALID,
                          "trainer: steps_per_launch is %" PRId32
                          ", not a power of two, 1 … %" PRId32,
                          steps, most);
    if (steps > 1 && d->run_ahead > 0 && d->run_ahead < 2 * steps - 1)
        return quern_fail(QUERN_INVALID,
                          "trainer: steps_per_launch is %" PRId32
                          ", for which run_ahead must be %" PRId32 " or more, not %" PRId32,
                          steps, 2 * steps - 1, d->run_ahead);
    return QUERN_OK;
}

/* An event at which a callback is to find the attempts before launched, and those behind not. */
static const char *watched_event(const quern_trainer *t) {
    static const quern_event_kind events[] = {QUERN_EVENT_fetch_begin, QUERN_EVENT_fetch_end,
                                              QUERN_EVENT_step_begin,  QUERN_EVENT_loss_ready,
                                              QUERN_EVENT_micro_end,   QUERN_EVENT_grads_ready,
                                              QUERN_EVENT_update_begin};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (t->subscribed[events[i]]) return quern_event_name(events[i]);
    return NULL;
}

/* Why there are no rows, beside callbacks; NULL: there may be. */
static const char *obstacle(const quern_trainer *t) {
    if (t->desc.no_capture || t->device->trace_ops) return "they are not recorded";
    if (t->desc.accumulate > 1) return "a window has several batches";
    return resident_train(t) ? NULL : "their data comes from the host";
}

void launch_fill_defaults(quern_trainer *t) {
    const int32_t half = t->desc.train ? (t->desc.run_ahead + 1) / 2 : 1;
    int32_t steps = t->desc.steps_per_launch;
    const char *against = obstacle(t), *event = watched_event(t);
    if (steps == 0) steps = 1 << exponent_of(half < STEPS_DEFAULT ? half : STEPS_DEFAULT);
    t->desc.steps_per_launch = 1;
    if (steps == 1 || !unit_find(t, UNIT_TRAIN, t->desc.batch_size)) return;
    if (event)
        log_write(t->host, QUERN_LOG_INFO,
                  "a callback subscribes to %s: steps are launched one by one, not %" PRId32
                  " at once",
                  event, steps);
    else if (against)
        log_write(t->host, QUERN_LOG_INFO,
                  "steps are launched one by one, not %" PRId32 " at once: %s", steps, against);
    if (event || against) return;
    t->desc.steps_per_launch = steps;
    if (steps > half) t->desc.run_ahead = 2 * steps - 1;
}

quern_status launch_create(quern_trainer *t) {
    if (t->desc.steps_per_launch == 1) return QUERN_OK;
    const trainer_unit *unit = unit_find(t, UNIT_TRAIN, t->desc.batch_size);
    t->row_unit = unit;
    t->rows[0] = unit->captures[TURN_ONLY][SEGMENT_GATHER];
    for (int32_t i = 1; i <= exponent_of(t->desc.steps_per_launch); i++) {
        const unit_run row = {TURN_ONLY, SEGMENT_GATHER, SEGMENT_UPDATE, 1 << i};
        QUERN_TRY(unit_record(t, unit, &row, &t->rows[i]));
    }
    return QUERN_OK;
}

void launch_release(quern_trainer *t) {
    for (int32_t i = 1; i < ROW_COUNT; i++)
        if (t->rows[i]) t->backend->capture_destroy(t->rows[i]);
}

bool launch_put_off(quern_trainer *t, const attempt *a) {
    const window_batch *m = &a->microbatches[0];
    if (!t->fitting || a->count != 1 || m->data || m->unit != t->row_unit || t->skip_next)
        return false;
    if (t->in_flight_count == 0) t->row_goal = 1;
    t->put_off++;
    t->last_unit = m->unit;
    return true;
}

quern_status launch_row(quern_trainer *t) {
    if (t->put_off < t->row_goal) return QUERN_OK;
    if (t->row_goal < t->desc.steps_per_launch) t->row_goal *= 2;
    return launch_all(t);
}

quern_status launch_all(quern_trainer *t) {
    quern_status status = QUERN_OK;
    while (t->put_off > 0 && status == QUERN_OK) {
        const int32_t row = exponent_of(t->put_off);
        trace_begin(t->host, "train", "launch", INT64_C(1) << row);
        status = t->backend->capture_launch(t->rows[row], t->stream);
        trace_end(t->host);
        t->put_off -= 1 << row;
    }
    t->put_off = 0;
    return status;
}
