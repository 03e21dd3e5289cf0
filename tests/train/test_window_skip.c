/* What is left out: windows that are not finite or that a callback skips leave everything bit-equal
 * but the count of attempts; single batches that a callback takes out of a window. */
#include "quern_test.h"
#include "window_world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NOTES = 64, BAD = 18 /* of 40: batch 4, so window 2 of two batches */ };

static const network_desc everything = {.batch_norm = true, .ignore = true};

typedef struct skip_run {
    double state[WINDOW_STATE_MAX], rate;
    quern_result result;
    quern_status status;
    char sentence[512];
    int64_t log_steps[NOTES];
    double log_loss[NOTES];
    int log_count, warnings, outcomes[QUERN_OUTCOME_OVERFLOW + 1];
    char warning[256];
    /* what the callbacks do */
    int64_t skip_attempt; /* -1: none */
    quern_event_kind skip_at;
    int64_t leave_out; /* microbatch of the first epoch; -1: none */
} skip_run;

static quern_action skip_act(void *self, const quern_event *event) {
    skip_run *r = self;
    if (event->kind == QUERN_EVENT_update_end) r->outcomes[event->outcome]++;
    if (event->kind == QUERN_EVENT_log && r->log_count < NOTES) {
        r->log_steps[r->log_count] = event->step;
        r->log_loss[r->log_count++] = quern_event_scalar(event, "train/loss");
    }
    if (event->kind == QUERN_EVENT_fetch_end && event->epoch == 0 && event->batch == r->leave_out)
        return QUERN_SKIP_BATCH;
    if (event->kind == r->skip_at && event->attempts == r->skip_attempt) return QUERN_SKIP_STEP;
    return QUERN_CONTINUE;
}

static void take_warning(void *self, quern_log_level level, const char *sentence) {
    skip_run *r = self;
    if (level != QUERN_LOG_WARNING) return;
    r->warnings++;
    snprintf(r->warning, sizeof r->warning, "%s", sentence);
}

static quern_callback skip_callback(skip_run *r) {
    return (quern_callback){.name = "skip",
                            .self = r,
                            .fetch_end = skip_act,
                            .step_begin = skip_act,
                            .loss_ready = r->skip_at == QUERN_EVENT_loss_ready ? skip_act : NULL,
                            .micro_end = r->skip_at == QUERN_EVENT_micro_end ? skip_act : NULL,
                            .grads_ready = r->skip_at == QUERN_EVENT_grads_ready ? skip_act : NULL,
                            .update_begin =
                                r->skip_at == QUERN_EVENT_update_begin ? skip_act : NULL,
                            .update_end = skip_act,
                            .log = skip_act};
}

typedef struct skip_desc {
    quern_not_finite policy;
    int64_t limit, accumulate, log_every;
    int32_t run_ahead;
    const int64_t *bad; /* samples that hold a NaN; the first `bad_count` */
    int bad_count;
    bool no_capture;
} skip_desc;

static void skip_train(skip_run *r, const skip_desc *d) {
    world w;
    memset(r->state, 0, sizeof r->state);
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 40,
                                            .valid_length = -1,
                                            .host.log = {.write = take_warning, .self = r}}));
    REQUIRE_OK(world_network(&w, &everything));
    for (int i = 0; i < 40; i += 4) w.train_label[i] = 0; /* no batch is empty */
    for (int i = 0; i < d->bad_count; i++) w.train_x[d->bad[i]][1] = -NAN;
    const quern_callback callback = skip_callback(r);
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.no_shuffle = true;
    desc.accumulate = d->accumulate;
    desc.not_finite = d->policy;
    desc.not_finite_limit = d->limit;
    desc.log_every = d->log_every;
    desc.run_ahead = d->run_ahead;
    desc.no_capture = d->no_capture;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    r->status = quern_trainer_fit(w.trainer, &r->result);
    snprintf(r->sentence, sizeof r->sentence, "%s", quern_error());
    window_state(&w, r->state);
    r->rate = quern_trainer_learning_rate(w.trainer);
    world_close(&w);
}

static void check_equal(const skip_run *a, const skip_run *b) {
    CHECK(a->status == QUERN_OK && b->status == QUERN_OK);
    CHECK(a->result.step == b->result.step && a->rate == b->rate);
    CHECK(memcmp(a->state, b->state, sizeof a->state) == 0);
}

