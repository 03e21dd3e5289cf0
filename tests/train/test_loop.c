/* Counters, triggers, means and what continues what. */
#include "quern_test.h"
#include "world.h"

#include <math.h>
#include <string.h>

enum { NOTES = 64 };

/* Takes down scalars of log, eval_end and epoch_end. */
typedef struct notes {
    int64_t log_steps[NOTES];
    double log_loss[NOTES], log_rate[NOTES], log_norm[NOTES];
    int log_count, epoch_count, eval_count;
    double epoch_loss, epoch_accuracy, val_loss, val_accuracy, epoch_val_loss;
    int32_t init_scalars;
} notes;

static quern_action note_init(void *self, const quern_event *event) {
    notes *n = self;
    n->init_scalars = event->scalar_count;
    for (int32_t i = 0; i < event->scalar_count; i++) CHECK(isnan(event->scalars[i].value));
    return QUERN_CONTINUE;
}

static quern_action note_log(void *self, const quern_event *event) {
    notes *n = self;
    n->log_steps[n->log_count] = event->step;
    n->log_loss[n->log_count] = quern_event_scalar(event, "train/loss");
    n->log_rate[n->log_count] = quern_event_scalar(event, "train/learning_rate");
    n->log_norm[n->log_count++] = quern_event_scalar(event, "train/gradient_norm");
    CHECK(isnan(quern_event_scalar(event, "val/loss")));
    return QUERN_CONTINUE;
}

static quern_action note_eval(void *self, const quern_event *event) {
    notes *n = self;
    n->eval_count++;
    n->val_loss = quern_event_scalar(event, "val/loss");
    n->val_accuracy = quern_event_scalar(event, "val/accuracy");
    return QUERN_CONTINUE;
}

static quern_action note_epoch(void *self, const quern_event *event) {
    notes *n = self;
    n->epoch_count++;
    n->epoch_loss = quern_event_scalar(event, "train/loss");
    n->epoch_accuracy = quern_event_scalar(event, "train/accuracy");
    n->epoch_val_loss = quern_event_scalar(event, "val/loss");
    return QUERN_CONTINUE;
}

static quern_callback notes_callback(notes *n) {
    return (quern_callback){.name = "notes",
                            .self = n,
                            .init = note_init,
                            .log = note_log,
                            .eval_end = note_eval,
                            .epoch_end = note_epoch};
}

/* With a rate of zero the weights stand still, so every batch's loss belongs to the same function:
 * the means over uneven batches must be those over all samples. */
TEST_CASE(Loop, means_are_exact_over_an_uneven_last_batch) {
    world w;
    notes n = {0};
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 11, .valid_length = 13}));
    w.desc.optimizer =
        (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD, .learning_rate = QUERN_ZERO};
    const quern_callback callback = notes_callback(&n);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    const world_score train = world_brute_force(&w, false), valid = world_brute_force(&w, true);
    CHECK_NEAR(n.epoch_loss, train.loss, 1e-6);
    CHECK_NEAR(n.epoch_accuracy, train.accuracy, 1e-12);
    CHECK_NEAR(n.val_loss, valid.loss, 1e-6);
    CHECK_NEAR(n.val_accuracy, valid.accuracy, 1e-12);
    CHECK(n.epoch_val_loss == n.val_loss);
    CHECK(r.train_loss == n.epoch_loss && r.valid_loss == n.val_loss);
    CHECK(r.valid_accuracy == n.val_accuracy);
    CHECK(n.init_scalars == 6);
    double counts[9];
    REQUIRE_OK(quern_trainer_confusion(w.trainer, "confusion", counts, 9));
    for (int i = 0; i < 9; i++) CHECK(counts[i] == valid.confusion[i]);
    CHECK_STATUS(quern_trainer_confusion(w.trainer, "confusion", counts, 8), QUERN_INVALID);
    CHECK_STATUS(quern_trainer_confusion(w.trainer, "accuracy", counts, 9), QUERN_INVALID);
    world_close(&w);
}

