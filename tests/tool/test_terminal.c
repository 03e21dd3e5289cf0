/* What the command does with a terminal: a bar that is redrawn in its place, rarely, and in colour
 * unless NO_COLOR says no; plain lines wherever there is none. Progress is on standard error,
 * results are on standard output. */
#include "fixture.h"
#include "quern_test.h"

#include <signal.h>
#include <string.h>

enum { COLUMNS = 70, REDRAW_US = 50000, BARS = 10 };

#define TRAIN                                                                                      \
    "train", "--model", "mlp", "--data", "table.csv", "--batch-size", "10", "--log-every", "50",   \
        "--run-dir", "run", "--steps"

static int count(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part)) n++;
    return n;
}

/* A run of two epochs and more, or without an end of its own where a signal will end it. Standard
 * output has neither what moves a cursor nor a bar without that. */
static const run_result *watched(temporary *t, const run_setup *setup, const char *more) {
    const char *steps = setup->signal ? "100000000" : "200";
    const run_result *r = COMMAND_WITH(t, setup, TRAIN, steps, more);
    CHECK_SAY(r->exit_code == (setup->signal ? 130 : 0), "exit code %d: %s", r->exit_code,
              r->error);
    CHECK(strpbrk(r->out, "\r\033") == NULL);
    CHECK_SAY(strncmp(r->out, "epoch ", 6) != 0 && strstr(r->out, "\nepoch ") == NULL, "%s",
              r->out);
    return r;
}

static bool begin(temporary *t) { return temporary_begin(t) && fixture_csv(t, "table.csv", 900); }

/* However long that takes. */
static bool has_bars(const run_result *r) { return count(r->error, "\repoch ") >= BARS; }
static bool has_bars_and_an_epoch(const run_result *r) {
    return has_bars(r) && strstr(r->error, "\033[1mepoch 1\033[0m");
}

static void check_bars(const run_result *r) {
    const int bars = count(r->error, "\repoch ");
    CHECK_SAY(bars >= BARS && bars <= r->elapsed_us / REDRAW_US + 1, "%d bars in %d ms", bars,
              (int)(r->elapsed_us / 1000));
    CHECK(strstr(r->error, " step ") == NULL); /* a line for each log is for those without */
    for (const char *bar = r->error; (bar = strstr(bar, "\repoch ")) != NULL; bar++) {
        int columns = 0;
        for (const char *c = bar + 1; *c && *c != '\r' && *c != '\n'; c++) {
            if (*c == '\033')
                c += strcspn(c, "mK");
            else
                columns++;
        }
        CHECK_SAY(columns < COLUMNS, "%d columns", columns);
    }
}

/* Nothing of the bar is left standing in front of a line or of the shell's prompt. */
static void check_cleared(const char *error) {
    const char *last = NULL;
    for (const char *bar = error; (bar = strstr(bar, "\repoch ")) != NULL; bar++) last = bar;
    REQUIRE(last != NULL);
    CHECK_HAS(last, "\r\033[K");
}

TEST_CASE(Terminal, a_bar_in_colour_that_is_redrawn_rarely_and_goes) {
    temporary t;
    REQUIRE(begin(&t));
    const run_setup setup = {.terminal_columns = COLUMNS,
                             .environment = {"TERM=xterm", "NO_COLOR="},
                             .signal = SIGINT,
                             .ready = has_bars_and_an_epoch};
    const run_result *r = watched(&t, &setup, NULL);
    check_bars(r);
    check_cleared(r->error);
    CHECK_HAS(r->error, "\033[1mepoch 1\033[0m");
    CHECK_HAS(r->out, "updates");
    temporary_end(&t);
}

TEST_CASE(Terminal, no_color_takes_the_colour_and_leaves_the_bar) {
    temporary t;
    REQUIRE(begin(&t));
    const run_setup setup = {.terminal_columns = COLUMNS,
                             .environment = {"TERM=xterm", "NO_COLOR=1"},
                             .signal = SIGINT,
                             .ready = has_bars};
    const run_result *r = watched(&t, &setup, "--json");
    check_bars(r);
    check_cleared(r->error);
    CHECK(count(r->error, "\033") == count(r->error, "\033[K"));
    json_decref(fixture_json(r));
    temporary_end(&t);
}

TEST_CASE(Terminal, quiet_shows_no_bar) {
    temporary t;
    REQUIRE(begin(&t));
    const run_setup setup = {.terminal_columns = COLUMNS, .environment = {"TERM=xterm"}};
    CHECK_TEXT(watched(&t, &setup, "--quiet")->error, "");
    temporary_end(&t);
}

/* A dumb one, one without a name, and none at all. */
TEST_CASE(Terminal, plain_lines_wherever_a_bar_would_not_do) {
    static const run_setup setups[] = {{.terminal_columns = COLUMNS, .environment = {"TERM=dumb"}},
                                       {.terminal_columns = COLUMNS, .environment = {"TERM="}},
                                       {.environment = {"TERM=xterm"}}};
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++) {
        temporary t;
        REQUIRE(begin(&t));
        const run_result *r = watched(&t, &setups[i], NULL);
        CHECK_SAY(strpbrk(r->error, "\r\033") == NULL, "case %d", (int)i);
        CHECK_HAS(r->error, "  step 50  train/loss ");
        temporary_end(&t);
    }
}
