/* The callbacks that write: what they write, and what becomes of a disk that will not take it. */
#include "quern_test.h"
#include "support/fault_host.h"
#include "support/temporary.h"
#include "world.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static int line_count(const char *text) {
    int count = 0;
    for (; *text; text++) count += *text == '\n';
    return count;
}

static const char *line_at(const char *text, int index) {
    for (; index > 0; index--) text = strchr(text, '\n') + 1;
    return text;
}

static json_t *json_line(const char *text, int index) {
    const char *line = line_at(text, index);
    return json_loadb(line, (size_t)(strchr(line, '\n') - line), JSON_REJECT_DUPLICATES, NULL);
}

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

typedef struct written {
    char text[16384];
    quern_result result;
} written;

/* One fit of two epochs with JSONL (or CSV) history into `path`. */
static quern_status fit_with_history(world *w, bool csv, const quern_history_desc *history,
                                     quern_result *result) {
    quern_jsonl *jsonl = NULL;
    quern_csv_history *table = NULL;
    quern_status s = csv ? quern_csv_history_create(&table, w->device, history)
                         : quern_jsonl_create(&jsonl, w->device, history);
    if (s != QUERN_OK) return s;
    const quern_callback callback =
        csv ? quern_csv_history_callback(table) : quern_jsonl_callback(jsonl);
    quern_trainer_desc desc = world_with(w, &callback, 1);
    desc.epoch_count = 2;
    desc.log_every = 2;
    s = quern_trainer_create(&w->trainer, &desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w->trainer, result);
    quern_trainer_destroy(w->trainer);
    w->trainer = NULL;
    quern_jsonl_destroy(jsonl);
    quern_csv_history_destroy(table);
    return s;
}

static bool history_text(bool csv, const char *header, bool append, int runs, written *out) {
    world w;
    temporary t;
    memset(out, 0, sizeof *out);
    if (!temporary_begin(&t)) return false;
    bool ok = world_open(&w, &(world_desc){0}) == QUERN_OK;
    for (int i = 0; ok && i < runs; i++)
        ok = fit_with_history(&w, csv,
                              &(quern_history_desc){.path = temporary_join(&t, "history"),
                                                    .header = header,
                                                    .append = append},
                              &out->result) == QUERN_OK;
    ok = ok && temporary_read(&t, "history", out->text, sizeof out->text - 1) > 0;
    if (w.device) world_close(&w);
    temporary_end(&t);
    return ok;
}

TEST_CASE(Writers, jsonl_has_a_line_per_log_eval_end_and_epoch_end) {
    written out;
    static const char *const events[] = {"log", "log", "eval_end", "epoch_end",
                                         "log", "log", "eval_end", "epoch_end"};
    REQUIRE(history_text(false, "{\"seed\":7}", false, 1, &out));
    REQUIRE(line_count(out.text) == 9);
    json_t *first = json_line(out.text, 0);
    CHECK(number(first, "seed") == 7);
    json_decref(first);
    for (int i = 0; i < 8; i++) {
        json_t *line = json_line(out.text, i + 1);
        REQUIRE(line != NULL);
        CHECK_TEXT(json_string_value(json_object_get(line, "event")), events[i]);
        CHECK(number(line, "seconds") > 0);
        json_decref(line);
    }
    json_t *last = json_line(out.text, 8);
    CHECK(number(last, "step") == 6 && number(last, "attempts") == 6 && number(last, "epoch") == 1);
    CHECK(number(last, "train/loss") == out.result.train_loss); /* reads back to the bit */
    CHECK(number(last, "val/accuracy") == out.result.valid_accuracy);
    CHECK(json_object_get(last, "nonfinite") == NULL);
    json_decref(last);
}

TEST_CASE(Writers, csv_has_fixed_columns_and_empty_cells) {
    written out;
    REQUIRE(history_text(true, NULL, false, 1, &out));
    CHECK(line_count(out.text) == 9);
    CHECK(strncmp(out.text,
                  "event,step,epoch,seconds,train/loss,train/accuracy,train/learning_rate,"
                  "train/gradient_norm,val/loss,val/accuracy\n",
                  113) == 0);
    for (int i = 0; i < 9; i++) {
        int commas = 0;
        for (const char *c = line_at(out.text, i); *c != '\n'; c++) commas += *c == ',';
        CHECK(commas == 9);
    }
    const char *log = line_at(out.text, 1), *eval = line_at(out.text, 3);
    CHECK(strncmp(log, "log,2,0,", 8) == 0);
    CHECK(strncmp(strchr(log, '\n') - 2, ",,", 2) == 0); /* no validation in a log */
    CHECK(strncmp(eval, "eval_end,3,0,", 13) == 0);
    CHECK(strstr(eval, ",,,,") != NULL && strstr(eval, ",,,,") < strchr(eval, '\n'));
}