/* Rows that the loss ignores count for nothing; a metric without a weight counts samples. */
TEST_CASE(Loop, weights_of_loss_and_metrics_are_their_own) {
    world w;
    quern_result r;
    quern_scalar scalars[2];
    int32_t count = 0;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 11, .valid_length = -1}));
    quern_tensor *loss = quern_softmax_cross_entropy(
        w.graph, w.logits, w.label,
        &(quern_softmax_cross_entropy_desc){.ignore = true, .ignore_index = 2});
    quern_metric metric = {.name = "per_sample", .value = loss};
    w.desc.loss = loss;
    w.desc.metrics = &metric;
    w.desc.metric_count = 1;
    w.desc.optimizer =
        (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD, .learning_rate = QUERN_ZERO};
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    REQUIRE_OK(quern_trainer_evaluate(w.trainer, w.train, scalars, 2, &count));
    int64_t kept = 0;
    for (int i = 0; i < 11; i++) kept += w.train_label[i] != 2;
    CHECK(kept < 11 && kept > 0);
    CHECK_NEAR(scalars[0].value, r.train_loss, 1e-6);
    CHECK_NEAR(scalars[0].value * (double)kept, scalars[1].value * 11, 1e-5);
    world_close(&w);
}

TEST_CASE(Loop, logs_fall_on_multiples_of_the_global_step_and_are_flushed) {
    world w;
    notes n = {0};
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 20})); /* 5 batches */
    w.desc.epoch_count = 2;
    w.desc.log_every = 3;
    w.desc.optimizer.schedule = (quern_schedule){.kind = QUERN_SCHEDULE_LINEAR};
    const quern_callback callback = notes_callback(&n);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    const int64_t expected[] = {3, 5, 6, 9, 10};
    REQUIRE(n.log_count == 5);
    for (int i = 0; i < 5; i++) {
        CHECK(n.log_steps[i] == expected[i]);
        const double scale = 1 - (double)(expected[i] - 1) / 10;
        CHECK_NEAR(n.log_rate[i], 0.05 * scale, 1e-8); /* the rate of the update just applied */
        CHECK(n.log_norm[i] > 0 && n.log_loss[i] > 0);
    }
    CHECK(r.step == 10 && r.attempts == 10 && r.epochs == 2 && r.samples == 40);
    CHECK(r.reason == QUERN_STOPPED_EPOCHS);
    CHECK(quern_trainer_planned_steps(w.trainer) == 10);
    world_close(&w);
}

static quern_status fit_weights(const world_desc *wd, quern_trainer_desc *change, int64_t fits,
                                float *weights, quern_result *r) {
    world w;
    quern_status s = world_open(&w, wd);
    if (s != QUERN_OK) return s;
    quern_trainer_desc desc = w.desc;
    desc.epoch_count = change->epoch_count;
    desc.step_limit = change->step_limit;
    s = quern_trainer_create(&w.trainer, &desc);
    for (int64_t i = 0; i < fits && s == QUERN_OK; i++) s = quern_trainer_fit(w.trainer, r);
    if (s == QUERN_OK) world_weights(&w, weights, 256);
    world_close(&w);
    return s;
}

static void check_same_run(quern_trainer_desc once, quern_trainer_desc part, int64_t parts) {
    float a[256] = {0}, b[256] = {0};
    quern_result ra, rb;
    const world_desc wd = {.train_length = 14, .dropout = true}; /* 4 batches, the last of 2 */
    REQUIRE_OK(fit_weights(&wd, &once, 1, a, &ra));
    REQUIRE_OK(fit_weights(&wd, &part, parts, b, &rb));
    CHECK(memcmp(a, b, sizeof a) == 0);
    CHECK(ra.step == rb.step && ra.attempts == rb.attempts && ra.samples == rb.samples);
    CHECK(ra.epochs == rb.epochs);
    CHECK(ra.valid_loss == rb.valid_loss && ra.train_loss == rb.train_loss);
}

TEST_CASE(Loop, five_and_five_steps_are_ten) {
    check_same_run((quern_trainer_desc){.step_limit = 10}, (quern_trainer_desc){.step_limit = 5},
                   2);
}

