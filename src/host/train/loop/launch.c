/* launch.c - a whole attempt, and several, with one launch.
 *
 * Where the device finds an attempt's data by itself, all that changes from one attempt to the next
 * lies in its memory, so that an attempt can be recorded whole, whatever the number of batches in
 * its window, and a recorded attempt can be recorded 2, 4, 8 … times in a row. An
 * attempt is then issued by being put off: it is in flight as any other, and whatever asks how far
 * the device is, issues something else, or lets a callback look, first launches what was put off.
 * So only the launches can tell the difference, and a trigger, an epoch's end or a shorter batch
 * ends a row without being looked for. After a rest the rows begin short, to let the device begin
 * at once. */
#include "../trainer.h"

#include <inttypes.h>

enum { STEPS_DEFAULT = 32, BATCHES_MAX = 64 }; /* of a row */

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
    if (t->desc.accumulate > BATCHES_MAX) return "a window has more than 64 batches";
    return resident_train(t) ? NULL : "their data comes from the host";
}

/* Each is recorded with all that it issues, so that a row has a bound in batches too. */
static int32_t steps_fitting(const quern_trainer *t, int32_t steps) {
    const int64_t most = BATCHES_MAX / t->desc.accumulate;
    if (steps <= most || most == 0) return steps;
    if (t->desc.steps_per_launch > 0)
        log_write(t->host, QUERN_LOG_INFO,
                  "%" PRId32 " steps are launched at once, not %" PRId32 ": they have %d batches",
                  1 << exponent_of(most), steps, (int)BATCHES_MAX);
    return 1 << exponent_of(most);
}

void launch_fill_defaults(quern_trainer *t) {
    const int32_t half = t->desc.train ? (t->desc.run_ahead + 1) / 2 : 1;
    int32_t steps = t->desc.steps_per_launch;
    const char *against = obstacle(t), *event = watched_event(t);
    if (steps == 0) steps = 1 << exponent_of(half < STEPS_DEFAULT ? half : STEPS_DEFAULT);
    if (!event && !against) steps = steps_fitting(t, steps);
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

/* As attempt.c issues it in parts. */
static quern_status window_issue(const quern_trainer *t) {
    const int64_t count = t->desc.accumulate;
    if (count == 1)
        return unit_issue_eager(t, t->row_unit, TURN_ONLY, SEGMENT_GATHER, SEGMENT_UPDATE);
    for (int64_t i = 0; i < count; i++)
        QUERN_TRY(
            unit_issue_eager(t, t->row_weigh, turn_of(count, i), SEGMENT_GATHER, SEGMENT_FORWARD));
    for (int64_t i = 0; i < count; i++)
        QUERN_TRY(
            unit_issue_eager(t, t->row_unit, turn_of(count, i), SEGMENT_GATHER, SEGMENT_BACKWARD));
    return unit_issue_eager(t, &t->closing, TURN_ONLY, SEGMENT_NORM, SEGMENT_UPDATE);
}

static quern_status row_issue(const quern_trainer *t, const void *context) {
    const int32_t *times = context;
    for (int32_t i = 0; i < *times; i++) QUERN_TRY(window_issue(t));
    return QUERN_OK;
}

/* In the order of their lengths, so that what is there before a failure can be used. */
static quern_status rows_record(quern_trainer *t) {
    for (int32_t i = t->row_weigh ? 0 : 1; i <= exponent_of(t->desc.steps_per_launch); i++) {
        const int32_t times = 1 << i;
        QUERN_TRY(trainer_record(t, row_issue, &times, &t->rows[i]));
    }
    return QUERN_OK;
}

/* A recording is no part of the plan, and nothing needs a row: without room for one it is done with
 * shorter ones, or in parts. */
static quern_status rows_do_without(quern_trainer *t) {
    error_text why;
    const int32_t wanted = t->desc.steps_per_launch;
    error_save(&why);
    const quern_status status = device_wait_stream(t->device, t->stream); /* which forgets it */
    if (status != QUERN_OK && status != QUERN_DEVICE_MEMORY) return status;
    if (!t->rows[0]) t->row_unit = NULL;
    int32_t longest = 0;
    while (longest + 1 < ROW_COUNT && t->rows[longest + 1]) longest++;
    t->desc.steps_per_launch = 1 << longest;
    log_write(t->host, QUERN_LOG_WARNING,
              "%" PRId32 " step%s launched at once, not %" PRId32 ": %s", t->desc.steps_per_launch,
              longest > 0 ? "s are" : " is", wanted, why.text);
    return QUERN_OK;
}

/* A window of one batch is recorded whole by its unit. */
quern_status launch_create(quern_trainer *t) {
    const bool several = t->desc.accumulate > 1;
    const trainer_unit *unit = unit_find(t, UNIT_TRAIN, t->desc.batch_size);
    if (!unit) return QUERN_OK;
    if (t->desc.steps_per_launch == 1 && (!several || obstacle(t) || watched_event(t)))
        return QUERN_OK;
    t->row_unit = unit;
    if (several)
        t->row_weigh = unit_find(t, UNIT_WEIGH, t->desc.batch_size);
    else
        t->rows[0] = t->row_unit->captures[TURN_ONLY][SEGMENT_GATHER];
    QUERN_ENSURE(!several || t->row_weigh);
    const quern_status status = rows_record(t);
    return status == QUERN_DEVICE_MEMORY ? rows_do_without(t) : status;
}

void launch_release(quern_trainer *t) {
    for (int32_t i = t->row_weigh ? 0 : 1; i < ROW_COUNT; i++)
        if (t->rows[i]) t->backend->capture_destroy(t->rows[i]);
}

/* A row's windows are whole, of whole batches that the device gathers. */
static bool is_of_row(const quern_trainer *t, const attempt *a) {
    if (a->count != t->desc.accumulate) return false;
    for (int32_t i = 0; i < a->count; i++)
        if (a->microbatches[i].data || a->microbatches[i].unit != t->row_unit) return false;
    return true;
}

bool launch_put_off(quern_trainer *t, const attempt *a) {
    if (!t->fitting || !t->row_unit || t->skip_next || !is_of_row(t, a)) return false;
    if (t->in_flight_count == 0) t->row_goal = 1;
    t->put_off++;
    t->last_unit = a->microbatches[0].unit;
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
