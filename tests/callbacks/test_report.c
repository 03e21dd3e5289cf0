/* test_report.c - the HTML report: what is on the page, curves that are thinned out and resumed,
 * gaps, bad input, and a disk that will not take it. */
#include "host/train/callbacks/report.h"
#include "quern_test.h"
#include "state.h"
#include "support/fault_host.h"
#include "support/temporary.h"
#include "train/world.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static char page[1 << 18];

static const char *page_read(temporary *t, const char *name) {
    memset(page, 0, sizeof page);
    CHECK(temporary_read(t, name, page, sizeof page - 1) > 0);
    return page;
}

static int occurrences(const char *html, const char *part) {
    int count = 0;
    for (; (html = strstr(html, part)) != NULL; html++) count++;
    return count;
}

static quern_status fit(world *w, quern_report *r, quern_result *result) {
    const quern_callback callback = quern_report_callback(r);
    quern_trainer_desc desc = world_with(w, &callback, 1);
    desc.epoch_count = 3;
    desc.log_every = 2;
    quern_status s = quern_trainer_create(&w->trainer, &desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w->trainer, result);
    return s;
}

static void close_all(world *w, quern_report *r) {
    quern_trainer_destroy(w->trainer);
    w->trainer = NULL;
    quern_report_destroy(r);
    world_close(w);
}

TEST_CASE(Report, is_one_page_with_all_of_the_run_on_it) {
    static const char *const classes[] = {"cat & dog", "<b>", "a \"bird\""};
    world w;
    temporary t;
    quern_report *r = NULL;
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_report_create(
        &r, w.device,
        &(quern_report_desc){.path = temporary_join(&t, "report.html"),
                             .title = "<script>alert('x')</script>\xff",
                             .configuration = "{\"lr\": 0.5, \"<i>\": \"a<b\", \"deep\": [1, 2]}",
                             .class_names = classes,
                             .class_count = 3}));
    REQUIRE_OK(fit(&w, r, NULL));
    const world_score score = world_brute_force(&w, true);
    const char *html = page_read(&t, "report.html");
    CHECK(strncmp(html, "<!doctype html>", 15) == 0 && strstr(html, "</body></html>\n"));
    CHECK(strstr(html, "<script") == NULL && strstr(html, "http") == NULL);
    CHECK_HAS(html, "<title>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\xEF\xBF\xBD</title>");
    CHECK_HAS(html, "<tr><th>lr</th><td>0.5</td></tr>");
    CHECK_HAS(html, "<tr><th>&lt;i&gt;</th><td>a&lt;b</td></tr>");
    CHECK_HAS(html, "<tr><th>deep</th><td>[1, 2]</td></tr>");
    CHECK_HAS(html, "<tr><th>status</th><td>QUERN_OK</td></tr>");
    CHECK_HAS(html, "<tr><th>ended by</th><td>epochs</td></tr>");
    CHECK_HAS(html, "<tr><th>updates</th><td>9</td></tr>");
    CHECK_HAS(html, "<tr><th>parameters</th><td>67</td></tr>");
    static const char *const charts[] = {"loss", "accuracy", "learning_rate", "gradient_norm",
                                         "samples_per_second"};
    for (int i = 0; i < 5; i++) {
        char title[64];
        snprintf(title, sizeof title, "<h2>%s</h2>", charts[i]);
        CHECK_SAY(occurrences(html, title) == 1, "%s", title);
    }
    CHECK(occurrences(html, "<svg") == 5 && occurrences(html, "</svg>") == 5);
    CHECK(occurrences(html, "curve valid") == 2); /* loss and accuracy */
    CHECK_HAS(html, "<th>cat &amp; dog</th>");
    CHECK_HAS(html, "Last evaluation of val.");
    for (int row = 0; row < 3; row++) {
        const double *counts = &score.confusion[3 * row];
        const double sum = counts[0] + counts[1] + counts[2];
        for (int c = 0; c < 3; c++) {
            char cell[128];
            snprintf(cell, sizeof cell, "var(--c%d) %.0f%%,transparent)\">%.0f</td>",
                     row == c ? 1 : 2, sum > 0 ? 80 * counts[c] / sum : 0, counts[c]);
            CHECK_HAS(html, cell);
        }
    }
    char loss[160];
    snprintf(loss, sizeof loss, "<tr><th>val/loss</th><td>%.3g", score.loss);
    CHECK_HAS(html, loss);
    close_all(&w, r);
    temporary_end(&t);
}