TEST_CASE(Loop, two_fits_of_one_epoch_are_one_of_two) {
    check_same_run((quern_trainer_desc){.epoch_count = 2}, (quern_trainer_desc){.epoch_count = 1},
                   2);
}

TEST_CASE(Loop, steps_of_whole_epochs_are_epochs) {
    check_same_run((quern_trainer_desc){.epoch_count = 2}, (quern_trainer_desc){.step_limit = 8},
                   1);
}

TEST_CASE(Loop, a_step_limit_inside_an_epoch_evaluates_what_it_ends_with) {
    world w;
    notes n = {0};
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.step_limit = 4;
    const quern_callback callback = notes_callback(&n);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_STEPS && r.step == 4 && r.epochs == 1);
    CHECK(n.eval_count == 2 && n.epoch_count == 1);
    CHECK_NEAR(r.valid_loss, world_brute_force(&w, true).loss, 1e-6);
    world_close(&w);
}

static quern_action stop_at_second(void *self, const quern_event *e) {
    (void)self;
    return e->epoch == 1 ? QUERN_STOP : QUERN_CONTINUE;
}

/* An epoch that has seen nothing yet has no loss: that of the one before is told. */
TEST_CASE(Loop, a_run_that_ends_as_an_epoch_begins_has_the_loss_of_the_one_before) {
    world w, one;
    quern_result r, expected;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(world_open(&one, &(world_desc){0}));
    const quern_callback callback = {.name = "stop", .epoch_begin = stop_at_second};
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.epoch_count = 3;
    one.desc.epoch_count = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    REQUIRE_OK(quern_trainer_create(&one.trainer, &one.desc));
    REQUIRE_OK(quern_trainer_fit(one.trainer, &expected));
    CHECK(r.step == expected.step && isfinite(expected.train_loss));
    CHECK_SAY(r.train_loss == expected.train_loss, "%g, not %g", r.train_loss, expected.train_loss);
    world_close(&one);
    world_close(&w);
}

TEST_CASE(Loop, drop_last_leaves_the_uneven_batch_out) {
    world w;
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.drop_last = true;
    w.desc.epoch_count = 3;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.step == 6 && r.samples == 24);
    world_close(&w);
}

TEST_CASE(Loop, a_batch_larger_than_the_set_is_the_whole_set) {
    world w;
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.batch_size = 64, .valid_length = 3}));
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.step == 1 && r.samples == 10);
    CHECK_NEAR(r.valid_loss, world_brute_force(&w, true).loss, 1e-6);
    world_close(&w);
}

TEST_CASE(Loop, training_learns) {
    world w;
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 60, .valid_length = 60}));
    w.desc.epoch_count = 20;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    const world_score before = world_brute_force(&w, false);
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    const world_score after = world_brute_force(&w, false);
    CHECK(after.loss < 0.5 * before.loss);
    CHECK(r.valid_accuracy > 0.7);
    world_close(&w);
}

/* One wait per attempt at most, and one per log for the metric sums; none for what is already there
 * when the host comes, which a loaded machine may make so at any of them. */
TEST_CASE(Loop, host_waits_are_bounded) {
    world w;
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 60, .valid_length = -1}));
    w.desc.epoch_count = 10;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    const int64_t logs = 10 + 3; /* each epoch's end and steps 50, 100, 150 (an epoch's end) */
    CHECK(r.attempts == 150);
    CHECK(r.host_waits >= 1 && r.host_waits <= r.attempts + logs);
    world_close(&w);
}

typedef struct counting_stream {
    int64_t left, length;
    int rewinds;
    bool can_rewind;
} counting_stream;

static int64_t stream_length(void *self) {
    (void)self;
    return -1;
}

static int32_t stream_fields(void *self, const quern_field **out) {
    static const quern_field fields[] = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                         {.name = "label", .dtype = QUERN_I32}};
    (void)self;
    *out = fields;
    return 2;
}

