/* The order of all events, golden. */
#include "quern_test.h"
#include "temporary.h"
#include "world.h"

#include <stdio.h>
#include <string.h>

typedef struct tape_text {
    char text[16384];
    size_t length;
} tape_text;

static void tape_print(const quern_tape *tape, tape_text *out) {
    const quern_tape_entry *entries = NULL;
    const int64_t count = quern_tape_entries(tape, &entries);
    out->length = 0;
    out->text[0] = 0;
    for (int64_t i = 0; i < count && out->length < sizeof out->text - 128; i++)
        out->length += (size_t)snprintf(out->text + out->length, sizeof out->text - out->length,
                                        "%s %d %d %d %d\n", quern_event_name(entries[i].kind),
                                        (int)entries[i].step, (int)entries[i].attempts,
                                        (int)entries[i].epoch, (int)entries[i].batch);
}

/* A fit of `desc` with a tape, as text: "event step attempts epoch batch" a line. */
static quern_status tape_of(world *w, quern_trainer_desc desc, bool inside, tape_text *out) {
    quern_tape *tape = NULL;
    quern_status s = quern_tape_create(&tape, w->device, 1000, inside);
    if (s != QUERN_OK) return s;
    const quern_callback callback = quern_tape_callback(tape);
    desc.callbacks = &callback;
    desc.callback_count = 1;
    s = quern_trainer_create(&w->trainer, &desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w->trainer, NULL);
    quern_trainer_destroy(w->trainer);
    w->trainer = NULL;
    tape_print(tape, out);
    quern_tape_destroy(tape);
    return s;
}

/* 2 epochs of 3 batches (4, 4, 2 samples), validation on 4, 4, 2, log every 2, two attempts ahead:
 * update_end and step_end come two attempts after their step_begin, or before a log can fall. */
static const char golden[] = "init 0 0 0 0\n"
                             "fit_begin 0 0 0 0\n"
                             "epoch_begin 0 0 0 0\n"
                             "fetch_begin 0 0 0 0\n"
                             "fetch_end 0 0 0 0\n"
                             "step_begin 0 0 0 0\n"
                             "fetch_begin 0 1 0 1\n"
                             "fetch_end 0 1 0 1\n"
                             "step_begin 0 1 0 1\n"
                             "update_end 1 1 0 0\n"
                             "step_end 1 1 0 0\n"
                             "update_end 2 2 0 1\n"
                             "step_end 2 2 0 1\n"
                             "log 2 2 0 1\n"
                             "fetch_begin 2 2 0 2\n"
                             "fetch_end 2 2 0 2\n"
                             "step_begin 2 2 0 2\n"
                             "update_end 3 3 0 2\n"
                             "step_end 3 3 0 2\n"
                             "log 3 3 0 2\n"
                             "eval_begin 3 3 0 0\n"
                             "eval_batch_end 3 3 0 0\n"
                             "eval_batch_end 3 3 0 1\n"
                             "eval_batch_end 3 3 0 2\n"
                             "eval_end 3 3 0 0\n"
                             "epoch_end 3 3 0 3\n"
                             "epoch_begin 3 3 1 0\n"
                             "fetch_begin 3 3 1 0\n"
                             "fetch_end 3 3 1 0\n"
                             "step_begin 3 3 1 0\n"
                             "update_end 4 4 1 0\n"
                             "step_end 4 4 1 0\n"
                             "log 4 4 1 0\n"
                             "fetch_begin 4 4 1 1\n"
                             "fetch_end 4 4 1 1\n"
                             "step_begin 4 4 1 1\n"
                             "fetch_begin 4 5 1 2\n"
                             "fetch_end 4 5 1 2\n"
                             "step_begin 4 5 1 2\n"
                             "update_end 5 5 1 1\n"
                             "step_end 5 5 1 1\n"
                             "update_end 6 6 1 2\n"
                             "step_end 6 6 1 2\n"
                             "log 6 6 1 2\n"
                             "eval_begin 6 6 1 0\n"
                             "eval_batch_end 6 6 1 0\n"
                             "eval_batch_end 6 6 1 1\n"
                             "eval_batch_end 6 6 1 2\n"
                             "eval_end 6 6 1 0\n"
                             "epoch_end 6 6 1 3\n"
                             "fit_end 6 6 2 2\n"
                             "close 6 6 2 2\n";

