/* The examples do what their comments promise; each exits with a failure when it does not learn. */
#include "fixture.h"
#include "quern_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static run_result *run_example(temporary *t, const char *path, const char *argument) {
    return run_program(t, &(run_setup){0}, (const char *const[]){path, argument, NULL});
}

TEST_CASE(Examples, quickstart_learns_and_has_at_most_forty_lines) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_mnist(&t, "digits", 2560, 300));
    const run_result *r = run_example(&t, EXAMPLE_QUICKSTART, "digits");
    CHECK_SAY(r->exit_code == 0, "exit code %d: %s", r->exit_code, r->error);
    CHECK_TEXT(r->error, "");
    CHECK_HAS(r->out, "after 60 updates");
    CHECK(strncmp(r->out, "accuracy ", 9) == 0 && atof(r->out + 9) > 0.9);

    FILE *source = fopen(QUERN_SOURCE_DIR "/tools/examples/quickstart.c", "r");
    REQUIRE(source != NULL);
    int lines = 0;
    for (int c = fgetc(source); c != EOF; c = fgetc(source)) lines += c == '\n';
    fclose(source);
    CHECK(lines > 20 && lines <= 40);
    temporary_end(&t);
}

TEST_CASE(Examples, quickstart_names_the_missing_file) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_result *r = run_example(&t, EXAMPLE_QUICKSTART, "nowhere");
    CHECK(r->exit_code == 3);
    CHECK_HAS(r->error, "QUERN_INPUT: ");
    CHECK_HAS(r->error, "nowhere");
    temporary_end(&t);
}

static void expect_success(const char *path, const char *words) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_result *r = run_example(&t, path, NULL);
    CHECK_SAY(r->exit_code == 0, "exit code %d: %s%s", r->exit_code, r->out, r->error);
    CHECK_HAS(r->out, words);
    temporary_end(&t);
}

/* The last line: step, accuracy and digest. */
static const char *last_line(const run_result *r) {
    const char *line = strstr(r->out, "step 315 accuracy ");
    return line ? line : "";
}

TEST_CASE(Examples, resume_ends_with_the_same_bits_after_a_kill) {
    temporary t;
    char whole[256], until[600];
    REQUIRE(temporary_begin(&t));
    const run_result *r = run_example(&t, EXAMPLE_RESUME, "whole");
    CHECK_SAY(r->exit_code == 0, "exit code %d: %s%s", r->exit_code, r->out, r->error);
    CHECK_HAS(r->out, "begins anew");
    snprintf(whole, sizeof whole, "%s", last_line(r));
    CHECK_HAS(whole, "digest ");
    snprintf(until, sizeof until, "%s/killed/step-60", t.path);
    const run_setup kill = {.signal = SIGKILL, .until = until};
    r = run_program(&t, &kill, (const char *const[]){EXAMPLE_RESUME, "killed", NULL});
    CHECK_SAY(r->killed_by == SIGKILL || r->exit_code == 0, "%d", r->exit_code);
    r = run_example(&t, EXAMPLE_RESUME, "killed");
    CHECK_SAY(r->exit_code == 0, "exit code %d: %s%s", r->exit_code, r->out, r->error);
    CHECK_HAS(r->out, "goes on from killed/step-");
    CHECK_TEXT(last_line(r), whole);
    r = run_example(&t, EXAMPLE_RESUME, "killed"); /* over: it trains nothing */
    CHECK_HAS(r->out, "goes on from killed/step-315");
    CHECK_TEXT(last_line(r), whole);
    temporary_end(&t);
}

TEST_CASE(Examples, own_loop_learns_from_the_applications_buffers) {
    expect_success(EXAMPLE_OWN_LOOP, "mean squared error");
}

TEST_CASE(Examples, a_custom_callback_ends_the_run) {
    expect_success(EXAMPLE_CUSTOM_DATASET_AND_CALLBACK, "ended by callback");
}

TEST_CASE(Examples, two_trainers_side_by_side_do_not_touch_each_other) {
    expect_success(EXAMPLE_TWO_TRAINERS, "seed 2");
}

static char *read_text(const char *path) {
    FILE *file = fopen(path, "rb");
    char *text = calloc(1 << 17, 1);
    if (file && text) (void)!fread(text, 1, (1 << 17) - 1, file);
    if (file) fclose(file);
    return text;
}

TEST_CASE(Examples, the_readme_shows_the_quickstart_as_it_is) {
    char *readme = read_text(QUERN_SOURCE_DIR "/README.md");
    char *source = read_text(QUERN_SOURCE_DIR "/tools/examples/quickstart.c");
    CHECK(readme && source && source[0] != '\0' && strstr(readme, source) != NULL);
    free(readme);
    free(source);
}
