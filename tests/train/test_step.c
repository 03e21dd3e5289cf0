/* The application's own loop, evaluation and prediction, reading back. */
#include "quern_test.h"
#include "world.h"

#include <math.h>
#include <string.h>

static quern_batch batch_of(const world *w, int64_t first, int64_t count) {
    return (quern_batch){.sample_count = count,
                         .field_count = 2,
                         .names = {"label", "x"},
                         .data = {w->train_label + first, w->train_x + first}};
}

/* Its own loop over the same batches in the same order gives the weights that fit gives. */
TEST_CASE(Step, an_own_loop_gives_the_bits_of_fit) {
    world w;
    float fitted[256] = {0}, stepped[256] = {0};
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 14, .dropout = true}));
    w.desc.no_shuffle = true;
    w.desc.epoch_count = 2;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    world_weights(&w, fitted, 256);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    w.desc.train = w.desc.valid = NULL;
    w.desc.no_shuffle = false;
    w.desc.epoch_count = 0;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    for (int epoch = 0; epoch < 2; epoch++)
        for (int64_t first = 0; first < 14; first += 4) {
            const quern_batch batch = batch_of(&w, first, first + 4 <= 14 ? 4 : 2);
            REQUIRE_OK(quern_trainer_step(w.trainer, &batch));
        }
    REQUIRE_OK(quern_trainer_wait(w.trainer, &r));
    world_weights(&w, stepped, 256);
    CHECK(r.step == 8 && r.attempts == 8 && r.samples == 28);
    CHECK(memcmp(fitted, stepped, sizeof fitted) == 0);
    CHECK_STATUS(quern_trainer_fit(w.trainer, NULL), QUERN_INVALID);
    world_close(&w);
}

/* The three ways to hand a batch over: host memory, device memory, written in place. */
TEST_CASE(Step, host_device_and_in_place_batches_are_one) {
    float weights[3][256];
    memset(weights, 0, sizeof weights);
    for (int way = 0; way < 3; way++) {
        world w;
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        w.desc.train = w.desc.valid = NULL;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        for (int i = 0; i < 6; i++) {
            quern_batch batch = batch_of(&w, 4 * (i % 2), 4);
            batch.on_device = way == 1;
            if (way == 2) {
                void *x = quern_trainer_input(w.trainer, "x");
                REQUIRE(x != NULL);
                memcpy(x, batch.data[1], 4 * sizeof w.train_x[0]);
                memcpy(quern_trainer_input(w.trainer, "label"), batch.data[0], 4 * sizeof(int32_t));
                batch.data[0] = batch.data[1] = NULL;
            }
            REQUIRE_OK(quern_trainer_step(w.trainer, &batch));
        }
        CHECK(quern_trainer_input(w.trainer, "z") == NULL);
        REQUIRE_OK(quern_trainer_wait(w.trainer, NULL));
        world_weights(&w, weights[way], 256);
        world_close(&w);
    }
    CHECK(memcmp(weights[0], weights[1], sizeof weights[0]) == 0);
    CHECK(memcmp(weights[0], weights[2], sizeof weights[0]) == 0);
}

TEST_CASE(Step, what_a_batch_lacks_is_named) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.train = w.desc.valid = NULL;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    quern_batch batch = batch_of(&w, 0, 5);
    CHECK_STATUS(quern_trainer_step(w.trainer, &batch), QUERN_INVALID);
    CHECK_ERROR_HAS("sample_count is 5, not 1 … 4");
    batch.sample_count = 0;
    CHECK_STATUS(quern_trainer_step(w.trainer, &batch), QUERN_INVALID);
    batch = batch_of(&w, 0, 4);
    batch.field_count = 1;
    CHECK_STATUS(quern_trainer_step(w.trainer, &batch), QUERN_INVALID);
    CHECK_ERROR_HAS("the batch has no field x");
    batch = batch_of(&w, 0, 4);
    batch.names[2] = "weather";
    batch.field_count = 3;
    CHECK_STATUS(quern_trainer_step(w.trainer, &batch), QUERN_INVALID);
    CHECK_ERROR_HAS("the graph reads no input weather");
    batch = batch_of(&w, 0, 2);
    batch.data[1] = NULL;
    CHECK_STATUS(quern_trainer_step(w.trainer, &batch), QUERN_INVALID);
    CHECK_ERROR_HAS("x has no data");
    CHECK_STATUS(quern_trainer_step(w.trainer, NULL), QUERN_INVALID);
    batch = batch_of(&w, 0, 4);
    CHECK_OK(quern_trainer_step(w.trainer, &batch));
    world_close(&w);
}

