/* What the command's surroundings do to it: closed, full and abandoned streams, and odd names. */
#include "fixture.h"
#include "quern_test.h"

#include <string.h>
#include <unistd.h>

#define TRAIN                                                                                      \
    "train", "--model", "mlp", "--data", "table.csv", "--steps", "6", "--batch-size", "10",        \
        "--log-every", "2", "--run-dir", "run"

/* The history is one JSON object a line and nothing else. */
static void check_history(temporary *t) {
    static char text[1 << 16];
    memset(text, 0, sizeof text);
    REQUIRE(temporary_read(t, "run/metrics.jsonl", text, sizeof text - 1) > 0);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        CHECK_SAY(object && (json_object_get(object, "event") || json_object_get(object, "quern")),
                  "no line of the history: %s", line);
        json_decref(object);
    }
}

/* The first file opened would take the number of a closed stream. */
TEST_CASE(Streams, what_is_meant_for_a_closed_stream_goes_into_no_file) {
    static const struct {
        unsigned closed;
        int exit_code;
    } cases[] = {{1u << 0, 0}, {1u << 1, 4}, {1u << 2, 0}, {7, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        temporary t;
        REQUIRE(temporary_begin(&t));
        REQUIRE(fixture_csv(&t, "table.csv", 90));
        const run_setup setup = {.closed = cases[i].closed};
        const run_result *r = COMMAND_WITH(&t, &setup, TRAIN, "--json");
        CHECK_SAY(r->exit_code == cases[i].exit_code, "streams %u closed: exit code %d",
                  cases[i].closed, r->exit_code);
        check_history(&t);
        temporary_end(&t);
    }
}

TEST_CASE(Streams, a_reader_that_goes_away_does_not_kill_the_run) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 90));
    const run_setup no_progress = {.deaf = 1u << 2}, no_results = {.deaf = 1u << 1};
    const run_result *r = COMMAND_WITH(&t, &no_progress, TRAIN, "--json");
    CHECK(r->exit_code == 0 && r->killed_by == 0);
    json_decref(fixture_json(r));
    CHECK(access(temporary_join(&t, "run/model.safetensors"), F_OK) == 0);
    r = COMMAND_WITH(&t, &no_results, "devices");
    CHECK(r->exit_code == 4 && r->killed_by == 0);
    CHECK_HAS(r->error, "write standard output: Broken pipe");
    temporary_end(&t);
}

TEST_CASE(Streams, results_that_cannot_be_printed_are_exit_code_4) {
    for (int as_json = 0; as_json <= 1; as_json++) {
        temporary t;
        REQUIRE(temporary_begin(&t));
        REQUIRE(fixture_csv(&t, "table.csv", 90));
        const run_setup full = {.stdout_path = "/dev/full"};
        const run_result *r = as_json ? COMMAND_WITH(&t, &full, TRAIN, "--json")
                                      : COMMAND_WITH(&t, &full, TRAIN, "--quiet");
        CHECK_SAY(r->exit_code == 4, "json %d: exit code %d", as_json, r->exit_code);
        CHECK_HAS(r->error, "write standard output: No space left on device");
        CHECK(access(temporary_join(&t, "run/report.html"), F_OK) == 0);
        temporary_end(&t);
    }
}

/* A path is any bytes; JSON is UTF-8. */
TEST_CASE(Streams, a_path_that_is_no_text_leaves_valid_json) {
    temporary t;
    static char text[1 << 14];
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "t\xff\xc3(\xc3\xa9.csv", 90));
    const run_result *r =
        COMMAND(&t, "train", "--model", "mlp", "--data", "t\xff\xc3(\xc3\xa9.csv", "--steps", "2",
                "--run-dir", "r\xed\xa0\x80", "--json", "--quiet");
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    json_t *object = fixture_json(r);
    CHECK_TEXT(fixture_json_text(object, "run_dir"), "r\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    json_decref(object);
    REQUIRE(temporary_read(&t, "r\xed\xa0\x80/config.json", text, sizeof text - 1) > 0);
    object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    CHECK_HAS(fixture_json_text(object, "data"), "/t\xef\xbf\xbd\xef\xbf\xbd(\xc3\xa9.csv");
    json_decref(object);
    temporary_end(&t);
}

