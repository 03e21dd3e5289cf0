/* A resident set gives the run that the host's batches give: the same events with the same values
 * and the same samples in the same order, the same bits at the end, and checkpoints from which
 * either goes on. On the CPU, where a resident set is read where it lies. */
#include "quern_test.h"
#include "saved_run.h"
#include "temporary.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Static: thousands of records are too much for a stack. */
static saved_run host, device;

enum { PIXELS = SAVED_SIDE * SAVED_SIDE };
static uint8_t images[SAVED_SAMPLES + SAVED_VALID][PIXELS];
static int32_t labels[SAVED_SAMPLES + SAVED_VALID];

/* The same sets in memory, and what else a test asks of the desc. */
typedef struct change {
    saved_run *run;
    quern_resident resident;
    void (*more)(quern_trainer_desc *desc);
} change;

static quern_status arrays_open(saved_run *r, quern_dataset **set, int64_t first, int64_t length) {
    quern_dataset_destroy(*set);
    return quern_dataset_arrays(
        set, r->device,
        &(quern_arrays_desc){.length = length,
                             .field_count = 3,
                             .fields = {{.name = "unused", .dtype = QUERN_I32},
                                        {.name = "label", .dtype = QUERN_I32},
                                        {.name = "image",
                                         .dtype = QUERN_U8,
                                         .rank = 2,
                                         .dim = {SAVED_SIDE, SAVED_SIDE}}},
                             .data = {&labels[first], &labels[first], images[first]}});
}

static void change_run(void *self, quern_trainer_desc *desc) {
    const change *c = self;
    for (int64_t i = 0; i < SAVED_SAMPLES + SAVED_VALID; i++) {
        labels[i] = (int32_t)(i * 7 % 3);
        for (int64_t p = 0; p < PIXELS; p++)
            images[i][p] = (uint8_t)((i * 131 + p * 29 + i * p) % 5 + 40 * (p % 3 == labels[i]));
    }
    if (arrays_open(c->run, &c->run->train, 0, SAVED_SAMPLES) != QUERN_OK ||
        arrays_open(c->run, &c->run->valid, SAVED_SAMPLES, SAVED_VALID) != QUERN_OK)
        abort();
    desc->train = c->run->train;
    desc->valid = c->run->valid;
    desc->resident = c->resident;
    quern_transform *transform = (quern_transform *)desc->transforms;
    transform->scale = 1 / 255.0f;
    transform->channel_count = 1;
    transform->mean[0] = 0.1307f;
    transform->deviation[0] = 0.3081f;
    if (c->more) c->more(desc);
}

static change *change_of(saved_run *run, quern_resident resident,
                         void (*more)(quern_trainer_desc *desc)) {
    static change both[2];
    change *c = &both[run == &device];
    *c = (change){run, resident, more};
    return c;
}

/* From the first event to the last. */
static void check_same_run(const saved_run_desc *desc, void (*more)(quern_trainer_desc *desc)) {
    saved_run_desc d = *desc;
    d.watched = true;
    d.change = change_run;
    d.change_self = change_of(&host, QUERN_RESIDENT_OFF, more);
    REQUIRE_OK(saved_run_whole(&host, &d));
    d.change_self = change_of(&device, QUERN_RESIDENT_ON, more);
    REQUIRE_OK(saved_run_whole(&device, &d));
    CHECK(host.record_count > 30 && host.record_count == device.record_count);
    const char *difference = saved_run_difference(&host, &device, -1, true);
    CHECK_SAY(!difference, "%s", difference);
    CHECK(host.result.samples == device.result.samples);
    CHECK(host.result.valid_loss == device.result.valid_loss);
}

TEST_CASE(Resident, gives_the_hosts_run_event_by_event) {
    for (int32_t ahead = 1; ahead <= 8; ahead += 3)
        check_same_run(&(saved_run_desc){.run_ahead = ahead}, NULL);
    check_same_run(&(saved_run_desc){.threads = 2}, NULL);
    check_same_run(&(saved_run_desc){.workers = 2}, NULL);
}

TEST_CASE(Resident, gives_the_hosts_run_with_every_window_and_tail) {
    static const quern_tail tails[] = {QUERN_TAIL_FLUSH, QUERN_TAIL_CARRY, QUERN_TAIL_DROP};
    for (int i = 0; i < 3; i++)
        for (int64_t accumulate = 2; accumulate <= 5; accumulate++)
            check_same_run(
                &(saved_run_desc){.accumulate = accumulate, .tail = tails[i], .epochs = 4}, NULL);
}

static void eager(quern_trainer_desc *d) { d->no_capture = true; }
static void few_batches(quern_trainer_desc *d) { d->train_batch_limit = d->eval_batch_limit = 2; }
static void whole_batches(quern_trainer_desc *d) { d->drop_last = true; }
static void in_order(quern_trainer_desc *d) { d->no_shuffle = true; }
static void overfit(quern_trainer_desc *d) { d->overfit_batch = true; }
static void twice_the_set(quern_trainer_desc *d) {
    static quern_evaluation_set sets[2];
    sets[0] = (quern_evaluation_set){"again", d->valid};
    sets[1] = (quern_evaluation_set){"trained", d->train};
    d->evaluation_sets = sets;
    d->evaluation_set_count = 2;
    d->evaluate_every = 2;
}

