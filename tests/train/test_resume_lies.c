/* Checkpoints whose digests are right and which lie: each is refused with a sentence that names
 * what cannot be, and nothing on the disk is changed. */
#include "host/train/checkpoint/manifest.h"
#include "quern_test.h"
#include "saved_run.h"
#include "support/forge.h"
#include "temporary.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FILE_MAX = 1 << 17 };
enum { MANIFEST, MODEL, STATE };

static const char *const file_names[] = {MANIFEST_FILE, MODEL_FILE, STATE_FILE};

/* A run's only checkpoint: as it was written, and as it lies on the disk. */
typedef struct victim {
    saved_run_desc desc;
    temporary folder;
    int64_t step;
    char whole[3][FILE_MAX], lying[3][FILE_MAX];
    forge_file files[3]; /* of `lying` */
    size_t bytes[3];     /* of `whole` */
} victim;

static saved_run run;

static bool file_name(const victim *v, int i, char *to, size_t bytes) {
    return snprintf(to, bytes, "step-%" PRId64 "/%s", v->step, file_names[i]) > 0;
}

/* Over already: a resume that nothing refuses trains nothing. */
static void victim_begin(victim *v, const saved_run_desc *desc, int64_t step) {
    char name[64];
    v->desc = *desc;
    v->step = step;
    REQUIRE(temporary_begin(&v->folder));
    v->desc.directory = v->folder.path;
    REQUIRE_OK(saved_run_whole(&run, &v->desc));
    v->desc.resume = true;
    for (int i = 0; i < 3; i++) {
        REQUIRE(file_name(v, i, name, sizeof name));
        const long bytes = temporary_read(&v->folder, name, v->whole[i], FILE_MAX);
        REQUIRE(bytes > 0 && bytes < FILE_MAX);
        v->bytes[i] = (size_t)bytes;
    }
}

static void lie_begin(victim *v) {
    for (int i = 0; i < 3; i++) {
        memcpy(v->lying[i], v->whole[i], v->bytes[i]);
        v->files[i] = (forge_file){v->lying[i], v->bytes[i], FILE_MAX};
    }
}

static void lie_write(victim *v) {
    char name[64];
    REQUIRE(forge_digests(&v->files[MANIFEST], &v->files[MODEL], &v->files[STATE]));
    for (int i = 0; i < 3; i++) {
        REQUIRE(file_name(v, i, name, sizeof name));
        REQUIRE(temporary_write(&v->folder, name, v->files[i].data, v->files[i].bytes));
    }
}

static void check_untouched(victim *v) {
    static char found[FILE_MAX];
    char name[64];
    for (int i = 0; i < 3; i++) {
        REQUIRE(file_name(v, i, name, sizeof name));
        CHECK(temporary_read(&v->folder, name, found, FILE_MAX) == (long)v->files[i].bytes);
        CHECK(memcmp(found, v->files[i].data, v->files[i].bytes) == 0);
    }
}

/* What lies in memory is written and refused. */
static void check_refused(victim *v, const char *lie, const char *says) {
    lie_write(v);
    const quern_status status = saved_run_open(&run, &v->desc);
    CHECK_SAY(status == QUERN_INPUT, "%s: %s", lie, quern_status_name(status));
    if (status == QUERN_OK) saved_run_close(&run);
    CHECK_ERROR_HAS(says);
    CHECK_ERROR_HAS("step-");
    check_untouched(v);
}

static void check_number(victim *v, const char *key, const char *value, const char *says) {
    lie_begin(v);
    REQUIRE(forge_number(&v->files[MANIFEST], key, value));
    check_refused(v, key, says);
}

static void check_element(victim *v, const char *tensor, size_t element, const void *value,
                          size_t bytes, const char *says) {
    lie_begin(v);
    void *at = forge_element(&v->files[STATE], tensor, element, bytes);
    REQUIRE_SAY(at != NULL, "there is no %s", tensor);
    memcpy(at, value, bytes);
    check_refused(v, tensor, says);
}

static void check_count(victim *v, const char *tensor, size_t element, int64_t value,
                        const char *says) {
    check_element(v, tensor, element, &value, sizeof value, says);
}