TEST_CASE(Step, an_output_of_the_last_attempt_can_be_read) {
    world w;
    float logits[4][WORLD_CLASSES], all[10][WORLD_CLASSES];
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.optimizer =
        (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD, .learning_rate = QUERN_ZERO};
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_STATUS(quern_trainer_read(w.trainer, w.logits, logits, sizeof logits), QUERN_INVALID);
    const quern_batch batch = batch_of(&w, 4, 4);
    REQUIRE_OK(quern_trainer_step(w.trainer, &batch));
    REQUIRE_OK(quern_trainer_read(w.trainer, w.logits, logits, sizeof logits));
    CHECK_STATUS(quern_trainer_read(w.trainer, w.logits, logits, 4), QUERN_SHAPE);
    float loss = NAN;
    REQUIRE_OK(quern_trainer_read(w.trainer, w.loss, &loss, sizeof loss));
    CHECK(loss > 0);
    CHECK_STATUS(quern_trainer_read(w.trainer, NULL, &loss, 4), QUERN_INVALID);
    REQUIRE_OK(quern_trainer_predict(w.trainer, w.train, w.logits, all, sizeof all));
    for (int i = 0; i < 4; i++)
        for (int c = 0; c < WORLD_CLASSES; c++) CHECK_NEAR(logits[i][c], all[4 + i][c], 1e-6);
    world_close(&w);
}

/* The evaluation's activations lie where the attempt's did. */
TEST_CASE(Step, an_output_is_not_read_behind_an_evaluation) {
    world w;
    float logits[10][WORLD_CLASSES];
    quern_scalar scalars[2];
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    const quern_batch batch = batch_of(&w, 0, 4);
    for (int way = 0; way < 2; way++) {
        REQUIRE_OK(quern_trainer_step(w.trainer, &batch));
        REQUIRE_OK(quern_trainer_read(w.trainer, w.logits, logits, 4 * sizeof logits[0]));
        if (way == 0)
            REQUIRE_OK(quern_trainer_evaluate(w.trainer, w.valid, scalars, 2, NULL));
        else
            REQUIRE_OK(quern_trainer_predict(w.trainer, w.valid, w.logits, logits, sizeof logits));
        CHECK_STATUS(quern_trainer_read(w.trainer, w.logits, logits, 4 * sizeof logits[0]),
                     QUERN_INVALID);
        CHECK_ERROR_HAS("has used its memory");
    }
    world_close(&w);
}

TEST_CASE(Step, predict_writes_every_sample_in_order) {
    world w;
    float logits[10][WORLD_CLASSES];
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    REQUIRE_OK(quern_trainer_predict(w.trainer, w.valid, w.logits, logits, sizeof logits));
    double loss = 0;
    for (int i = 0; i < 10; i++) {
        double sum = 0;
        for (int c = 0; c < WORLD_CLASSES; c++) sum += exp((double)logits[i][c]);
        loss += (log(sum) - (double)logits[i][w.valid_label[i]]) / 10;
    }
    CHECK_NEAR(loss, world_brute_force(&w, true).loss, 1e-6);
    CHECK_STATUS(quern_trainer_predict(w.trainer, w.valid, w.logits, logits, 12), QUERN_SHAPE);
    CHECK_ERROR_HAS("of 10 samples takes 120 bytes, not 12");
    CHECK_STATUS(quern_trainer_predict(w.trainer, w.valid, w.loss, logits, 4), QUERN_INVALID);
    CHECK_STATUS(quern_trainer_predict(w.trainer, NULL, w.logits, logits, 4), QUERN_INVALID);
    world_close(&w);
}

TEST_CASE(Step, predict_needs_no_labels) {
    world w;
    float with[10][WORLD_CLASSES], without[10][WORLD_CLASSES];
    quern_dataset *bare = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_dataset_arrays(
        &bare, w.device,
        &(quern_arrays_desc){.length = 10,
                             .field_count = 1,
                             .fields = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}}},
                             .data = {w.valid_x}}));
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_predict(w.trainer, w.valid, w.logits, with, sizeof with));
    CHECK_OK(quern_trainer_predict(w.trainer, bare, w.logits, without, sizeof without));
    CHECK(memcmp(with, without, sizeof with) == 0);
    quern_scalar scalars[1];
    CHECK_STATUS(quern_trainer_evaluate(w.trainer, bare, scalars, 1, NULL), QUERN_SHAPE);
    CHECK_ERROR_HAS("label");
    /* the validation set is bound again */
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_dataset_destroy(bare);
    world_close(&w);
}

TEST_CASE(Step, evaluate_takes_any_dataset_and_counts_what_does_not_fit) {
    world w;
    quern_scalar scalars[2];
    int32_t count = 0;
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 23}));
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    REQUIRE_OK(quern_trainer_evaluate(w.trainer, w.train, scalars, 1, &count));
    CHECK(count == 2);
    CHECK_TEXT(scalars[0].name, "loss");
    CHECK_NEAR(scalars[0].value, world_brute_force(&w, false).loss, 1e-6);
    REQUIRE_OK(quern_trainer_evaluate(w.trainer, w.valid, scalars, 2, &count));
    CHECK_TEXT(scalars[1].name, "accuracy");
    CHECK(scalars[0].value == r.valid_loss && scalars[1].value == r.valid_accuracy);
    CHECK_STATUS(quern_trainer_evaluate(w.trainer, NULL, scalars, 2, &count), QUERN_INVALID);
    world_close(&w);
}

