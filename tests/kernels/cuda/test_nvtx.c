/* NVTX through the CUDA module, on a machine without a GPU: what an injected profiler sees of a
 * training run on the CPU. */
#include "quern_test.h"

#include "nvtx_injection.h"
#include "train/world.h"
#include <quern/profile.h>

#include <dlfcn.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

/* Before anything of NVTX is called: it looks once. */
__attribute__((constructor)) static void attach(void) {
    setenv("NVTX_INJECTION64_PATH", QUERN_TEST_INJECTION, 1);
    setenv("QUERN_BACKEND_PATH", QUERN_TEST_MODULE_DIR, 1);
}

static const char *notes(void) {
    void *library = dlopen(QUERN_TEST_INJECTION, RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL) return "the module never looked for a profiler";
    void *symbol = dlsym(library, NVTX_NOTES_ENTRY);
    nvtx_notes_entry entry;
    memcpy(&entry, &symbol, sizeof entry);
    dlclose(library);
    return entry();
}

static int count(const char *text, const char *part) {
    int n = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part)) n++;
    return n;
}

static quern_status train_a_little(void) {
    world w;
    quern_status status = world_open(&w, &(world_desc){.valid_length = -1});
    if (status != QUERN_OK) return status;
    w.desc.step_limit = 3;
    status = quern_trainer_create(&w.trainer, &w.desc);
    quern_result result;
    if (status == QUERN_OK) status = quern_trainer_fit(w.trainer, &result);
    world_close(&w);
    return status;
}

TEST_CASE(Nvtx, shows_the_steps_and_ops_of_a_run_without_a_gpu) {
    REQUIRE_OK(train_a_little());
    const char *seen = notes();
    CHECK(count(seen, "domain quern\n") == 1);
    CHECK_HAS(seen, " train\n");
    CHECK_HAS(seen, "string step\n");
    CHECK_HAS(seen, "registered step 0\n");
    CHECK_HAS(seen, "registered step 2\n");
    CHECK_HAS(seen, "registered fc1");
    CHECK(count(seen, "string step\n") == 1); /* registered once, then found again */
    CHECK(count(seen, "push ") == count(seen, "pop\n"));
    CHECK(count(seen, "push ") > 10);
    CHECK(count(seen, " text ") == 0);
}

TEST_CASE(Nvtx, the_sink_can_be_asked_for_and_names_too_long_go_as_text) {
    quern_trace_sink sink;
    REQUIRE_OK(quern_trace_nvtx(&sink));
    char name[100];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    sink.begin(sink.self, "a category", name, 42);
    sink.end(sink.self);
    CHECK_HAS(notes(), "a category\n");
    CHECK_HAS(notes(), "text nnnn");
    CHECK_HAS(notes(), "nnn 42\npop\n");
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
    CHECK_HAS(notes(), "registered name 7 7\n");
    CHECK_HAS(notes(), "text name 1699 1699\n");
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
    const int before = count(notes(), "push ");
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1, .host = host}));
    w.desc.step_limit = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    quern_result result;
    CHECK_OK(quern_trainer_fit(w.trainer, &result));
    world_close(&w);
    CHECK(ranges > 5);
    CHECK(count(notes(), "push ") == before);
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
