/* test_history.c - JSONL and CSV files of a run that is stopped and goes on elsewhere: the file is
 * that of a run that never stopped, but for times; and a disk that will not take it. */
#include "quern_test.h"
#include "state.h"
#include "support/fault_host.h"
#include "support/temporary.h"
#include "train/world.h"

#include <errno.h>
#include <stdio.h>

enum { TEXT_MAX = 16384 };

typedef struct writer {
    bool csv, append;
    quern_jsonl *jsonl;
    quern_csv_history *table;
    quern_callback callback;
} writer;

static quern_status writer_create(writer *f, quern_device *device, const char *path) {
    const quern_history_desc desc = {
        .path = path, .append = f->append, .header = f->csv ? NULL : "{\"seed\":7}"};
    const quern_status s = f->csv ? quern_csv_history_create(&f->table, device, &desc)
                                  : quern_jsonl_create(&f->jsonl, device, &desc);
    if (s != QUERN_OK) return s;
    f->callback = f->csv ? quern_csv_history_callback(f->table) : quern_jsonl_callback(f->jsonl);
    return QUERN_OK;
}

/* Three updates a fit, which are an epoch; a line for each, and a checkpoint at the end. */
static quern_status run(world *w, temporary *t, writer *f, bool resume, int fits) {
    char path[600];
    snprintf(path, sizeof path, "%s", temporary_join(t, "history"));
    quern_status s = writer_create(f, w->device, path);
    if (s != QUERN_OK) return s;
    quern_trainer_desc desc = world_with(w, &f->callback, 1);
    desc.step_limit = 3;
    desc.log_every = 1;
    desc.save = (quern_save_desc){.directory = temporary_join(t, "saved"), .resume = resume};
    s = quern_trainer_create(&w->trainer, &desc);
    for (int i = 0; i < fits && s == QUERN_OK; i++) s = quern_trainer_fit(w->trainer, NULL);
    quern_trainer_destroy(w->trainer);
    w->trainer = NULL;
    quern_jsonl_destroy(f->jsonl);
    quern_csv_history_destroy(f->table);
    f->jsonl = NULL;
    f->table = NULL;
    return s;
}

/* The file without its times: "seconds" and "samples_per_second" of JSON, the fourth cell of CSV.
 */
static void without_times(const char *from, char *to) {
    while (*from) {
        if (strncmp(from, "second", 6) == 0 && strchr(from, ':')) {
            from += strcspn(from, ",\n");
            continue;
        }
        *to++ = *from++;
    }
    *to = 0;
}

static void csv_without_times(const char *from, char *to) {
    for (int cell = 0; *from; from++) {
        cell = *from == '\n' ? 0 : cell + (*from == ',');
        if (cell != 3 || *from == ',') *to++ = *from;
    }
    *to = 0;
}

static void file_read(temporary *t, bool csv, char *out) {
    static char whole[TEXT_MAX];
    memset(whole, 0, sizeof whole);
    REQUIRE(temporary_read(t, "history", whole, sizeof whole - 1) > 0);
    if (csv)
        csv_without_times(whole, out);
    else
        without_times(whole, out);
}

/* Two fits of one process, or of two; between them what a process that was killed had written
 * behind the checkpoint. The first fit of a resumed run is the one that was over. */
static void run_parted(bool csv, bool append, bool parted, const char *between, char *out) {
    temporary t;
    writer f = {.csv = csv, .append = append};
    REQUIRE(temporary_begin(&t));
    for (int process = 0; process < (parted ? 2 : 1); process++) {
        world w;
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        REQUIRE_OK(run(&w, &t, &f, process == 1, parted && process == 0 ? 1 : 2));
        world_close(&w);
        FILE *more = fopen(temporary_join(&t, "history"), "a");
        REQUIRE(more != NULL);
        if (parted && process == 0) fputs(between, more);
        fclose(more);
    }
    file_read(&t, csv, out);
    temporary_end(&t);
}

