/* What goes wrong is a status and a sentence, and nothing is lost or leaked. */
#include "quern_test.h"
#include "support/fault_host.h"
#include "world.h"

#include <math.h>
#include <string.h>

/* NaN in a sample: the update is not applied, and the sentence names input and batch. */
TEST_CASE(Failures, a_nan_in_the_data_is_named) {
    world w;
    quern_result r;
    float before[256] = {0}, after[256] = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 20}));
    w.train_x[6][2] = NAN; /* batch 1, its sample 2, as nothing is shuffled */
    w.desc.no_shuffle = true;
    w.desc.epoch_count = 2;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_NOT_FINITE);
    CHECK_TEXT(quern_error(), "step 1: input x of sample 2 of batch 1 (epoch 0) is not finite");
    CHECK(r.reason == QUERN_STOPPED_FAILURE && r.step == 1 && r.attempts == 2);
    world_weights(&w, after, 256);
    for (int i = 0; i < 256; i++) CHECK(isfinite(after[i]));
    /* the weights are those after one step */
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    w.desc.epoch_count = 0;
    w.desc.step_limit = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    world_weights(&w, before, 256);
    CHECK(memcmp(before, after, sizeof before) == 0);
    world_close(&w);
}

static quern_status ruin(world *w, const char *name, float value) {
    const quern_tensor *tensor = quern_tensor_find(w->graph, name);
    float bias[WORLD_HIDDEN] = {0};
    bias[0] = value;
    const size_t bytes = (size_t)quern_tensor_shape(tensor).dim[0] * sizeof bias[0];
    return quern_parameters_write(quern_trainer_parameters(w->trainer), tensor, bias, bytes);
}

TEST_CASE(Failures, a_loss_that_is_not_finite_is_named) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(ruin(&w, "fc2.bias", INFINITY));
    CHECK_STATUS(quern_trainer_fit(w.trainer, NULL), QUERN_NOT_FINITE);
    CHECK_ERROR_HAS("step 0: the loss is ");
    world_close(&w);
}

/* sqrt at 0 has a finite value and an infinite slope: the loss is fine, a gradient is not. */
static quern_status steep_create(world *w) {
    quern_graph *g = NULL;
    quern_status s = quern_graph_create(&g, w->device, NULL);
    if (s != QUERN_OK) return s;
    quern_graph_destroy(w->graph);
    w->graph = g;
    quern_tensor *x = quern_input(
        g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, WORLD_FEATURES}});
    quern_tensor *target =
        quern_input(g, &(quern_input_desc){.name = "target", .rank = 2, .dim = {QUERN_B, 2}});
    quern_tensor *fine = quern_parameter(
        g, &(quern_parameter_desc){.name = "fine",
                                   .rank = 2,
                                   .dim = {2, WORLD_FEATURES},
                                   .init = {.kind = QUERN_INIT_CONSTANT, .a = 0.5f}});
    quern_tensor *steep =
        quern_parameter(g, &(quern_parameter_desc){.name = "steep", .rank = 1, .dim = {2}});
    quern_tensor *y = quern_add(g, quern_linear(g, x, fine, NULL), quern_sqrt(g, steep));
    w->desc = (quern_trainer_desc){
        .graph = g, .loss = quern_l1(g, y, target), .batch_size = 4, .run_ahead = 3};
    return quern_graph_status(g);
}

TEST_CASE(Failures, the_first_gradient_that_is_not_finite_is_named) {
    world w;
    float x[4][WORLD_FEATURES] = {{1, 2, 3, 4}}, target[4][2] = {{5, 6}};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(steep_create(&w));
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    const quern_batch batch = {
        .sample_count = 4, .field_count = 2, .names = {"x", "target"}, .data = {x, target}};
    quern_status s = QUERN_OK;
    for (int i = 0; i < 5 && s == QUERN_OK; i++) s = quern_trainer_step(w.trainer, &batch);
    if (s == QUERN_OK) s = quern_trainer_wait(w.trainer, NULL);
    CHECK_STATUS(s, QUERN_NOT_FINITE);
    CHECK_TEXT(quern_error(), "step 0: the gradient of steep is not finite");
    /* it stays that way, for every later call */
    CHECK_STATUS(quern_trainer_step(w.trainer, &batch), QUERN_NOT_FINITE);
    CHECK_STATUS(quern_trainer_wait(w.trainer, NULL), QUERN_NOT_FINITE);
    CHECK_TEXT(quern_error(), "step 0: the gradient of steep is not finite");
    world_close(&w);
}