TEST_CASE(Streams, a_file_from_elsewhere_does_not_command_the_terminal) {
    static const char header[] =
        "{\"__metadata__\":{\"k\\u001b[2J\":\"v\\nline\"},"
        "\"a\\u001b]0;t\\u0007\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    char file[8 + sizeof header - 1 + 4] = {0};
    temporary t;
    REQUIRE(temporary_begin(&t));
    file[0] = (char)(sizeof header - 1);
    memcpy(file + 8, header, sizeof header - 1);
    REQUIRE(temporary_write(&t, "odd.safetensors", file, sizeof file));
    const run_result *r = COMMAND(&t, "inspect", "odd.safetensors");
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    CHECK(strpbrk(r->out, "\033\007") == NULL);
    CHECK_HAS(r->out, "k?[2J");
    CHECK_HAS(r->out, "v?line");
    CHECK_HAS(r->out, "a?]0;t?");
    r = COMMAND(&t, "inspect", "odd.safetensors", "--json");
    json_decref(fixture_json(r));
    temporary_end(&t);
}

/* More log entries than a report keeps points: thinned out, first and last still there. */
TEST_CASE(Streams, the_curves_of_a_long_run_are_thinned_out) {
    static char text[1 << 18];
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 90));
    const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv", "--steps",
                                  "9001", "--batch-size", "2", "--log-every", "1", "--run-dir",
                                  "run", "--quiet", "--threads", "1", "--no-save");
    REQUIRE(r->exit_code == 0);
    REQUIRE(temporary_read(&t, "run/report.html", text, sizeof text - 1) > 0);
    const char *curve = strstr(text, "<polyline class=\"curve train\" points=\"");
    REQUIRE(curve != NULL);
    const char *begin = strchr(strstr(curve, "points"), '"') + 1, *end = strchr(begin, '"');
    int points = 0;
    for (const char *c = begin; c < end; c++) points += *c == ',';
    CHECK_SAY(points > 500 && points <= 4096, "%d points", points);
    CHECK(strncmp(begin, "60.", 3) == 0); /* the axis begins at 60 and ends at 704 */
    while (end > begin && *--end == ' ') continue;
    while (end > begin && end[-1] != ' ') end--;
    CHECK_SAY(strncmp(end, "704.0,", 6) == 0, "the last point is at %.12s", end);
    temporary_end(&t);
}

/* Trains on the table and returns how many classes it was found to have. */
static double classes_of(temporary *t, const char *table) {
    static char text[1 << 14];
    memset(text, 0, sizeof text);
    if (!temporary_write(t, "table.csv", table, strlen(table))) return -1;
    const run_result *r = COMMAND(t, "train", "--model", "mlp", "--data", "table.csv", "--steps",
                                  "1", "--batch-size", "2", "--run-dir", "run", "--quiet");
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    if (temporary_read(t, "run/config.json", text, sizeof text - 1) <= 0) return -1;
    json_t *object = json_loads(text, 0, NULL);
    const double classes = fixture_json_number(object, "classes");
    json_decref(object);
    return classes;
}

/* Another column of small integers would be taken for the labels without a word. */
TEST_CASE(Streams, the_label_column_is_found_behind_commas_in_quotes_and_in_any_long_header) {
    static char table[1 << 17];
    temporary t;
    REQUIRE(temporary_begin(&t));
    CHECK(classes_of(&t, "\"a,b\",label,c\n1,2,7\n2,0,8\n") == 3);
    temporary_end(&t);
    REQUIRE(temporary_begin(&t));
    CHECK(classes_of(&t, "\"a,b\",\"c\nd\",e\n1,9,2\n2,8,0\n") == 3);
    temporary_end(&t);
    REQUIRE(temporary_begin(&t));
    char *to = table;
    for (int i = 0; i < 9000; i++) to += sprintf(to, "c%06d,", i);
    to += sprintf(to, "label\n");
    for (int row = 0; row < 2; row++) {
        for (int i = 0; i < 9000; i++) to += sprintf(to, "%d,", (i + row) % 9);
        to += sprintf(to, "%d\n", 2 * row);
    }
    CHECK(classes_of(&t, table) == 3);
    temporary_end(&t);
}