TEST_CASE(Report, of_a_run_that_failed_has_its_sentence) {
    world w;
    temporary t;
    quern_report *r = NULL;
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    w.train_x[5][1] = NAN;
    w.desc.metric_count = 0;
    REQUIRE_OK(quern_report_create(
        &r, w.device, &(quern_report_desc){.path = temporary_join(&t, "report.html")}));
    CHECK_STATUS(fit(&w, r, NULL), QUERN_NOT_FINITE);
    char sentence[512];
    snprintf(sentence, sizeof sentence, "<tr><th>failure</th><td>%.40s", quern_error());
    const char *html = page_read(&t, "report.html");
    CHECK_HAS(html, "<tr><th>status</th><td>QUERN_NOT_FINITE</td></tr>");
    CHECK_HAS(html, "<tr><th>ended by</th><td>failure</td></tr>");
    CHECK_HAS(html, sentence);
    CHECK_HAS(html, "<h1>Quern</h1>");
    CHECK(strstr(html, "Confusion") == NULL);
    close_all(&w, r);
    temporary_end(&t);
}

static report_curve curve;
static report_point points[REPORT_POINTS];

static void curve_fill(int64_t count, int64_t gap) {
    report_curve_begin(&curve);
    for (int64_t i = 0; i < count; i++)
        report_curve_add(&curve, points, (double)i, i == gap ? (double)NAN : (double)(i % 1000));
}

TEST_CASE(Report, curves_are_thinned_out_evenly_and_keep_first_and_last) {
    for (int64_t count = 0; count <= 5000; count += count < 1100 ? 1 : 7) {
        curve_fill(count, -1);
        REQUIRE(report_curve_valid(&curve));
        REQUIRE(curve.seen == count && curve.count <= REPORT_POINTS);
        if (count == 0) continue;
        REQUIRE(points[0].step == 0 && points[curve.count - 1].step == (double)(count - 1));
        REQUIRE(curve.count == count || curve.count > REPORT_POINTS / 2);
        for (int64_t i = 1; i + 1 < curve.count; i++)
            REQUIRE(points[i].step == (double)(i * curve.stride));
        REQUIRE(curve.last == (double)((count - 1) % 1000) && curve.lowest == 0);
        REQUIRE(curve.highest == (double)(count > 1000 ? 999 : count - 1));
    }
}

TEST_CASE(Report, a_gap_is_never_thinned_away) {
    for (int64_t gap = 0; gap < 4100; gap += 13) {
        curve_fill(4100, gap);
        int64_t gaps = 0;
        for (int64_t i = 0; i < curve.count; i++) gaps += isnan(points[i].value);
        REQUIRE_SAY(gaps >= 1, "the gap at %lld is gone", (long long)gap);
        REQUIRE(curve.not_finite == 1);
    }
}