static quern_action stop_at_three(void *self, const quern_event *event) {
    (void)self;
    return event->step == 3 ? QUERN_STOP : QUERN_CONTINUE;
}

TEST_CASE(Step, a_stop_in_the_own_loop_shows_in_the_result) {
    world w;
    quern_result r;
    const quern_callback callback = {.name = "three", .step_end = stop_at_three};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    for (int i = 0; i < 5; i++) {
        const quern_batch batch = batch_of(&w, 0, 4);
        REQUIRE_OK(quern_trainer_step(w.trainer, &batch));
    }
    REQUIRE_OK(quern_trainer_wait(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_CALLBACK && r.step == 5);
    world_close(&w);
}

TEST_CASE(Step, pointers_that_are_needed_may_not_be_null) {
    world w;
    double counts[WORLD_CLASSES * WORLD_CLASSES];
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK(quern_trainer_input(w.trainer, NULL) == NULL);
    CHECK_STATUS(quern_trainer_evaluate(w.trainer, w.valid, NULL, 2, NULL), QUERN_INVALID);
    CHECK_OK(quern_trainer_evaluate(w.trainer, w.valid, NULL, 0, NULL));
    CHECK_STATUS(quern_trainer_confusion(w.trainer, NULL, counts, 9), QUERN_INVALID);
    CHECK_STATUS(quern_trainer_confusion(w.trainer, "confusion", NULL, 9), QUERN_INVALID);
    CHECK_OK(quern_trainer_confusion(w.trainer, "confusion", counts, 9));
    const size_t bytes = 10 * WORLD_CLASSES * sizeof(float);
    CHECK_STATUS(quern_trainer_predict(w.trainer, w.valid, w.logits, NULL, bytes), QUERN_INVALID);
    const quern_batch batch = batch_of(&w, 0, 4);
    REQUIRE_OK(quern_trainer_step(w.trainer, &batch));
    CHECK_STATUS(quern_trainer_read(w.trainer, w.loss, NULL, sizeof(float)), QUERN_INVALID);
    CHECK_OK(quern_trainer_wait(w.trainer, NULL));
    world_close(&w);
}

static int64_t given_time(void *self) { return *(int64_t *)self; }

typedef struct stop_notes {
    bool stop; /* at every step_end */
    int told;
} stop_notes;

static quern_action stop_or_go(void *self, const quern_event *event) {
    (void)event;
    return ((stop_notes *)self)->stop ? QUERN_STOP : QUERN_CONTINUE;
}

static quern_action note_stop(void *self, const quern_event *event) {
    (void)event;
    ((stop_notes *)self)->told++;
    return QUERN_CONTINUE;
}

/* Behind a fit that was stopped, the own loop's time and stops are its own. */
TEST_CASE(Step, behind_a_fit_begins_its_own_time_and_tells_its_own_stop) {
    world w;
    quern_result r = {0};
    int64_t now = 1000000000;
    stop_notes notes = {.stop = true};
    const quern_callback callback = {
        .name = "stop", .self = &notes, .step_end = stop_or_go, .stop_requested = note_stop};
    const quern_clock clock = {.monotonic_ns = given_time, .wall_ns = given_time, .self = &now};
    REQUIRE_OK(world_open(&w, &(world_desc){.host.clock = clock}));
    const quern_trainer_desc d = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_CALLBACK && r.train_seconds == 0 && notes.told == 1);
    now += INT64_C(100000000000); /* the application does something else */
    CHECK_OK(quern_trainer_wait(w.trainer, &r));
    CHECK(r.train_seconds == 0 && r.reason == QUERN_STOPPED_CALLBACK);
    notes.stop = false;
    const quern_batch batch = {.sample_count = 4,
                               .field_count = 2,
                               .names = {"x", "label"},
                               .data = {w.train_x, w.train_label}};
    CHECK_OK(quern_trainer_step(w.trainer, &batch));
    now += 2000000000;
    quern_trainer_stop(w.trainer);
    CHECK_OK(quern_trainer_step(w.trainer, &batch));
    CHECK_OK(quern_trainer_wait(w.trainer, &r));
    CHECK_NEAR(r.train_seconds, 2.0, 1e-9);
    CHECK_NEAR(r.samples_per_second, 4.0, 1e-9);
    CHECK(notes.told == 2 && r.reason == QUERN_STOPPED_REQUEST);
    world_close(&w);
}

/* What is the default anyway may be said. */
TEST_CASE(Step, an_accumulate_of_1_needs_no_training_set) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.train = NULL;
    w.desc.accumulate = 1;
    CHECK_OK(quern_trainer_create(&w.trainer, &w.desc));
    world_close(&w);
}