TEST_CASE(Tape, two_epochs_of_three_batches_with_validation) {
    world w;
    tape_text found;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.epoch_count = 2;
    w.desc.log_every = 2;
    CHECK_OK(tape_of(&w, w.desc, false, &found));
    CHECK_TEXT(found.text, golden);
    world_close(&w);
}

/* The same order whatever reads the data and however the step is issued. */
TEST_CASE(Tape, does_not_depend_on_workers_or_capture) {
    for (int i = 0; i < 2; i++) {
        world w;
        tape_text found;
        REQUIRE_OK(world_open(&w, &(world_desc){.thread_count = 2}));
        w.desc.epoch_count = 2;
        w.desc.log_every = 2;
        w.desc.worker_count = i == 0 ? 2 : 0;
        w.desc.no_capture = i == 1;
        CHECK_OK(tape_of(&w, w.desc, false, &found));
        CHECK_TEXT(found.text, golden);
        world_close(&w);
    }
}

static const char inside[] = "init 0 0 0 0\n"
                             "fit_begin 0 0 0 0\n"
                             "epoch_begin 0 0 0 0\n"
                             "fetch_begin 0 0 0 0\n"
                             "fetch_end 0 0 0 0\n"
                             "step_begin 0 0 0 0\n"
                             "loss_ready 0 0 0 0\n"
                             "micro_end 0 0 0 0\n"
                             "grads_ready 0 0 0 0\n"
                             "update_begin 0 0 0 0\n"
                             "fetch_begin 0 1 0 1\n"
                             "fetch_end 0 1 0 1\n"
                             "step_begin 0 1 0 1\n"
                             "loss_ready 0 1 0 1\n"
                             "micro_end 0 1 0 1\n"
                             "grads_ready 0 1 0 1\n"
                             "update_begin 0 1 0 1\n"
                             "update_end 1 1 0 0\n"
                             "step_end 1 1 0 0\n"
                             "update_end 2 2 0 1\n"
                             "step_end 2 2 0 1\n"
                             "log 2 2 0 1\n"
                             "fit_end 2 2 0 1\n"
                             "close 2 2 0 1\n";

TEST_CASE(Tape, events_inside_the_step_come_between_its_parts) {
    world w;
    tape_text found;
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    w.desc.step_limit = 2;
    CHECK_OK(tape_of(&w, w.desc, true, &found));
    CHECK_TEXT(found.text, inside);
    world_close(&w);
}

/* Windows of two of the epoch's three batches; the third is flushed as one of its own, or waits. */
static const char flushed[] = "init 0 0 0 0\n"
                              "fit_begin 0 0 0 0\n"
                              "epoch_begin 0 0 0 0\n"
                              "fetch_begin 0 0 0 0\n"
                              "fetch_end 0 0 0 0\n"
                              "fetch_begin 0 0 0 1\n"
                              "fetch_end 0 0 0 1\n"
                              "step_begin 0 0 0 0\n"
                              "loss_ready 0 0 0 0\n"
                              "micro_end 0 0 0 0\n"
                              "loss_ready 0 0 0 0\n"
                              "micro_end 0 0 0 0\n"
                              "grads_ready 0 0 0 0\n"
                              "update_begin 0 0 0 0\n"
                              "fetch_begin 0 1 0 2\n"
                              "fetch_end 0 1 0 2\n"
                              "update_end 1 1 0 0\n"
                              "step_end 1 1 0 0\n"
                              "step_begin 1 1 0 2\n"
                              "loss_ready 1 1 0 2\n"
                              "micro_end 1 1 0 2\n"
                              "grads_ready 1 1 0 2\n"
                              "update_begin 1 1 0 2\n"
                              "update_end 2 2 0 2\n"
                              "step_end 2 2 0 2\n"
                              "log 2 2 0 2\n"
                              "epoch_end 2 2 0 3\n"
                              "epoch_begin 2 2 1 0\n"
                              "fetch_begin 2 2 1 0\n"
                              "fetch_end 2 2 1 0\n"
                              "fetch_begin 2 2 1 1\n"
                              "fetch_end 2 2 1 1\n"
                              "step_begin 2 2 1 0\n"
                              "loss_ready 2 2 1 0\n"
                              "micro_end 2 2 1 0\n"
                              "loss_ready 2 2 1 0\n"
                              "micro_end 2 2 1 0\n"
                              "grads_ready 2 2 1 0\n"
                              "update_begin 2 2 1 0\n"
                              "fetch_begin 2 3 1 2\n"
                              "fetch_end 2 3 1 2\n"
                              "update_end 3 3 1 0\n"
                              "step_end 3 3 1 0\n"
                              "step_begin 3 3 1 2\n"
                              "loss_ready 3 3 1 2\n"
                              "micro_end 3 3 1 2\n"
                              "grads_ready 3 3 1 2\n"
                              "update_begin 3 3 1 2\n"
                              "update_end 4 4 1 2\n"
                              "step_end 4 4 1 2\n"
                              "log 4 4 1 2\n"
                              "epoch_end 4 4 1 3\n"
                              "fit_end 4 4 2 2\n"
                              "close 4 4 2 2\n";