TEST_CASE(Report, a_curve_that_none_can_be_is_refused) {
    static const report_curve bad[] = {{.stride = 0},
                                       {.stride = 1, .count = 1},
                                       {.stride = 1, .seen = 2, .count = 1},
                                       {.stride = 1, .seen = 2000, .count = 2000},
                                       {.stride = 1, .seen = -1, .count = -1},
                                       {.stride = 1, .seen = 1, .count = 1, .not_finite = 2},
                                       {.stride = -1, .seen = 1, .count = 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(!report_curve_valid(&bad[i]));
}

/* Chart of the values given, written to a file. */
static const char *chart_of(const double *values, int count) {
    temporary t;
    static report_page p;
    const quern_host host = quern_host_default();
    if (!temporary_begin(&t)) return "";
    report_curve_begin(&curve);
    for (int i = 0; i < count; i++) report_curve_add(&curve, points, i, values[i]);
    char part[600];
    snprintf(part, sizeof part, "%s", temporary_join(&t, "part"));
    CHECK_OK(page_open(&p, &host, temporary_join(&t, "chart"), part));
    page_chart(&p, &(report_chart){.title = "x",
                                   .count = 1,
                                   .names = {"train/x"},
                                   .curves = {&curve},
                                   .points = {points}});
    CHECK_OK(page_close(&p));
    page_read(&t, "chart");
    temporary_end(&t);
    return page;
}

TEST_CASE(Report, values_that_are_not_finite_break_the_line) {
    const char *html = chart_of((const double[]){1, 2, NAN, 3, INFINITY, 4, 5}, 7);
    CHECK(occurrences(html, "<polyline") == 2); /* 1 2 and 4 5 */
    CHECK(occurrences(html, "<circle") == 5);
    CHECK_HAS(html, "(2 not finite)");
    CHECK(strstr(html, "nan") == NULL && strstr(html, "inf") == NULL);
    html = chart_of((const double[]){NAN, NAN}, 2);
    CHECK_HAS(html, "Nothing finite was measured");
    CHECK(strstr(html, "<svg") == NULL);
    html = chart_of(NULL, 0);
    CHECK_HAS(html, "Nothing finite was measured");
}

/* From the top margin to the bottom one, whatever the numbers. */
TEST_CASE(Report, axes_hold_the_largest_and_the_smallest_numbers) {
    static const double ranges[][2] = {{-1.7e308, 1.7e308}, {0, 5e-324}, {7, 7},        {0, 0},
                                       {1e300, 1e300},      {-3, -3},    {1, 1 + 1e-15}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        const char *html = chart_of(ranges[i], 2);
        CHECK(strstr(html, "nan") == NULL && strstr(html, "inf\"") == NULL);
        const char *line = strstr(html, "curve train\" points=\"60.0,");
        REQUIRE_SAY(line != NULL, "range %zu", i);
        const double first = strtod(strchr(line, ',') + 1, NULL);
        CHECK_SAY(first >= 14 && first <= 266, "range %zu begins at %g", i, first);
    }
}

static void cut_between(char *from, char *to) {
    REQUIRE(from && to);
    memmove(from, to, strlen(to) + 1);
}

/* What is no state, because it is made of times: a chart, and a row of the table. */
static void cut_throughput(char *html) {
    char *chart = strstr(html, "<h2>samples_per_second");
    REQUIRE(chart != NULL);
    cut_between(chart, strstr(chart + 4, "<h2>"));
    char *row = strstr(html, "<tr><th>train/samples_per_second");
    REQUIRE(row != NULL);
    cut_between(row, strstr(row, "</table>"));
}

TEST_CASE(Report, curves_and_confusion_go_on_in_another_object) {
    world w[2];
    temporary t;
    quern_report *r[2] = {NULL, NULL};
    REQUIRE(temporary_begin(&t));
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(world_open(&w[i], &(world_desc){0}));
        REQUIRE_OK(quern_report_create(
            &r[i], w[i].device, &(quern_report_desc){.path = temporary_join(&t, "report.html")}));
    }
    REQUIRE_OK(fit(&w[0], r[0], NULL));
    const quern_callback to = quern_report_callback(r[1]);
    const quern_trainer_desc desc = world_with(&w[1], &to, 1);
    REQUIRE_OK(quern_trainer_create(&w[1].trainer, &desc));
    REQUIRE(state_move(quern_report_callback(r[0]), to));
    CHECK(state_loaded(to, w[1].trainer) == QUERN_CONTINUE);
    static char before[sizeof page];
    memcpy(before, page_read(&t, "report.html"), sizeof before);
    cut_throughput(before);
    const quern_event end = {.kind = QUERN_EVENT_fit_end,
                             .trainer = w[1].trainer,
                             .reason = "epochs",
                             .step = 9,
                             .attempts = 9,
                             .epoch = 3};
    CHECK(to.fit_end(to.self, &end) == QUERN_CONTINUE);
    page_read(&t, "report.html");
    cut_throughput(page);
    CHECK(strcmp(page, before) == 0);
    CHECK_HAS(page, "curve valid");
    const quern_callback_state state = to.state(to.self);
    memset(state.block, 0xFF, state.block_bytes);
    CHECK(state_loaded(to, w[1].trainer) == QUERN_FAIL);
    CHECK_ERROR_HAS("report: the state in run/step-1 cannot be of this run");
    for (int i = 0; i < 2; i++) close_all(&w[i], r[i]);
    temporary_end(&t);
}

TEST_CASE(Report, what_makes_no_sense_is_refused) {
    static const char *const names[] = {"a", "b"};
    static const quern_report_desc bad[] = {{.title = "x"},
                                            {.path = ""},
                                            {.path = "r", .class_count = 2},
                                            {.path = "r", .class_names = names},
                                            {.path = "r", .class_names = names, .class_count = -2},
                                            {.path = "r", .configuration = "{\"a\": 1"},
                                            {.path = "r", .configuration = "[1]"},
                                            {.path = "r", .configuration = "{\"a\": 1, \"a\": 2}"}};
    world w;
    quern_report *r = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    CHECK_STATUS(quern_report_create(&r, w.device, NULL), QUERN_INVALID);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_STATUS(quern_report_create(&r, w.device, &bad[i]), QUERN_INVALID);
        CHECK(r == NULL);
        CHECK_ERROR_HAS("report: ");
    }
    REQUIRE_OK(quern_report_create(
        &r, w.device, &(quern_report_desc){.path = "r", .class_names = names, .class_count = 2}));
    const quern_callback callback = quern_report_callback(r);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    CHECK_STATUS(quern_trainer_create(&w.trainer, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS("2 class names for a confusion matrix of 3 classes");
    close_all(&w, r);
}

static quern_status whole_run(const quern_host *host, const char *path) {
    world w;
    quern_report *r = NULL;
    quern_status s = world_open(&w, &(world_desc){.host = *host});
    if (s == QUERN_OK)
        s = quern_report_create(
            &r, w.device, &(quern_report_desc){.path = path, .configuration = "{\"a\": [1, {}]}"});
    if (s == QUERN_OK) s = fit(&w, r, NULL);
    if (w.device)
        close_all(&w, r);
    else
        quern_report_destroy(r);
    return s;
}

/* Every operation, once and for ever: a sentence, the report of before whole, nothing beside it. */
TEST_CASE(Report, a_disk_that_fails_leaves_the_older_report) {
    static const fault_kind kinds[] = {FAULT_OPEN, FAULT_WRITE, FAULT_SYNC, FAULT_CLOSE,
                                       FAULT_RENAME};
    int64_t fired = 0;
    for (int k = 0; k < 10; k++) {
        for (int64_t n = 1;; n++) {
            temporary t;
            fault_host faults;
            char path[600];
            REQUIRE(temporary_begin(&t));
            REQUIRE(temporary_write(&t, "report.html", "older", 5));
            snprintf(path, sizeof path, "%s", temporary_join(&t, "report.html"));
            fault_host_begin(&faults, NULL);
            faults.write_at_most = 700;
            faults.fault[kinds[k / 2]] = (fault){.at = n, .error = ENOSPC, .for_ever = k % 2 == 1};
            const quern_status s = whole_run(&faults.host, path);
            REQUIRE(fault_host_live(&faults) == 0);
            char part[16];
            CHECK(temporary_read(&t, "report.html.part", part, sizeof part) < 0);
            page_read(&t, "report.html");
            temporary_end(&t);
            if (!fault_host_fired(&faults, kinds[k / 2])) {
                CHECK_STATUS(s, QUERN_OK);
                CHECK_HAS(page, "</html>");
                break;
            }
            fired++;
            REQUIRE_STATUS(s, QUERN_IO);
            CHECK_SAY(fault_is_named(kinds[k / 2], quern_error()), "%s", quern_error());
            CHECK_ERROR_HAS("report.html.part: No space left on device");
            CHECK_TEXT(page, "older");
        }
    }
    CHECK(fired > 20);
}

TEST_CASE(Report, failing_allocations_leave_nothing) {
    temporary t;
    char path[600];
    REQUIRE(temporary_begin(&t));
    snprintf(path, sizeof path, "%s", temporary_join(&t, "report.html"));
    for (int64_t n = 1;; n++) {
        fault_host faults;
        fault_host_begin(&faults, NULL);
        faults.fault[FAULT_ALLOCATE] = (fault){.at = n};
        const quern_status s = whole_run(&faults.host, path);
        REQUIRE(fault_host_live(&faults) == 0);
        if (!fault_host_fired(&faults, FAULT_ALLOCATE)) {
            CHECK_STATUS(s, QUERN_OK);
            break;
        }
        REQUIRE_STATUS(s, QUERN_HOST_MEMORY);
    }
    temporary_end(&t);
}