static char expected[TEXT_MAX], found[TEXT_MAX];

TEST_CASE(History, of_a_resumed_run_is_that_of_one_that_never_stopped) {
    for (int csv = 0; csv < 2; csv++)
        for (int append = 0; append < 2; append++) {
            run_parted(csv, append, false, "", expected);
            run_parted(csv, append, true, "", found);
            CHECK_TEXT(found, expected);
            run_parted(csv, append, true, "a line behind the checkpoint\nand half", found);
            CHECK_TEXT(found, expected);
            int lines = 0;
            for (const char *c = expected; *c; c++) lines += *c == '\n';
            CHECK(lines == 11); /* the header, then 3 logs, an evaluation and an epoch, twice */
        }
}

static quern_action refuse(void *self, const quern_event *event) {
    (void)self;
    (void)event;
    return QUERN_FAIL;
}

/* Lines behind the checkpoint stay where a later callback does not take it. */
TEST_CASE(History, a_refused_resume_leaves_the_file_as_it_was) {
    for (int csv = 0; csv < 2; csv++) {
        temporary t;
        static char before[TEXT_MAX], after[TEXT_MAX];
        char path[600];
        world w;
        writer f = {.csv = csv};
        REQUIRE(temporary_begin(&t));
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        REQUIRE_OK(run(&w, &t, &f, false, 1));
        snprintf(path, sizeof path, "%s", temporary_join(&t, "history"));
        FILE *more = fopen(path, "a");
        REQUIRE(more != NULL);
        fputs("a line behind the checkpoint\n", more);
        fclose(more);
        const long bytes = temporary_read(&t, "history", before, sizeof before);
        REQUIRE_OK(writer_create(&f, w.device, path));
        const quern_callback callbacks[] = {
            f.callback, {.name = "no", .band = QUERN_BAND_CHECKPOINTER, .load_end = refuse}};
        quern_trainer_desc desc = world_with(&w, callbacks, 2);
        desc.save = (quern_save_desc){.directory = temporary_join(&t, "saved"), .resume = true};
        CHECK_STATUS(quern_trainer_create(&w.trainer, &desc), QUERN_CALLBACK);
        quern_jsonl_destroy(f.jsonl);
        quern_csv_history_destroy(f.table);
        CHECK(temporary_read(&t, "history", after, sizeof after) == bytes);
        CHECK(memcmp(before, after, sizeof before) == 0);
        world_close(&w);
        temporary_end(&t);
    }
}

static int warnings;
static void count_warning(void *self, quern_log_level level, const char *sentence) {
    (void)self;
    warnings += level == QUERN_LOG_WARNING && strstr(sentence, "lines are missing") != NULL;
}

/* After a power cut lines may be missing that the checkpoint counted. */
TEST_CASE(History, a_file_that_is_too_short_is_appended_to_and_logged) {
    for (int csv = 0; csv < 2; csv++) {
        temporary t;
        writer f = {.csv = csv};
        REQUIRE(temporary_begin(&t));
        warnings = 0;
        for (int process = 0; process < 2; process++) {
            world w;
            quern_host host = quern_host_default();
            host.log.write = count_warning;
            REQUIRE_OK(world_open(&w, &(world_desc){.host = host}));
            REQUIRE_OK(run(&w, &t, &f, process == 1, process + 1));
            world_close(&w);
            if (process == 0) REQUIRE(temporary_write(&t, "history", "rest\n", 5));
        }
        memset(found, 0, sizeof found);
        REQUIRE(temporary_read(&t, "history", found, sizeof found - 1) > 0);
        const char *next = csv ? "rest\nlog,4," : "rest\n{\"event\":\"log\",\"step\":4,";
        CHECK_SAY(strncmp(found, next, strlen(next)) == 0, "%.60s", found);
        CHECK(warnings == 1);
        temporary_end(&t);
    }
}

