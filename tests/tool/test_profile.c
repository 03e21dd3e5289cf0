/* Looking into a run: --trace, --nvtx, --profile-steps, and a GPU that is not there. */
#include "quern_test.h"

#include "fixture.h"

#include <string.h>

#define TRAIN                                                                                      \
    "train", "--model", "mlp", "--data", "synthetic", "--steps", "6", "--no-save", "--quiet",      \
        "--device", "cpu", "--json"

static int count_ops(const char *path) {
    json_error_t error;
    json_t *events = json_load_file(path, 0, &error);
    CHECK_SAY(json_is_array(events), "%s: %s", path, error.text);
    int ops = 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const char *category = json_string_value(json_object_get(json_array_get(events, i), "cat"));
        ops += category && (!strcmp(category, "forward") || !strcmp(category, "backward"));
    }
    json_decref(events);
    return ops;
}

TEST_CASE(Profile, a_trace_holds_every_op_of_every_step_and_changes_no_weight) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_result *r = COMMAND(&t, TRAIN, "--run-dir", "plain");
    CHECK(r->exit_code == 0);
    json_t *plain = fixture_json(r);
    r = COMMAND(&t, TRAIN, "--run-dir", "traced", "--trace", "trace.json");
    CHECK(r->exit_code == 0);
    json_t *traced = fixture_json(r);
    r = COMMAND(&t, TRAIN, "--run-dir", "eager", "--eager");
    CHECK(r->exit_code == 0);
    json_t *eager = fixture_json(r);
    CHECK_TEXT(fixture_json_text(eager, "digest"), fixture_json_text(plain, "digest"));
    json_decref(eager);
    CHECK(strlen(fixture_json_text(plain, "digest")) == 32);
    CHECK_TEXT(fixture_json_text(traced, "digest"), fixture_json_text(plain, "digest"));
    CHECK(count_ops(temporary_join(&t, "trace.json")) >= 6 * 6);
    json_decref(plain);
    json_decref(traced);
    temporary_end(&t);
}

TEST_CASE(Profile, what_was_chosen_is_told_to_who_asks) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    CHECK_TEXT(COMMAND(&t, TRAIN, "--run-dir", "plain")->error, "");
    const run_result *r = COMMAND(&t, TRAIN, "--run-dir", "told", "--verbose", "--resident", "on");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->error, "the set train is resident: 10000 samples, used where they are\n");
    temporary_end(&t);
}

TEST_CASE(Profile, what_makes_no_sense_is_refused_before_the_run) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    static const char *const ranges[] = {"5", "5:3", "a:b", "1:2:3", ":4", "3:", "-1:2"};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        const run_result *r = COMMAND(&t, TRAIN, "--profile-steps", ranges[i]);
        CHECK_SAY(r->exit_code == 2, "%s: exit code %d", ranges[i], r->exit_code);
        CHECK_HAS(r->error, "--profile-steps: expected A:B");
    }
    const run_result *r = COMMAND(&t, TRAIN, "--trace", "t.json", "--nvtx");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "--nvtx");
    r = COMMAND(&t, TRAIN, "--run-dir", "none", "--trace", "no/such/folder/t.json");
    CHECK(r->exit_code == 4);
    CHECK_HAS(r->error, "no/such/folder/t.json");
    temporary_end(&t);
}

/* A folder without a module stands for a machine that has none. */
TEST_CASE(Profile, without_the_cuda_module_each_way_to_it_says_so) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_setup bare = {.environment = {"QUERN_BACKEND_PATH=/no/such/folder"}};
    const run_result *r = COMMAND_WITH(&t, &bare, "devices");
    CHECK(r->exit_code == 0);
    if (strstr(r->out, "cannot be loaded") != NULL) { /* a build without the module */
        r = COMMAND_WITH(&t, &bare, TRAIN, "--nvtx");
        CHECK(r->exit_code == 10);
        CHECK_HAS(r->error, "the CUDA module cannot be loaded");
        r = COMMAND_WITH(&t, &bare, TRAIN, "--profile-steps", "1:2", "--run-dir", "run");
        CHECK(r->exit_code == 0); /* a run without a profiler is as good */
        CHECK_HAS(r->error, "warning: --profile-steps: the CUDA module cannot be loaded");
    }
    r = COMMAND_WITH(&t, &bare, "train", "--model", "mlp", "--data", "synthetic", "--steps", "1",
                     "--no-save", "--device", "cuda:77", "--run-dir", "gpu");
    CHECK(r->exit_code == 10);
    CHECK_HAS(r->error, "CUDA");
    CHECK_TEXT(r->out, "");
    temporary_end(&t);
}