/* The window with the NaN is worth what the same window is when a callback skips it: nothing. */
TEST_CASE(WindowSkip, a_window_that_is_not_finite_changes_no_bit) {
    static const int64_t bad[] = {BAD};
    static const quern_event_kind events[] = {QUERN_EVENT_fetch_end,   QUERN_EVENT_step_begin,
                                              QUERN_EVENT_loss_ready,  QUERN_EVENT_micro_end,
                                              QUERN_EVENT_grads_ready, QUERN_EVENT_update_begin};
    for (int64_t accumulate = 1; accumulate <= 3; accumulate++)
        for (size_t at = 0; at < sizeof events / sizeof events[0]; at++) {
            const int64_t window = BAD / 4 / accumulate;
            skip_run skipped = {.skip_attempt = -1, .leave_out = -1};
            skip_run told = {.skip_attempt = window, .skip_at = events[at], .leave_out = -1};
            skip_desc d = {.policy = QUERN_NOT_FINITE_SKIP,
                           .accumulate = accumulate,
                           .bad = bad,
                           .bad_count = 1};
            skip_train(&skipped, &d);
            d.bad_count = 0;
            skip_train(&told, &d);
            check_equal(&skipped, &told);
            CHECK(skipped.outcomes[QUERN_OUTCOME_NOT_FINITE] == 1 && skipped.warnings == 1);
            CHECK(told.outcomes[QUERN_OUTCOME_SKIPPED] == 1 && told.warnings == 0);
            CHECK(skipped.result.step == skipped.result.attempts - 1);
            CHECK(told.result.attempts == skipped.result.attempts);
        }
}

/* And to the same as if its data had never been there: moments, rate and step went on unmoved. */
TEST_CASE(WindowSkip, what_is_skipped_is_as_if_it_had_not_been) {
    static const int64_t bad[] = {BAD};
    world w;
    double state[WINDOW_STATE_MAX] = {0};
    skip_run skipped = {.skip_attempt = -1, .leave_out = -1};
    skip_train(
        &skipped,
        &(skip_desc){.policy = QUERN_NOT_FINITE_SKIP, .accumulate = 2, .bad = bad, .bad_count = 1});
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    REQUIRE_OK(world_network(&w, &everything));
    for (int i = 0; i < 40; i += 4) w.train_label[i] = 0;
    w.desc.train = NULL;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    for (int64_t window = 0; window < 5; window++) {
        quern_batch batches[2];
        if (window == 2) continue;
        for (int64_t k = 0; k < 2; k++)
            batches[k] = (quern_batch){
                .sample_count = 4,
                .field_count = 2,
                .names = {"x", "label"},
                .data = {w.train_x + 8 * window + 4 * k, w.train_label + 8 * window + 4 * k}};
        REQUIRE_OK(quern_trainer_step_window(w.trainer, batches, 2));
    }
    REQUIRE_OK(quern_trainer_wait(w.trainer, NULL));
    window_state(&w, state);
    CHECK(memcmp(state, skipped.state, sizeof state) == 0);
    world_close(&w);
}

TEST_CASE(WindowSkip, each_skipped_window_is_a_warning_and_a_nan_in_its_log_only) {
    static const int64_t bad[] = {BAD};
    skip_run r = {.skip_attempt = -1, .leave_out = -1};
    skip_train(&r, &(skip_desc){.policy = QUERN_NOT_FINITE_SKIP,
                                .accumulate = 1,
                                .log_every = 3,
                                .bad = bad,
                                .bad_count = 1});
    CHECK(r.status == QUERN_OK && r.warnings == 1 && r.result.step == 9);
    CHECK_HAS(r.warning, "step 4: the loss is nan");
    CHECK_HAS(r.warning, "1 in a row of at most 10");
    CHECK(r.log_count == 3);
    CHECK(isfinite(r.log_loss[0]) && isnan(r.log_loss[1]) && isfinite(r.log_loss[2]));
    CHECK(isnan(r.result.train_loss)); /* of the whole epoch */
}

/* The limit is of a row: single ones may be as many as they like. */
TEST_CASE(WindowSkip, more_in_a_row_than_the_limit_end_the_run) {
    static const int64_t row[] = {8, 12, 17, 21}, single[] = {0, 9, 16, 24, 33};
    for (int32_t ahead = 1; ahead <= 8; ahead++)
        for (int no_capture = 0; no_capture < 2; no_capture++) {
            skip_run r = {.skip_attempt = -1, .leave_out = -1};
            skip_desc d = {.policy = QUERN_NOT_FINITE_SKIP,
                           .limit = 3,
                           .accumulate = 1,
                           .run_ahead = ahead,
                           .bad = row,
                           .bad_count = 4,
                           .no_capture = no_capture != 0};
            skip_train(&r, &d);
            CHECK(r.status == QUERN_NOT_FINITE && r.result.reason == QUERN_STOPPED_FAILURE);
            CHECK_TEXT(r.sentence, "step 2: input x of sample 1 of batch 5 (epoch 0) is not "
                                   "finite; this is number 4 in a row that is not finite");
            CHECK(r.result.step == 2 && r.result.attempts == 6 && r.warnings == 3);
            CHECK(r.outcomes[QUERN_OUTCOME_FROZEN] == 0);
            for (int i = 0; i < WINDOW_STATE_MAX; i++) CHECK(isfinite(r.state[i]));
            skip_run many = {.skip_attempt = -1, .leave_out = -1};
            d.limit = 1;
            d.bad = single;
            d.bad_count = 5;
            skip_train(&many, &d);
            CHECK(many.status == QUERN_OK && many.result.step == 5 && many.warnings == 5);
        }
}