typedef struct outcomes {
    int not_finite, frozen, exceptions;
} outcomes;

static quern_action count_outcome(void *self, const quern_event *event) {
    outcomes *o = self;
    o->not_finite += event->outcome == QUERN_OUTCOME_NOT_FINITE;
    o->frozen += event->outcome == QUERN_OUTCOME_FROZEN;
    return QUERN_CONTINUE;
}

static quern_action count_exception(void *self, const quern_event *event) {
    ((outcomes *)self)->exceptions += event->status == QUERN_NOT_FINITE;
    return QUERN_CONTINUE;
}

/* What was issued behind the failure is taken back: no event tells of it, no counter shows it. */
TEST_CASE(Failures, attempts_behind_a_failure_are_taken_back_and_a_new_fit_starts_clean) {
    for (int32_t ahead = 1; ahead <= 8; ahead++) {
        world w;
        quern_result r;
        outcomes o = {0};
        const quern_callback callback = {.name = "outcomes",
                                         .self = &o,
                                         .update_end = count_outcome,
                                         .exception = count_exception};
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 64}));
        w.train_x[9][0] = INFINITY;
        w.desc.no_shuffle = true;
        w.desc.run_ahead = ahead;
        const quern_trainer_desc desc = world_with(&w, &callback, 1);
        REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
        CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_NOT_FINITE);
        CHECK(o.not_finite == 1 && o.frozen == 0 && o.exceptions == 1);
        CHECK(r.step == 2 && r.attempts == 3);
        w.train_x[9][0] = 0;
        CHECK_OK(quern_trainer_fit(w.trainer, &r));
        /* the 16 batches but the failing one, also those that had been issued behind it */
        CHECK(r.step == 15 && r.attempts == 16);
        CHECK(r.epochs == 1 && isfinite(r.valid_loss));
        world_close(&w);
    }
}

static quern_status train_and_predict(world *w, const quern_trainer_desc *desc) {
    float logits[10 * WORLD_CLASSES];
    quern_status s = quern_trainer_create(&w->trainer, desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w->trainer, NULL);
    if (s == QUERN_OK)
        s = quern_trainer_predict(w->trainer, w->valid, w->logits, logits, sizeof logits);
    quern_trainer_destroy(w->trainer);
    w->trainer = NULL;
    return s;
}

/* whole: create, fit (with workers), evaluate, predict, destroy. When that fails and memory is
 * there again, the same device, data, graph and callback train a second trainer. */
static quern_status whole_life(fault_host *faults, int32_t workers) {
    world w;
    quern_status s = world_open(&w, &(world_desc){.host = faults->host});
    if (s != QUERN_OK) return s;
    quern_tape *tape = NULL;
    s = quern_tape_create(&tape, w.device, 100, false);
    if (s == QUERN_OK) {
        const quern_callback callback = quern_tape_callback(tape);
        quern_trainer_desc desc = world_with(&w, &callback, 1);
        desc.worker_count = workers;
        s = train_and_predict(&w, &desc);
        if (s != QUERN_OK) {
            faults->fault[FAULT_ALLOCATE].at = 0;
            CHECK_OK(train_and_predict(&w, &desc));
        }
    }
    quern_tape_destroy(tape);
    world_close(&w);
    return s;
}

static void fail_every_allocation(bool for_ever, int32_t workers) {
    fault_host faults;
    int64_t n = 1;
    for (;; n++) {
        fault_host_begin(&faults, NULL);
        faults.fault[FAULT_ALLOCATE] = (fault){.at = n, .for_ever = for_ever};
        const quern_status s = whole_life(&faults, workers);
        REQUIRE_SAY(fault_host_live(&faults) == 0, "allocation %d: something is still alive",
                    (int)n);
        if (!fault_host_fired(&faults, FAULT_ALLOCATE)) {
            CHECK_STATUS(s, QUERN_OK);
            break;
        }
        REQUIRE_SAY(s == QUERN_HOST_MEMORY || s == QUERN_DEVICE_MEMORY, "allocation %d: %s: %s",
                    (int)n, quern_status_name(s), quern_error());
        REQUIRE(quern_error()[0] != 0);
    }
    CHECK(n > 50);
}

