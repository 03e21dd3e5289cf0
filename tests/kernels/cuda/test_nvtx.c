/* NVTX through the CUDA module, on a machine without a GPU: what an injected profiler sees of a
 * training run on the CPU. */
#include "quern_test.h"

#include "nvtx_seen.h"
#include "support/temporary.h"
#include "train/world.h"
#include <quern/profile.h>

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

__attribute__((constructor)) static void find_module(void) {
    setenv("QUERN_BACKEND_PATH", QUERN_TEST_MODULE_DIR, 1);
}

static quern_status train(const char *folder, int64_t steps, bool no_capture) {
    world w;
    quern_status status = world_open(&w, &(world_desc){.valid_length = -1});
    if (status != QUERN_OK) return status;
    w.desc.step_limit = steps;
    w.desc.no_capture = no_capture;
    w.desc.worker_count = 1;
    if (folder) w.desc.save = (quern_save_desc){.directory = folder, .every = 1};
    status = quern_trainer_create(&w.trainer, &w.desc);
    quern_result result;
    if (status == QUERN_OK) status = quern_trainer_fit(w.trainer, &result);
    world_close(&w);
    return status;
}

static quern_status train_a_little(const char *folder) { return train(folder, 3, false); }

/* Ranges of the first layer that so many steps open. */
static int opened_in(int64_t steps, bool no_capture) {
    const int before = nvtx_seen_count(" registered fc1");
    CHECK_OK(train(NULL, steps, no_capture));
    return nvtx_seen_count(" registered fc1") - before;
}

/* Of a recorded step a profiler sees one launch: its ops have ranges while it is recorded. */
TEST_CASE(Nvtx, ops_have_ranges_in_every_step_that_is_not_recorded) {
    CHECK(opened_in(9, false) == opened_in(3, false));
    const int three = opened_in(3, true);
    CHECK_SAY(three > 0 && opened_in(9, true) - three >= 6 * 2, "%d ranges in 3 steps", three);
}

TEST_CASE(Nvtx, shows_the_steps_and_ops_of_a_run_without_a_gpu) {
    temporary folder;
    REQUIRE(temporary_begin(&folder));
    REQUIRE_OK(train_a_little(folder.path));
    temporary_end(&folder);
    const char *seen = nvtx_seen();
    CHECK(nvtx_seen_count("domain quern\n") == 1);
    CHECK_HAS(seen, " train\n");
    CHECK_HAS(seen, "string step\n");
    CHECK_HAS(seen, "registered step 0\n");
    CHECK_HAS(seen, "registered step 2\n");
    CHECK_HAS(seen, "registered fc1");
    CHECK(nvtx_seen_count("string step\n") == 1); /* registered once, then found again */
    CHECK(nvtx_seen_count("push ") == nvtx_seen_count("pop\n"));
    CHECK(nvtx_seen_count("push ") > 10);
    CHECK(nvtx_seen_count(" text ") == 0);
}

/* The number under which the profiler was told of a category; 0: it was not. */
static int category_of(const char *name) {
    char line[80];
    for (int n = 1; n < 32; n++) {
        snprintf(line, sizeof line, "category %d %s\n", n, name);
        if (strstr(nvtx_seen(), line) != NULL) return n;
    }
    return 0;
}

TEST_CASE(Nvtx, puts_each_range_of_a_run_into_its_category_and_names_the_threads) {
    static const char *const ranges[][2] = {{"train", "step"},  {"train", "save"},
                                            {"forward", "fc1"}, {"backward", "fc1"},
                                            {"data", "fill"},   {"checkpoint", "write"}};
    static const char *const threads[] = {"main", "quern-save", "quern-load"};
    temporary folder;
    REQUIRE(temporary_begin(&folder));
    REQUIRE_OK(train_a_little(folder.path));
    temporary_end(&folder);
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        char line[80];
        const int category = category_of(ranges[i][0]);
        snprintf(line, sizeof line, "push %d registered %s", category, ranges[i][1]);
        CHECK_SAY(category > 0 && strstr(nvtx_seen(), line) != NULL, "no %s in category %s",
                  ranges[i][1], ranges[i][0]);
    }
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        char line[80];
        snprintf(line, sizeof line, "thread %s", threads[i]);
        CHECK_SAY(strstr(nvtx_seen(), line) != NULL, "no thread is named %s", threads[i]);
    }
}

TEST_CASE(Nvtx, the_sink_can_be_asked_for_and_names_too_long_go_as_text) {
    quern_trace_sink sink;
    REQUIRE_OK(quern_trace_nvtx(&sink));
    char name[100];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    sink.begin(sink.self, "a category", name, 42);
    sink.end(sink.self);
    CHECK_HAS(nvtx_seen(), "a category\n");
    CHECK_HAS(nvtx_seen(), "text nnnn");
    CHECK_HAS(nvtx_seen(), "nnn 42\npop\n");
    CHECK_STATUS(quern_trace_nvtx(NULL), QUERN_INVALID);
}

TEST_CASE(Nvtx, more_names_than_the_table_holds_are_still_shown) {
    quern_trace_sink sink;
    REQUIRE_OK(quern_trace_nvtx(&sink));
    static char names[1700][16];
    for (int i = 0; i < 1700; i++) {
        snprintf(names[i], sizeof names[i], "name %d", i);
        sink.begin(sink.self, "many", names[i], i);
        sink.end(sink.self);
    }
    CHECK_HAS(nvtx_seen(), "registered name 7 7\n");
    CHECK_HAS(nvtx_seen(), "text name 1699 1699\n");
}

/* The trace of an application that has one of its own is left alone. */
static void own_begin(void *self, const char *category, const char *name, int64_t value) {
    (void)category, (void)name, (void)value;
    ++*(int *)self;
}
static void own_end(void *self) { (void)self; }

TEST_CASE(Nvtx, does_not_replace_the_applications_own_sink) {
    int ranges = 0;
    world w;
    quern_host host = {.trace = {.begin = own_begin, .end = own_end, .self = &ranges}};
    const int before = nvtx_seen_count("push ");
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1, .host = host}));
    w.desc.step_limit = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    quern_result result;
    CHECK_OK(quern_trainer_fit(w.trainer, &result));
    world_close(&w);
    CHECK(ranges > 5);
    CHECK(nvtx_seen_count("push ") == before);
}

/* Without a driver the profiler's calls have nobody to go to: they say so. */
TEST_CASE(Nvtx, the_profilers_range_is_a_status_where_there_is_no_gpu) {
    const quern_status status = quern_profiler_start();
    if (status == QUERN_OK) {
        CHECK_OK(quern_profiler_stop());
    } else {
        CHECK(status == QUERN_UNSUPPORTED);
        CHECK_ERROR_HAS("cudaProfilerStart failed with");
    }
}