static const char carried[] = "init 0 0 0 0\n"
                              "fit_begin 0 0 0 0\n"
                              "epoch_begin 0 0 0 0\n"
                              "fetch_begin 0 0 0 0\n"
                              "fetch_end 0 0 0 0\n"
                              "fetch_begin 0 0 0 1\n"
                              "fetch_end 0 0 0 1\n"
                              "step_begin 0 0 0 0\n"
                              "loss_ready 0 0 0 0\n"
                              "micro_end 0 0 0 0\n"
                              "loss_ready 0 0 0 0\n"
                              "micro_end 0 0 0 0\n"
                              "grads_ready 0 0 0 0\n"
                              "update_begin 0 0 0 0\n"
                              "fetch_begin 0 1 0 2\n"
                              "fetch_end 0 1 0 2\n"
                              "update_end 1 1 0 0\n"
                              "step_end 1 1 0 0\n"
                              "log 1 1 0 0\n"
                              "epoch_end 1 1 0 3\n"
                              "epoch_begin 1 1 1 0\n"
                              "fetch_begin 1 1 1 0\n"
                              "fetch_end 1 1 1 0\n"
                              "step_begin 1 1 1 0\n"
                              "loss_ready 1 1 1 0\n"
                              "micro_end 1 1 1 0\n"
                              "loss_ready 1 1 1 0\n"
                              "micro_end 1 1 1 0\n"
                              "grads_ready 1 1 1 0\n"
                              "update_begin 1 1 1 0\n"
                              "update_end 2 2 1 0\n"
                              "step_end 2 2 1 0\n"
                              "log 2 2 1 0\n"
                              "fetch_begin 2 2 1 1\n"
                              "fetch_end 2 2 1 1\n"
                              "fetch_begin 2 2 1 2\n"
                              "fetch_end 2 2 1 2\n"
                              "step_begin 2 2 1 1\n"
                              "loss_ready 2 2 1 1\n"
                              "micro_end 2 2 1 1\n"
                              "loss_ready 2 2 1 1\n"
                              "micro_end 2 2 1 1\n"
                              "grads_ready 2 2 1 1\n"
                              "update_begin 2 2 1 1\n"
                              "update_end 3 3 1 1\n"
                              "step_end 3 3 1 1\n"
                              "log 3 3 1 1\n"
                              "epoch_end 3 3 1 3\n"
                              "fit_end 3 3 2 1\n"
                              "close 3 3 2 1\n";

TEST_CASE(Tape, two_epochs_of_windows_of_two) {
    static const char *const expected[] = {flushed, carried};
    static const quern_tail tails[] = {QUERN_TAIL_FLUSH, QUERN_TAIL_CARRY};
    for (int i = 0; i < 2; i++)
        for (int way = 0; way < 3; way++) {
            world w;
            tape_text found;
            REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
            w.desc.epoch_count = 2;
            w.desc.log_every = 2;
            w.desc.accumulate = 2;
            w.desc.tail = tails[i];
            w.desc.worker_count = way == 1 ? 2 : 0;
            w.desc.no_capture = way == 2;
            CHECK_OK(tape_of(&w, w.desc, true, &found));
            CHECK_TEXT(found.text, expected[i]);
            world_close(&w);
        }
}

/* When the disk is ready is the disk's affair: save_durable is left out. */
static void durable_remove(tape_text *t) {
    for (char *at; (at = strstr(t->text, "save_durable")) != NULL;) {
        const char *next = strchr(at, '\n') + 1;
        memmove(at, next, strlen(next) + 1);
    }
}