static quern_status stream_next(void *self, void *const *data, bool *end) {
    counting_stream *s = self;
    *end = s->left == 0;
    if (*end) return QUERN_OK;
    s->left--;
    float *x = data[0];
    for (int f = 0; f < WORLD_FEATURES; f++) x[f] = (float)(s->left % 7) * 0.1f;
    *(int32_t *)data[1] = (int32_t)(s->left % WORLD_CLASSES);
    return QUERN_OK;
}

static quern_status stream_rewind(void *self) {
    counting_stream *s = self;
    s->rewinds++;
    s->left = s->length;
    return QUERN_OK;
}

static void stream_case(int64_t length, bool can_rewind, int64_t epochs, int64_t steps,
                        quern_status status, quern_stop_reason reason, int64_t samples) {
    world w;
    quern_result r;
    counting_stream stream = {.left = length, .length = length};
    const quern_dataset_type type = {.name = "counting",
                                     .length = stream_length,
                                     .fields = stream_fields,
                                     .next = stream_next,
                                     .rewind = can_rewind ? stream_rewind : NULL};
    quern_dataset *dataset = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    REQUIRE_OK(quern_dataset_custom(&dataset, w.device, &type, &stream));
    w.desc.train = dataset;
    w.desc.epoch_count = epochs;
    w.desc.step_limit = steps;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_STATUS(quern_trainer_fit(w.trainer, &r), status);
    CHECK_TEXT(quern_stop_reason_name(r.reason), quern_stop_reason_name(reason));
    CHECK(r.samples == samples);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_dataset_destroy(dataset);
    world_close(&w);
}

TEST_CASE(Loop, a_validation_stream_must_be_able_to_start_again) {
    world w;
    counting_stream stream = {.left = 10, .length = 10};
    const quern_dataset_type type = {
        .name = "counting", .length = stream_length, .fields = stream_fields, .next = stream_next};
    quern_dataset *dataset = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    REQUIRE_OK(quern_dataset_custom(&dataset, w.device, &type, &stream));
    w.desc.valid = dataset;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("the evaluation set val is a stream that cannot start again");
    CHECK(w.trainer == NULL);
    quern_dataset_destroy(dataset);
    world_close(&w);
}

TEST_CASE(Loop, a_stream_is_read_to_its_end) {
    stream_case(10, false, 1, 0, QUERN_OK, QUERN_STOPPED_EPOCHS, 10);
}

TEST_CASE(Loop, a_stream_that_cannot_rewind_ends_the_run) {
    stream_case(10, false, 5, 0, QUERN_OK, QUERN_STOPPED_DATA, 10);
}

TEST_CASE(Loop, a_stream_that_rewinds_goes_on) {
    stream_case(10, true, 3, 0, QUERN_OK, QUERN_STOPPED_EPOCHS, 30);
}

TEST_CASE(Loop, a_step_limit_ends_a_stream) {
    stream_case(1000000, false, 0, 7, QUERN_OK, QUERN_STOPPED_STEPS, 28);
}

TEST_CASE(Loop, an_empty_stream_is_an_input_failure) {
    stream_case(0, true, 0, 7, QUERN_INPUT, QUERN_STOPPED_FAILURE, 0);
}

static int64_t stand_still(void *self) {
    (void)self;
    return 1000;
}

static quern_action check_rate(void *self, const quern_event *event) {
    ++*(int *)self;
    CHECK_SAY(event->samples_per_second == 0, "%s: %g", quern_event_name(event->kind),
              event->samples_per_second);
    return QUERN_CONTINUE;
}

/* No time has passed: nobody knows a rate, and nobody is told infinity. */
TEST_CASE(Loop, a_clock_that_stands_still_gives_no_rate) {
    world w;
    int told = 0;
    quern_result r = {0};
    const quern_callback callback = {
        .name = "rate", .self = &told, .log = check_rate, .epoch_end = check_rate};
    REQUIRE_OK(world_open(
        &w, &(world_desc){.host.clock = {.monotonic_ns = stand_still, .wall_ns = stand_still}}));
    const quern_trainer_desc d = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(told == 2 && r.samples_per_second == 0 && r.train_seconds == 0);
    world_close(&w);
}