TEST_CASE(Writers, append_adds_to_what_is_there) {
    written once, twice;
    REQUIRE(history_text(true, NULL, true, 1, &once));
    REQUIRE(history_text(true, NULL, true, 2, &twice));
    CHECK(line_count(twice.text) == 2 * line_count(once.text) - 1); /* one header */
    REQUIRE(history_text(false, NULL, false, 2, &twice));
    CHECK(line_count(twice.text) == 8); /* without append the file starts over */
}

/* 0 / 0 */
static quern_metric void_metric(const world *w) {
    quern_tensor *nothing =
        quern_scale(w->graph, w->loss, &(quern_scale_desc){.factor = QUERN_ZERO});
    return (quern_metric){.name = "void", .value = nothing, .weight = nothing};
}

static void void_history(bool csv, char text[8192]) {
    world w;
    temporary t;
    memset(text, 0, 8192);
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    const quern_metric metric = void_metric(&w);
    w.desc.metrics = &metric;
    w.desc.metric_count = 1;
    REQUIRE_OK(
        fit_with_history(&w, csv, &(quern_history_desc){.path = temporary_join(&t, "h")}, NULL));
    REQUIRE(temporary_read(&t, "h", text, 8191) > 0);
    world_close(&w);
    temporary_end(&t);
}

/* It is null, and named. */
TEST_CASE(Writers, jsonl_shows_what_is_not_finite) {
    char text[8192];
    void_history(false, text);
    json_t *line = json_line(text, 0);
    REQUIRE(line != NULL);
    CHECK(json_is_null(json_object_get(line, "train/void")));
    const json_t *names = json_object_get(line, "nonfinite");
    CHECK(json_array_size(names) == 1);
    CHECK_TEXT(json_string_value(json_array_get(names, 0)), "train/void");
    json_decref(line);
}

TEST_CASE(Writers, csv_shows_what_is_not_finite) {
    char text[8192];
    void_history(true, text);
    const char *head = strstr(text, ",train/void");
    REQUIRE(head != NULL && strncmp(text, "event,step,", 11) == 0);
    int column = 0;
    for (const char *c = text; c <= head; c++) column += *c == ',';
    const char *cell = line_at(text, 1);
    CHECK(strncmp(cell, "log,2,0,", 8) == 0);
    for (; column > 0; column--) cell = strchr(cell, ',') + 1;
    CHECK_SAY(strncmp(cell, "nan", 3) == 0 && strchr(",\n", cell[3]), "%.20s", cell);
}

TEST_CASE(Writers, a_path_that_cannot_be_written_is_refused_before_training) {
    world w;
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    for (int csv = 0; csv < 2; csv++) {
        CHECK_STATUS(
            fit_with_history(&w, csv, &(quern_history_desc){.path = "/nowhere/at/all"}, &r),
            QUERN_IO);
        CHECK_ERROR_HAS("/nowhere/at/all");
        CHECK_ERROR_HAS("No such file or directory");
        CHECK_STATUS(fit_with_history(&w, csv, &(quern_history_desc){0}, &r), QUERN_INVALID);
    }
    CHECK_STATUS(fit_with_history(&w, true, &(quern_history_desc){.path = "x", .header = "{}"}, &r),
                 QUERN_INVALID);
    world_close(&w);
}

/* A full disk at the n-th line ends the run with IO, for every n; nothing leaks. */
TEST_CASE(Writers, a_full_disk_ends_the_run_with_path_and_cause) {
    for (int csv = 0; csv < 2; csv++) {
        for (int64_t n = 1;; n++) {
            world w;
            fault_host faults;
            temporary t;
            quern_result r;
            REQUIRE(temporary_begin(&t));
            fault_host_begin(&faults, NULL);
            faults.fault[FAULT_WRITE] = (fault){.at = n, .error = ENOSPC};
            REQUIRE_OK(world_open(&w, &(world_desc){.host = faults.host}));
            const quern_status s = fit_with_history(
                &w, csv, &(quern_history_desc){.path = temporary_join(&t, "history")}, &r);
            char text[1024];
            snprintf(text, sizeof text, "%s", quern_error());
            world_close(&w);
            temporary_end(&t);
            REQUIRE(fault_host_live(&faults) == 0);
            if (!fault_host_fired(&faults, FAULT_WRITE)) {
                CHECK_STATUS(s, QUERN_OK);
                CHECK(n >= 8);
                break;
            }
            REQUIRE_STATUS(s, QUERN_IO);
            CHECK_HAS(text, csv ? "callback csv_history failed at" : "callback jsonl failed at");
            CHECK_HAS(text, "history");
            CHECK_HAS(text, "No space left on device");
        }
    }
}