TEST_CASE(Failures, every_allocation_of_a_whole_life_may_fail_once) {
    fail_every_allocation(false, 0);
}

TEST_CASE(Failures, every_allocation_of_a_whole_life_may_fail_for_ever) {
    fail_every_allocation(true, 2);
}

TEST_CASE(Failures, fit_allocates_nothing_through_the_host_after_create) {
    for (int32_t workers = 0; workers <= 2; workers += 2) {
        world w;
        fault_host faults;
        fault_host_begin(&faults, NULL);
        REQUIRE_OK(world_open(&w, &(world_desc){.host = faults.host, .thread_count = 2}));
        w.desc.worker_count = workers;
        w.desc.epoch_count = 3;
        w.desc.log_every = 2;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        const int64_t before = faults.count[FAULT_ALLOCATE];
        REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
        CHECK(faults.count[FAULT_ALLOCATE] == before);
        world_close(&w);
        CHECK(fault_host_live(&faults) == 0);
    }
}

typedef struct broken_set {
    int64_t bad;
} broken_set;

static int64_t broken_length(void *self) {
    (void)self;
    return 12;
}

static int32_t broken_fields(void *self, const quern_field **out) {
    static const quern_field fields[] = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                         {.name = "label", .dtype = QUERN_I32}};
    (void)self;
    *out = fields;
    return 2;
}

static quern_status broken_read(void *self, int64_t index, void *const *data) {
    const broken_set *set = self;
    if (index == set->bad) return quern_fail(QUERN_INPUT, "sample 9 has gone missing");
    memset(data[0], 0, WORLD_FEATURES * sizeof(float));
    memset(data[1], 0, sizeof(int32_t));
    return QUERN_OK;
}

TEST_CASE(Failures, a_dataset_that_fails_ends_the_run_and_may_be_mended) {
    for (int32_t workers = 0; workers <= 2; workers++) {
        world w;
        quern_result r;
        broken_set set = {.bad = 9};
        quern_dataset *dataset = NULL;
        const quern_dataset_type type = {.name = "broken",
                                         .length = broken_length,
                                         .fields = broken_fields,
                                         .read = broken_read};
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        REQUIRE_OK(quern_dataset_custom(&dataset, w.device, &type, &set));
        w.desc.train = dataset;
        w.desc.no_shuffle = true;
        w.desc.worker_count = workers;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_INPUT);
        CHECK_ERROR_HAS("sample 9 has gone missing");
        CHECK(r.step == 2 && r.reason == QUERN_STOPPED_FAILURE);
        set.bad = -1;
        CHECK_OK(quern_trainer_fit(w.trainer, &r));
        CHECK(r.step == 3 && r.epochs == 1); /* from the batch that could not be read */
        quern_trainer_destroy(w.trainer);
        w.trainer = NULL;
        quern_dataset_destroy(dataset);
        world_close(&w);
    }
}

typedef struct refusal {
    int64_t at, batches[64];
    int count;
    bool refused;
} refusal;

static quern_action refuse_once(void *self, const quern_event *event) {
    refusal *f = self;
    if (f->refused || event->batch != f->at) return QUERN_CONTINUE;
    f->refused = true;
    return QUERN_FAIL;
}

static quern_action note_batch(void *self, const quern_event *event) {
    refusal *f = self;
    if (f->count < 64) f->batches[f->count++] = event->batch;
    return QUERN_CONTINUE;
}