/* In the middle of an epoch, and behind one that left a batch over for the next. */
static const saved_run_desc open_epoch = {.step_limit = 2};
static const saved_run_desc left_over = {.epochs = 1, .accumulate = 2, .tail = QUERN_TAIL_CARRY};
static victim midway, ended;

static void victims_begin(void) {
    victim_begin(&midway, &open_epoch, 2);
    victim_begin(&ended, &left_over, 3);
}

static void victims_end(void) {
    temporary_end(&midway.folder);
    temporary_end(&ended.folder);
}

/* What is forged without a lie is taken. */
TEST_CASE(ResumeLies, the_truth_is_taken) {
    victim *const each[] = {&midway, &ended};
    victims_begin();
    for (int i = 0; i < 2; i++) {
        char step[24];
        lie_begin(each[i]);
        snprintf(step, sizeof step, "%" PRId64, each[i]->step);
        REQUIRE(forge_number(&each[i]->files[MANIFEST], "step", step));
        lie_write(each[i]);
        CHECK_OK(saved_run_whole(&run, &each[i]->desc));
        CHECK(run.result.step == each[i]->step);
    }
    victims_end();
}

TEST_CASE(ResumeLies, a_counter_of_the_manifest_that_no_run_can_reach) {
    static const char *const keys[] = {
#define X(name) #name,
        CHECKPOINT_COUNTERS(X)
#undef X
    };
    victims_begin();
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !quern_test_failed(); i++) {
        check_number(&midway, keys[i], "-1", "is missing or not a count");
        check_number(&midway, keys[i], "9223372036854775807", "which no run can have come to");
        CHECK_ERROR_HAS(keys[i]);
    }
    victims_end();
}

/* Every counter and flag that the state holds, whatever they are called. */
TEST_CASE(ResumeLies, a_counter_of_the_state_that_no_run_can_reach) {
    char path[512], says[160];
    int seen = 0;
    quern_device *device = NULL;
    quern_checkpoint *checkpoint = NULL;
    const quern_safetensors_entry *entries = NULL;
    victims_begin();
    snprintf(path, sizeof path, "%s/step-2", midway.folder.path);
    REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU}));
    REQUIRE_OK(quern_checkpoint_open(&checkpoint, device, path));
    const quern_safetensors *state = quern_checkpoint_state(checkpoint);
    const int64_t count = quern_safetensors_entries(state, &entries);
    for (int64_t i = 0; i < count && !quern_test_failed(); i++) {
        const quern_safetensors_entry *e = &entries[i];
        if (strncmp(e->name, "trainer.", 8) != 0) continue;
        if (e->dtype == QUERN_I64) {
            snprintf(says, sizeof says, "%s is -2, which no run can have come to", e->name);
            check_count(&midway, e->name, 0, -2, says);
            snprintf(says, sizeof says, "%s is %" PRId64 ", which no run can", e->name, INT64_MAX);
            check_count(&midway, e->name, 0, INT64_MAX, says);
            seen++;
        } else if (e->dtype == QUERN_U8) {
            const uint8_t two = 2;
            snprintf(says, sizeof says, "%s is 2, which no run can have come to", e->name);
            check_element(&midway, e->name, 0, &two, 1, says);
            seen++;
        }
    }
    CHECK(seen >= 20);
    quern_checkpoint_destroy(checkpoint);
    quern_device_destroy(device);
    victims_end();
}

TEST_CASE(ResumeLies, a_scale_that_multiplies_by_nothing_or_by_no_number) {
    static const double values[] = {0, -1, INFINITY, NAN};
    victims_begin();
    for (int i = 0; i < 4; i++)
        check_element(&midway, "trainer.learning_rate_scale", 0, &values[i], sizeof *values,
                      "trainer.learning_rate_scale is ");
    victims_end();
}

/* Each number alone could be true. The open one stands at step 2 of 2 attempts, 6 samples, in the
 * first epoch of 19 samples, before its batch 2; the other at step 3, 18 samples, epoch 1, with
 * batch 6 of epoch 0 held. */