TEST_CASE(Resident, gives_the_hosts_run_whatever_else_is_asked) {
    static void (*const more[])(quern_trainer_desc *) = {eager,    few_batches, whole_batches,
                                                         in_order, overfit,     twice_the_set};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        check_same_run(&(saved_run_desc){.epochs = 4}, more[i]);
}

/* Some batches are left out of their windows, and some epochs end early. */
static quern_action leave_out(void *self, const quern_event *e) {
    (void)self;
    if (e->kind == QUERN_EVENT_fetch_end && e->batch % 3 == 1) return QUERN_SKIP_BATCH;
    if (e->kind == QUERN_EVENT_step_end && e->attempts % 5 == 4) return QUERN_END_EPOCH;
    return QUERN_CONTINUE;
}

TEST_CASE(Resident, gives_the_hosts_run_around_what_callbacks_leave_out) {
    check_same_run(&(saved_run_desc){.hook = leave_out, .epochs = 4}, NULL);
    check_same_run(
        &(saved_run_desc){
            .hook = leave_out, .accumulate = 2, .tail = QUERN_TAIL_CARRY, .epochs = 4},
        NULL);
}

/* A run that the one saves and the other goes on with, at every step. */
static void check_resumes(saved_run_desc d, quern_resident saving, quern_resident going_on) {
    temporary all = {{0}, {0}};
    int64_t checked = 0;
    REQUIRE(temporary_begin(&all));
    d.every = 1;
    d.directory = all.path;
    d.change = change_run;
    d.change_self = change_of(&host, saving, NULL);
    REQUIRE_OK(saved_run_whole(&host, &d));
    for (int64_t step = 1; step <= host.result.step; step++) {
        temporary one = {{0}, {0}};
        REQUIRE(temporary_begin(&one));
        d.directory = one.path;
        d.resume = true;
        d.change_self = change_of(&device, going_on, NULL);
        if (saved_copy(all.path, one.path, step)) {
            CHECK_OK(saved_run_whole(&device, &d));
            const char *difference = saved_run_difference(&host, &device, step, true);
            CHECK_SAY(!difference, "resumed at step %d: %s", (int)step, difference);
            if (saving != going_on) {
                CHECK_HAS(device.log, saving == QUERN_RESIDENT_ON
                                          ? "resident was \"on\", is \"off\""
                                          : "resident was \"off\", is \"on\"");
                CHECK_HAS(device.log, "the run stays bit-identical");
                CHECK(!strstr(device.log, "no longer bit-identical"));
            }
            checked++;
        }
        temporary_end(&one);
    }
    CHECK(checked >= 8);
    temporary_end(&all);
}

TEST_CASE(Resident, goes_on_from_every_checkpoint_of_either) {
    const saved_run_desc carry = {.accumulate = 2, .tail = QUERN_TAIL_CARRY};
    check_resumes((saved_run_desc){0}, QUERN_RESIDENT_ON, QUERN_RESIDENT_ON);
    check_resumes((saved_run_desc){0}, QUERN_RESIDENT_ON, QUERN_RESIDENT_OFF);
    check_resumes((saved_run_desc){0}, QUERN_RESIDENT_OFF, QUERN_RESIDENT_ON);
    check_resumes(carry, QUERN_RESIDENT_ON, QUERN_RESIDENT_ON);
    check_resumes(carry, QUERN_RESIDENT_ON, QUERN_RESIDENT_OFF);
    check_resumes(carry, QUERN_RESIDENT_OFF, QUERN_RESIDENT_ON);
}

/* A scale that makes infinity of the inputs, or only of the gradients. */
static void too_large(quern_trainer_desc *d) {
    quern_transform *transform = (quern_transform *)d->transforms;
    transform->scale = 3e38f;
}
static void large(quern_trainer_desc *d) {
    quern_transform *transform = (quern_transform *)d->transforms;
    transform->scale = 1e37f;
}

TEST_CASE(Resident, says_what_the_host_says_of_numbers_that_are_not_finite) {
    static void (*const more[])(quern_trainer_desc *) = {too_large, large};
    for (int i = 0; i < 2; i++) {
        char sentences[2][512];
        for (int resident = 0; resident < 2; resident++) {
            saved_run *r = resident ? &device : &host;
            saved_run_desc d = {.change = change_run, .run_ahead = 3};
            d.change_self =
                change_of(r, resident ? QUERN_RESIDENT_ON : QUERN_RESIDENT_OFF, more[i]);
            CHECK_STATUS(saved_run_whole(r, &d), QUERN_NOT_FINITE);
            snprintf(sentences[resident], sizeof sentences[0], "%s", quern_error());
        }
        CHECK_TEXT(sentences[1], sentences[0]);
        if (i == 0) CHECK_HAS(sentences[1], "input image of sample");
    }
}