/* A batch that was fetched for nothing, before it was issued, is fetched again. */
TEST_CASE(Failures, no_batch_is_lost_to_a_callback_that_fails) {
    for (int32_t workers = 0; workers <= 2; workers += 2) {
        for (int64_t at = 0; at < 3; at++) {
            world w;
            quern_result r;
            refusal f = {.at = at};
            const quern_callback callback = {
                .name = "refusal", .self = &f, .fetch_end = refuse_once, .step_end = note_batch};
            REQUIRE_OK(world_open(&w, &(world_desc){0}));
            quern_trainer_desc desc = world_with(&w, &callback, 1);
            desc.worker_count = workers;
            REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
            CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_CALLBACK);
            CHECK(r.attempts == at && r.epochs == 0);
            CHECK_OK(quern_trainer_fit(w.trainer, &r));
            CHECK(r.attempts == 3 && r.epochs == 1 && r.samples == 10);
            /* those that the failure overtook were counted without an event */
            for (int i = 0; i < f.count; i++) CHECK(f.batches[i] == 3 - f.count + i);
            world_close(&w);
        }
    }
}

/* The first failure of the own loop stays, whichever call brings it to light. */
TEST_CASE(Failures, evaluate_does_not_swallow_a_failure_of_the_own_loop) {
    world w;
    quern_scalar scalars[2];
    float x[4][WORLD_FEATURES] = {{NAN}};
    int32_t label[4] = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    const quern_batch batch = {
        .sample_count = 4, .field_count = 2, .names = {"x", "label"}, .data = {x, label}};
    REQUIRE_OK(quern_trainer_step(w.trainer, &batch));
    CHECK_STATUS(quern_trainer_evaluate(w.trainer, w.valid, scalars, 2, NULL), QUERN_NOT_FINITE);
    CHECK_STATUS(quern_trainer_step(w.trainer, &batch), QUERN_NOT_FINITE);
    CHECK_STATUS(quern_trainer_wait(w.trainer, NULL), QUERN_NOT_FINITE);
    CHECK_ERROR_HAS("input x of sample 0");
    world_close(&w);
}

/* The application's own labels are looked at by the kernel only. */
TEST_CASE(Failures, a_label_out_of_range_in_the_own_loop_fails_every_later_call) {
    world w;
    float x[4][WORLD_FEATURES] = {{1}};
    int32_t label[4] = {0, 0, 99, 0};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    const quern_batch batch = {
        .sample_count = 4, .field_count = 2, .names = {"x", "label"}, .data = {x, label}};
    REQUIRE_OK(quern_trainer_step(w.trainer, &batch));
    CHECK_STATUS(quern_trainer_wait(w.trainer, NULL), QUERN_INPUT);
    CHECK_ERROR_HAS("target 99 at row 2 is outside [0, 3)");
    CHECK_STATUS(quern_trainer_step(w.trainer, &batch), QUERN_INPUT);
    CHECK_STATUS(quern_trainer_wait(w.trainer, NULL), QUERN_INPUT);
    CHECK_ERROR_HAS("target 99 at row 2 is outside [0, 3)");
    world_close(&w);
}

/* One trainer's bad labels must not reach another one of the same device. */
TEST_CASE(Failures, a_bad_batch_ends_its_own_trainer_only) {
    static const float x[2 * WORLD_FEATURES] = {1, 2, 3, 4, 5, 6, 7, 8};
    static const int32_t bad[2] = {0, -1}, good[2] = {0, 1};
    world w;
    quern_trainer *other = NULL;
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    w.desc.train = NULL;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_create(&other, &w.desc));
    quern_batch batch = {
        .sample_count = 2, .field_count = 2, .names = {"x", "label"}, .data = {x, bad}};
    for (int i = 0; i < 3; i++) {
        const quern_status status = quern_trainer_step(w.trainer, &batch);
        CHECK(status == QUERN_OK || status == QUERN_INPUT);
    }
    CHECK_STATUS(quern_trainer_wait(w.trainer, NULL), QUERN_INPUT);
    CHECK_ERROR_HAS("target -1 at row 1");
    batch.data[1] = good;
    for (int i = 0; i < 3; i++) CHECK_OK(quern_trainer_step(other, &batch));
    CHECK_OK(quern_trainer_wait(other, &r));
    CHECK(r.step == 3);
    CHECK_STATUS(quern_trainer_step(w.trainer, &batch), QUERN_INPUT);
    CHECK_ERROR_HAS("target -1 at row 1");
    quern_trainer_destroy(other);
    world_close(&w);
}