typedef struct screen {
    char text[65536];
    size_t length;
} screen;

static void screen_write(void *self, const char *text, size_t bytes) {
    screen *s = self;
    if (bytes > sizeof s->text - 1 - s->length) bytes = sizeof s->text - 1 - s->length;
    memcpy(s->text + s->length, text, bytes);
    s->length += bytes;
    s->text[s->length] = 0;
}

/* A clock that runs 30 ms at every look of the thread that trains, so that redrawing depends on
 * nothing else; a thread that saves looks too. */
typedef struct ticking_clock {
    pthread_t trains;
    _Atomic int64_t now;
} ticking_clock;

static int64_t ticking(void *self) {
    ticking_clock *c = self;
    const int64_t step = pthread_equal(pthread_self(), c->trains) ? 30000000 : 0;
    return atomic_fetch_add(&c->now, step) + step;
}

/* `blind`: every sample is NaN and every update skipped. */
static bool progress_text(bool terminal, bool color, int32_t width, bool blind, screen *out) {
    world w;
    quern_progress *progress = NULL;
    ticking_clock clock = {.trains = pthread_self()};
    quern_host host = quern_host_default();
    memset(out, 0, sizeof *out);
    host.clock.monotonic_ns = ticking;
    host.clock.self = &clock;
    if (world_open(&w, &(world_desc){.train_length = 40, .host = host}) != QUERN_OK) return false;
    bool ok = quern_progress_create(&progress, w.device,
                                    &(quern_progress_desc){.write = screen_write,
                                                           .self = out,
                                                           .terminal = terminal,
                                                           .color = color,
                                                           .width = width}) == QUERN_OK;
    if (ok) {
        const quern_callback callback = quern_progress_callback(progress);
        quern_trainer_desc desc = world_with(&w, &callback, 1);
        desc.epoch_count = 2;
        desc.log_every = 5;
        const quern_metric metric = void_metric(&w);
        if (blind) {
            desc.not_finite = QUERN_NOT_FINITE_SKIP;
            desc.not_finite_limit = 1000;
            desc.metrics = &metric;
            desc.metric_count = 1;
            for (int i = 0; i < 40; i++) w.train_x[i][0] = NAN;
        }
        ok = quern_trainer_create(&w.trainer, &desc) == QUERN_OK &&
             quern_trainer_fit(w.trainer, NULL) == QUERN_OK;
        quern_trainer_destroy(w.trainer);
        w.trainer = NULL;
    }
    quern_progress_destroy(progress);
    world_close(&w);
    return ok;
}

TEST_CASE(Writers, plain_progress_is_a_line_per_log_and_epoch) {
    screen s;
    REQUIRE(progress_text(false, false, 0, false, &s));
    CHECK(line_count(s.text) == 6);
    CHECK(strchr(s.text, '\r') == NULL && strchr(s.text, '\033') == NULL);
    CHECK(strncmp(s.text, "epoch 1/2  step 5  train/loss ", 30) == 0);
    CHECK_HAS(line_at(s.text, 2), "epoch 1/2  train/loss ");
    CHECK_HAS(line_at(s.text, 2), "val/accuracy ");
    CHECK_HAS(line_at(s.text, 5), "epoch 2/2");
    CHECK_HAS(s.text, "samples/s");
}

/* Not "-nan" either, which printf makes of the NaN of 0 / 0. */
TEST_CASE(Writers, progress_shows_what_is_not_finite) {
    screen s;
    REQUIRE(progress_text(false, false, 0, true, &s));
    CHECK_HAS(s.text, "  step 0  train/loss nan  ");
    CHECK_HAS(s.text, "  train/void nan  ");
    CHECK_HAS(line_at(s.text, 1), "epoch 1/2  train/loss nan  ");
    CHECK(strstr(s.text, "-nan") == NULL);
    REQUIRE(progress_text(true, false, 80, true, &s));
    CHECK_HAS(s.text, "  loss nan  ");
    CHECK_HAS(s.text, "epoch 2/2  train/loss nan  ");
}