/* Fits and the application's own batches in turns: what a fit gathers and what a step brings do
 * not meet. */
TEST_CASE(Resident, takes_the_applications_batches_too) {
    float weights[2][256] = {{0}};
    for (int resident = 0; resident < 2; resident++) {
        world w;
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 22, .dropout = true}));
        w.desc.step_limit = 4;
        w.desc.resident = resident ? QUERN_RESIDENT_ON : QUERN_RESIDENT_AUTO;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        CHECK(quern_trainer_resolved(w.trainer)->resident ==
              (resident ? QUERN_RESIDENT_ON : QUERN_RESIDENT_OFF));
        for (int i = 0; i < 3; i++) {
            quern_batch batches[2];
            for (int b = 0; b < 2; b++)
                batches[b] = (quern_batch){.sample_count = 4 - b,
                                           .field_count = 2,
                                           .names = {"x", "label"},
                                           .data = {w.valid_x[3 * i], &w.valid_label[3 * i]}};
            CHECK_OK(quern_trainer_fit(w.trainer, NULL));
            CHECK_OK(quern_trainer_step(w.trainer, &batches[0]));
            CHECK_OK(quern_trainer_step_window(w.trainer, batches, 2));
            CHECK_OK(quern_trainer_wait(w.trainer, NULL));
        }
        world_weights(&w, weights[resident], 256);
        world_close(&w);
    }
    CHECK(memcmp(weights[0], weights[1], sizeof weights[0]) == 0);
}

/* Also sets that are not the trainer's, and the whole run once more. */
TEST_CASE(Resident, evaluates_predicts_and_begins_again_as_the_host_does) {
    double losses[2][4];
    float logits[2][20 * WORLD_CLASSES], weights[2][2][256] = {{{0}}};
    for (int resident = 0; resident < 2; resident++) {
        world w;
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 20, .valid_length = 9}));
        w.desc.resident = resident ? QUERN_RESIDENT_ON : QUERN_RESIDENT_OFF;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        for (int round = 0; round < 2; round++) {
            quern_scalar scalars[2];
            CHECK_OK(quern_trainer_fit(w.trainer, NULL));
            world_weights(&w, weights[resident][round], 256);
            CHECK_OK(quern_trainer_evaluate(w.trainer, w.valid, scalars, 2, NULL));
            losses[resident][2 * round] = scalars[0].value;
            CHECK_OK(quern_trainer_evaluate(w.trainer, w.train, scalars, 2, NULL));
            losses[resident][2 * round + 1] = scalars[0].value;
            CHECK_OK(quern_trainer_predict(w.trainer, w.train, w.logits, logits[resident],
                                           sizeof logits[0]));
            CHECK_OK(quern_trainer_reset(w.trainer));
        }
        CHECK(memcmp(weights[resident][0], weights[resident][1], sizeof weights[0][0]) == 0);
        world_close(&w);
    }
    CHECK(memcmp(losses[0], losses[1], sizeof losses[0]) == 0);
    CHECK(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
    CHECK(memcmp(weights[0], weights[1], sizeof weights[0]) == 0);
}

static int64_t length_of(void *self) { return *(const int64_t *)self; }

static int32_t fields_of(void *self, const quern_field **out) {
    static const quern_field fields[] = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                         {.name = "label", .dtype = QUERN_I32}};
    (void)self;
    *out = fields;
    return 2;
}

static quern_status zeros(void *self, int64_t index, void *const *to) {
    (void)self, (void)index;
    memset(to[0], 0, WORLD_FEATURES * sizeof(float));
    memset(to[1], 0, sizeof(int32_t));
    return QUERN_OK;
}

static quern_status end_at_once(void *self, void *const *to, bool *end) {
    (void)self, (void)to;
    *end = true;
    return QUERN_OK;
}

/* ON is refused by name; AUTO takes what it can, which on the CPU is nothing. */
TEST_CASE(Resident, is_refused_for_sets_that_are_not_in_memory) {
    static const quern_dataset_type type = {.name = "made",
                                            .length = length_of,
                                            .fields = fields_of,
                                            .read = zeros,
                                            .next = end_at_once};
    static int64_t lengths[] = {-1, 12};
    static const char *const words[] = {
        "the set val is a stream", "the set val is not in memory: it is read sample by sample"};
    for (int i = 0; i < 2; i++) {
        world w;
        quern_dataset *made = NULL;
        REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
        REQUIRE_OK(quern_dataset_custom(&made, w.device, &type, &lengths[i]));
        w.desc.valid = made;
        w.desc.resident = QUERN_RESIDENT_ON;
        CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_UNSUPPORTED);
        CHECK_ERROR_HAS(words[i]);
        w.desc.resident = (quern_resident)3;
        CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_INVALID);
        CHECK_ERROR_HAS("resident is 3, not 0 … 2");
        w.desc.valid = NULL;
        w.desc.resident = QUERN_RESIDENT_ON;
        w.desc.train = NULL;
        CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_INVALID);
        CHECK_ERROR_HAS("resident is ON, but there is no set");
        quern_dataset_destroy(made);
        world_close(&w);
    }
}