typedef struct lie {
    victim *of;
    const char *key; /* of the manifest; with a '.': a tensor of the state */
    int64_t value;
    const char *says;
} lie;
static const lie lies[] = {
    {&midway, "step", 1, "trainer.step is 2, but the manifest's step 1"},
    {&midway, "trainer.step", 1, "trainer.step is 1, but the manifest's step 2"},
    {&midway, "attempts", 3, "trainer.attempts is 2, but the manifest's attempts 3"},
    {&midway, "trainer.attempts", 1, "trainer.attempts is 1, but the manifest's attempts 2"},
    {&midway, "samples", 7, "trainer.samples is 6, but the manifest's samples 7"},
    {&midway, "trainer.samples", 0, "trainer.samples is 0, but the manifest's samples 6"},
    {&midway, "epoch", 1, "trainer.epoch is 0, but the manifest's epoch 1"},
    {&ended, "trainer.epoch", 4, "trainer.epoch is 4, but the manifest's epoch 1"},
    {&midway, "trainer.epochs_started", 2, "trainer.epochs_started is 2, but the epochs over and "},
    {&midway, "trainer.evaluated_step", 3, "trainer.evaluated_step is 3, but attempts 2"},
    {&midway, "trainer.evaluated_attempts", 9, "trainer.evaluated_attempts is 9, but attempts 2"},
    {&midway, "trainer.failed_step", 3, "trainer.failed_step is 3, but attempts 2"},
    {&midway, "begun_step", 3, "begun_step is 3, but attempts 2"},
    {&midway, "begun_epoch", 1, "begun_epoch is 1, but epoch 0"},
    {&midway, "begun_samples", 7, "begun_samples is 7, but samples 6"},
    {&midway, "begun_train_ns", CHECKPOINT_COUNTER_MAX, "begun_train_ns is "},
    {&midway, "trainer.due", 4, "trainer.due is 4, which nothing asks for"},
    {&midway, "trainer.ended", 99, "trainer.ended is 99, which is no reason to stop"},
    {&midway, "sample", 5, "batch 2, sample 5 of an epoch that is open"},
    {&midway, "sample", 60, "batch 2, sample 60 of an epoch that is open, of a set of 19 samples"},
    {&midway, "batch", 0, "batch 0, sample 6 of an epoch"},
    {&midway, "batch", 40, "batch 40, sample 6 of an epoch"},
    {&ended, "batch", 1, "batch 1, sample 0 of an epoch that is over"},
    {&ended, "sample", 3, "batch 0, sample 3 of an epoch that is over"},
};

TEST_CASE(ResumeLies, numbers_that_contradict_each_other) {
    victims_begin();
    for (size_t i = 0; i < sizeof lies / sizeof *lies && !quern_test_failed(); i++) {
        const lie *l = &lies[i];
        char number[24];
        snprintf(number, sizeof number, "%" PRId64, l->value);
        if (strchr(l->key, '.'))
            check_count(l->of, l->key, 0, l->value, l->says);
        else
            check_number(l->of, l->key, number, l->says);
    }
    victims_end();
}

TEST_CASE(ResumeLies, a_flag_that_the_position_contradicts) {
    const uint8_t yes = 1, no = 0;
    victims_begin();
    check_element(&midway, "trainer.epoch_open", 0, &no, 1, "trainer.epochs_started is 1");
    check_element(&ended, "trainer.epoch_open", 0, &yes, 1, "trainer.epochs_started is 1");
    victims_end();
}

/* Samples, epoch and batch of the one that waits. */
TEST_CASE(ResumeLies, a_held_batch_that_cannot_be) {
    static const char origin[] = "window.0.origin";
    victims_begin();
    check_count(&ended, origin, 0, 0, "window.0.origin says 0 samples, not 1 … 3");
    check_count(&ended, origin, 0, 4, "window.0.origin says 4 samples, not 1 … 3");
    check_count(&ended, origin, 0, INT64_MIN, "window.0.origin says -9223372036854775808 samples");
    check_count(&ended, origin, 0, 2, "tensor window.0.");
    check_count(&ended, origin, 1, 2,
                "window.0.origin says batch 6 of epoch 2, but the run is in "
                "epoch 1");
    check_count(&ended, origin, 1, -1, "window.0.origin says batch 6 of epoch -1");
    check_count(&ended, origin, 2, -1, "window.0.origin says batch -1 of epoch 0");
    victims_end();
}