/* Every bar leaves the terminal's last column free, so that it never wraps. */
static void check_bars_fit(const char *shown, int width) {
    for (const char *bar = shown; (bar = strchr(bar, '\r')) != NULL; bar++) {
        int columns = 0;
        const char *c = bar + 1;
        for (; *c && *c != '\r' && *c != '\n'; c++) {
            if (*c == '\033')
                while (*c != 'm' && *c != 'K') c++;
            else
                columns++;
        }
        const bool bar_only = *c != '\n'; /* else an epoch's line came after clearing it */
        REQUIRE_SAY(columns < width || !bar_only, "a bar of %d columns", columns);
    }
}

TEST_CASE(Writers, a_terminal_gets_one_bar_that_fits_and_is_cleared) {
    screen s;
    REQUIRE(progress_text(true, true, 60, false, &s));
    CHECK(line_count(s.text) == 2); /* the epochs; the bar has no line of its own */
    CHECK_HAS(s.text, "\repoch 1/2 \033[32m[");
    CHECK_HAS(s.text, "ETA ");
    CHECK(strcmp(s.text + s.length - 1, "\n") == 0 ||
          strcmp(s.text + s.length - 4, "\r\033[K") == 0);
    check_bars_fit(s.text, 60);
}

TEST_CASE(Writers, a_bar_fits_a_terminal_of_any_width) {
    static const int32_t widths[] = {1, 2, 5, 12, 30, 500, 65535};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        screen s;
        REQUIRE(progress_text(true, false, widths[i], false, &s));
        check_bars_fit(s.text, widths[i]);
    }
}

static quern_action stop_late(void *self, const quern_event *event) {
    (void)self;
    if (event->step == 24) quern_trainer_stop(event->trainer);
    return QUERN_CONTINUE;
}

/* 5 epochs of 10 updates, of which the first process is told to stop behind 24. */
static void progress_part(bool terminal, bool resume, temporary *folder, screen *out) {
    world w;
    quern_progress *progress = NULL;
    ticking_clock clock = {.trains = pthread_self()};
    quern_host host = quern_host_default();
    memset(out, 0, sizeof *out);
    host.clock.monotonic_ns = ticking;
    host.clock.self = &clock;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 40, .host = host}));
    REQUIRE_OK(quern_progress_create(
        &progress, w.device,
        &(quern_progress_desc){.write = screen_write, .self = out, .terminal = terminal}));
    const quern_callback callbacks[] = {quern_progress_callback(progress),
                                        {.name = "stop", .step_end = stop_late}};
    quern_trainer_desc desc = world_with(&w, callbacks, resume ? 1 : 2);
    desc.epoch_count = 5;
    desc.run_ahead = 1;
    desc.save = (quern_save_desc){.directory = folder->path, .resume = resume};
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_progress_destroy(progress);
    world_close(&w);
}

/* What is left of the run, not of the process. */
TEST_CASE(Writers, progress_of_a_resumed_run_counts_from_its_beginning) {
    for (int terminal = 0; terminal < 2; terminal++) {
        temporary folder;
        static screen s;
        REQUIRE(temporary_begin(&folder));
        for (int resume = 0; resume < 2; resume++)
            progress_part(terminal == 1, resume == 1, &folder, &s);
        CHECK_HAS(s.text, "epoch 3/5");
        CHECK_HAS(s.text, "epoch 5/5");
        CHECK(!strstr(s.text, "/7"));
        if (terminal) CHECK_HAS(s.text, "] 27/50"); /* of the bars, every second update's is seen */
        CHECK(!strstr(s.text, " 1/50") && !strstr(s.text, " 2/50"));
        temporary_end(&folder);
    }
}

TEST_CASE(Writers, progress_refuses_what_it_cannot_do) {
    world w;
    quern_progress *p = NULL;
    screen s;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    CHECK_STATUS(quern_progress_create(&p, w.device, &(quern_progress_desc){0}), QUERN_INVALID);
    CHECK_STATUS(
        quern_progress_create(
            &p, w.device, &(quern_progress_desc){.write = screen_write, .self = &s, .width = -1}),
        QUERN_INVALID);
    CHECK(p == NULL);
    quern_progress_destroy(NULL);
    world_close(&w);
}