/* STOP, the default, with a NaN in a later batch of a window: named, and nothing moved. */
TEST_CASE(WindowSkip, a_nan_in_a_later_batch_of_a_window_is_named) {
    static const int64_t bad[] = {BAD + 4};
    skip_run r = {.skip_attempt = -1, .leave_out = -1};
    skip_train(&r, &(skip_desc){.accumulate = 2, .bad = bad, .bad_count = 1});
    CHECK(r.status == QUERN_NOT_FINITE && r.result.step == 2 && r.result.attempts == 3);
    CHECK_TEXT(r.sentence, "step 2: input x of sample 2 of batch 5 (epoch 0) is not finite");
}

TEST_CASE(WindowSkip, after_the_limit_a_new_fit_goes_on_behind_it) {
    world w;
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 40, .valid_length = -1}));
    for (int i = 8; i < 24; i++) w.train_x[i][0] = INFINITY;
    w.desc.no_shuffle = true;
    w.desc.accumulate = 2;
    w.desc.not_finite = QUERN_NOT_FINITE_SKIP;
    w.desc.not_finite_limit = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_NOT_FINITE);
    CHECK(r.step == 1 && r.attempts == 3);
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.step == 3 && r.attempts == 5 && r.samples == 40 && r.epochs == 1);
    world_close(&w);
}

/* Windows whose rows count for nothing are EMPTY; a batch without a row that counts is no harm. */
TEST_CASE(WindowSkip, an_empty_window_is_no_update_and_an_empty_batch_no_harm) {
    for (int whole = 0; whole < 2; whole++) {
        world w;
        skip_run r = {.skip_attempt = -1, .leave_out = -1};
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 40, .valid_length = -1}));
        REQUIRE_OK(world_network(&w, &everything));
        for (int i = 16; i < (whole ? 24 : 20); i++) w.train_label[i] = IGNORED_LABEL;
        w.train_label[21] = whole ? IGNORED_LABEL : 0;
        const quern_callback callback = skip_callback(&r);
        quern_trainer_desc desc = world_with(&w, &callback, 1);
        desc.no_shuffle = true;
        desc.accumulate = 2;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
        CHECK_OK(quern_trainer_fit(w.trainer, &r.result));
        CHECK(r.result.attempts == 5 && r.result.step == 5 - whole);
        CHECK(r.outcomes[QUERN_OUTCOME_EMPTY] == whole);
        world_close(&w);
    }
}

/* A batch that is left out: the window goes on with the next, as over data without it. */
TEST_CASE(WindowSkip, skip_batch_leaves_one_batch_out_of_its_window) {
    for (int64_t accumulate = 1; accumulate <= 4; accumulate++)
        for (int64_t leave_out = 0; leave_out < 10; leave_out++) {
            world w;
            window_list list;
            skip_run r = {.skip_attempt = -1, .leave_out = leave_out};
            skip_train(&r, &(skip_desc){.accumulate = accumulate});
            CHECK(r.status == QUERN_OK && r.result.samples == 36 && r.result.epochs == 1);
            /* the same over 36 samples without that batch */
            window_list_make(&list, &(window_run_desc){36, 4, accumulate, 1, QUERN_TAIL_FLUSH});
            CHECK(r.result.step == list.count && r.result.attempts == list.count);
            double state[WINDOW_STATE_MAX] = {0};
            quern_batch batches[4];
            REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
            REQUIRE_OK(world_network(&w, &everything));
            for (int i = 0; i < 40; i += 4) w.train_label[i] = 0;
            w.desc.train = NULL;
            REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
            for (int32_t i = 0; i < list.count; i++) {
                const int32_t count = list.sample_count[i] / 4;
                for (int32_t k = 0; k < count; k++) {
                    const int32_t first = list.samples[i][4 * k];
                    const int64_t from = first + (first >= 4 * leave_out ? 4 : 0);
                    batches[k] = (quern_batch){.sample_count = 4,
                                               .field_count = 2,
                                               .names = {"x", "label"},
                                               .data = {w.train_x + from, w.train_label + from}};
                }
                REQUIRE_OK(quern_trainer_step_window(w.trainer, batches, count));
            }
            REQUIRE_OK(quern_trainer_wait(w.trainer, NULL));
            window_state(&w, state);
            CHECK_SAY(memcmp(state, r.state, sizeof state) == 0, "window %d without batch %d",
                      (int)accumulate, (int)leave_out);
            world_close(&w);
        }
}