/* The checkpoint knows of the other kind only. */
TEST_CASE(History, a_file_that_is_new_to_a_resumed_run_has_its_header) {
    for (int csv = 0; csv < 2; csv++) {
        temporary t;
        REQUIRE(temporary_begin(&t));
        for (int process = 0; process < 2; process++) {
            world w;
            writer f = {.csv = (process == 1) == csv};
            REQUIRE_OK(world_open(&w, &(world_desc){0}));
            REQUIRE_OK(run(&w, &t, &f, process == 1, process + 1));
            world_close(&w);
        }
        memset(found, 0, sizeof found);
        REQUIRE(temporary_read(&t, "history", found, sizeof found - 1) > 0);
        const char *next = csv ? "event,step,epoch,seconds" : "{\"seed\":7}\n";
        CHECK_SAY(strncmp(found, next, strlen(next)) == 0, "%.60s", found);
        temporary_end(&t);
    }
}

/* Every operation of the file fails, once and for ever, in the process that resumes. */
TEST_CASE(History, a_disk_that_fails_is_told_with_path_and_cause) {
    static const fault_kind kinds[] = {FAULT_TRUNCATE, FAULT_INFO, FAULT_OPEN, FAULT_WRITE};
    int fired = 0;
    for (int k = 0; k < 16; k++) {
        for (int64_t n = 1; n <= (k < 4 ? 100 : 5); n++) {
            temporary t;
            fault_host faults;
            world w;
            writer f = {.csv = k % 2 == 1};
            REQUIRE(temporary_begin(&t));
            REQUIRE_OK(world_open(&w, &(world_desc){0}));
            REQUIRE_OK(run(&w, &t, &f, false, 1));
            world_close(&w);
            FILE *more = fopen(temporary_join(&t, "history"), "a");
            REQUIRE(more != NULL);
            fputs("behind\n", more);
            fclose(more);
            fault_host_begin(&faults, NULL);
            faults.fault[kinds[k / 4]] = (fault){.at = n, .error = EIO, .for_ever = k % 4 >= 2};
            REQUIRE_OK(world_open(&w, &(world_desc){.host = faults.host}));
            const quern_status s = run(&w, &t, &f, true, 2);
            world_close(&w);
            temporary_end(&t);
            REQUIRE(fault_host_live(&faults) == 0);
            if (!fault_host_fired(&faults, kinds[k / 4])) {
                CHECK_STATUS(s, QUERN_OK);
                break;
            }
            fired++;
            if (s != QUERN_OK) {
                CHECK_SAY(fault_is_named(kinds[k / 4], quern_error()), "%s", quern_error());
                CHECK_ERROR_HAS("Input/output error");
            }
            if (kinds[k / 4] == FAULT_TRUNCATE) {
                CHECK_STATUS(s, QUERN_IO);
                CHECK_ERROR_HAS("truncating");
                CHECK_ERROR_HAS("history: ");
            }
        }
    }
    CHECK(fired > 16);
}

TEST_CASE(History, a_length_that_cannot_be_is_refused) {
    for (int csv = 0; csv < 2; csv++) {
        world w;
        temporary t;
        writer f = {.csv = csv};
        REQUIRE(temporary_begin(&t));
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        REQUIRE_OK(writer_create(&f, w.device, temporary_join(&t, "history")));
        const quern_trainer_desc desc = world_with(&w, &f.callback, 1);
        REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
        const quern_callback_state state = f.callback.state(f.callback.self);
        REQUIRE(state.bytes == sizeof(int64_t) && state.block_bytes == 0);
        *(int64_t *)state.data = -1;
        CHECK(state_loaded(f.callback, w.trainer) == QUERN_FAIL);
        CHECK_ERROR_HAS("a length of -1 bytes in the checkpoint");
        quern_trainer_destroy(w.trainer);
        w.trainer = NULL;
        quern_jsonl_destroy(f.jsonl);
        quern_csv_history_destroy(f.table);
        world_close(&w);
        temporary_end(&t);
    }
}