/* Both sets, and a save, at the third update; both sets behind each epoch; a save at the end. */
static const char saved[] = "init 0 0 0 0\n"
                            "fit_begin 0 0 0 0\n"
                            "epoch_begin 0 0 0 0\n"
                            "fetch_begin 0 0 0 0\n"
                            "fetch_end 0 0 0 0\n"
                            "fetch_begin 0 0 0 1\n"
                            "fetch_end 0 0 0 1\n"
                            "step_begin 0 0 0 0\n"
                            "fetch_begin 0 1 0 2\n"
                            "fetch_end 0 1 0 2\n"
                            "update_end 1 1 0 0\n"
                            "step_end 1 1 0 0\n"
                            "step_begin 1 1 0 2\n"
                            "update_end 2 2 0 2\n"
                            "step_end 2 2 0 2\n"
                            "log 2 2 0 2\n"
                            "eval_begin 2 2 0 0\n"
                            "eval_batch_end 2 2 0 0\n"
                            "eval_batch_end 2 2 0 1\n"
                            "eval_end 2 2 0 0\n"
                            "eval_begin 2 2 0 0\n"
                            "eval_batch_end 2 2 0 0\n"
                            "eval_batch_end 2 2 0 1\n"
                            "eval_end 2 2 0 0\n"
                            "epoch_end 2 2 0 3\n"
                            "epoch_begin 2 2 1 0\n"
                            "fetch_begin 2 2 1 0\n"
                            "fetch_end 2 2 1 0\n"
                            "fetch_begin 2 2 1 1\n"
                            "fetch_end 2 2 1 1\n"
                            "step_begin 2 2 1 0\n"
                            "update_end 3 3 1 0\n"
                            "step_end 3 3 1 0\n"
                            "eval_begin 3 3 1 0\n"
                            "eval_batch_end 3 3 1 0\n"
                            "eval_batch_end 3 3 1 1\n"
                            "eval_end 3 3 1 0\n"
                            "eval_begin 3 3 1 0\n"
                            "eval_batch_end 3 3 1 0\n"
                            "eval_batch_end 3 3 1 1\n"
                            "eval_end 3 3 1 0\n"
                            "save_begin 3 3 1 0\n"
                            "save_snapshot 3 3 1 0\n"
                            "fetch_begin 3 3 1 2\n"
                            "fetch_end 3 3 1 2\n"
                            "step_begin 3 3 1 2\n"
                            "update_end 4 4 1 2\n"
                            "step_end 4 4 1 2\n"
                            "log 4 4 1 2\n"
                            "eval_begin 4 4 1 0\n"
                            "eval_batch_end 4 4 1 0\n"
                            "eval_batch_end 4 4 1 1\n"
                            "eval_end 4 4 1 0\n"
                            "eval_begin 4 4 1 0\n"
                            "eval_batch_end 4 4 1 0\n"
                            "eval_batch_end 4 4 1 1\n"
                            "eval_end 4 4 1 0\n"
                            "epoch_end 4 4 1 3\n"
                            "save_begin 4 4 2 2\n"
                            "save_snapshot 4 4 2 2\n"
                            "fit_end 4 4 2 2\n"
                            "close 4 4 2 2\n";

TEST_CASE(Tape, two_epochs_of_windows_with_two_sets_and_saves) {
    for (int way = 0; way < 3; way++) {
        world w;
        tape_text found;
        temporary folder;
        REQUIRE(temporary_begin(&folder));
        REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = 6}));
        const quern_evaluation_set more = {"more", w.train};
        w.desc.evaluation_sets = &more;
        w.desc.evaluation_set_count = 1;
        w.desc.eval_batch_limit = 2;
        w.desc.evaluate_every = 3;
        w.desc.evaluate_every_epochs = 1;
        w.desc.epoch_count = 2;
        w.desc.log_every = 2;
        w.desc.accumulate = 2;
        w.desc.worker_count = way == 1 ? 2 : 0;
        w.desc.no_capture = way == 2;
        w.desc.save = (quern_save_desc){.directory = folder.path, .every = 3};
        CHECK_OK(tape_of(&w, w.desc, false, &found));
        durable_remove(&found);
        CHECK_TEXT(found.text, saved);
        world_close(&w);
        temporary_end(&folder);
    }
}

TEST_CASE(Tape, records_up_to_its_capacity) {
    world w;
    quern_tape *tape = NULL;
    const quern_tape_entry *entries = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    CHECK_STATUS(quern_tape_create(&tape, w.device, 0, false), QUERN_INVALID);
    CHECK(tape == NULL);
    REQUIRE_OK(quern_tape_create(&tape, w.device, 3, false));
    const quern_callback callback = quern_tape_callback(tape);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    CHECK(quern_tape_entries(tape, &entries) == 3);
    CHECK(entries[2].kind == QUERN_EVENT_epoch_begin);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_tape_destroy(tape);
    world_close(&w);
}
