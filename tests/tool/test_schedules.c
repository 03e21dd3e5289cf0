/* test_schedules.c - the command takes every schedule by name, and the rate that it logs
 * moves so. */
#include "fixture.h"
#include "quern_test.h"

#include <math.h>
#include <string.h>

enum { STEPS = 8 };

/* Learning rates of the log lines of metrics.jsonl; returns how many. */
static int rates_read(temporary *t, double rates[STEPS]) {
    static char text[OUTPUT_MAX];
    int count = 0;
    const int64_t bytes = temporary_read(t, "run/metrics.jsonl", text, sizeof text - 1);
    if (bytes < 0) return 0;
    text[bytes] = '\0';
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *object = json_loads(line, 0, NULL);
        const json_t *rate = json_object_get(object, "train/learning_rate");
        if (json_is_number(rate) && count < STEPS) rates[count++] = json_number_value(rate);
        json_decref(object);
    }
    return count;
}

static const struct {
    const char *name, *option, *value;
    double last; /* share of --lr at the last of the updates */
} schedules[] = {
    {"constant", NULL, NULL, 1},
    {"step", "--period", "3", 0.01},
    {"multi_step", "--milestones", "2,5,6", 0.001},
    {"exponential", NULL, NULL, 0.13335214321633240}, /* 0.1 ^ (7 / 8) */
    {"exponential", "--period", "1", 1e-7},
    {"linear", NULL, NULL, 0.125},
    {"cosine", NULL, NULL, 0.038060233744356624}, /* (1 + cos(pi 7 / 8)) / 2 */
    {"cosine_restarts", "--period", "7", 1},
    {"polynomial", NULL, NULL, 0.125},
    {"one_cycle", NULL, NULL, 4e-6},
    {"warmup_stable_decay", NULL, NULL, 1},
};

TEST_CASE(Schedules, every_name_trains_with_its_rates) {
    for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
        temporary t;
        double rates[STEPS];
        REQUIRE(temporary_begin(&t) && fixture_csv(&t, "table.csv", 60));
        const char *arguments[ARGUMENT_MAX] = {QUERN_COMMAND,
                                               "train",
                                               "--model",
                                               "mlp",
                                               "--data",
                                               "table.csv",
                                               "--steps",
                                               "8",
                                               "--lr",
                                               "0.5",
                                               "--optimizer",
                                               "sgd",
                                               "--log-every",
                                               "1",
                                               "--run-dir",
                                               "run",
                                               "--quiet",
                                               "--batch-size",
                                               "4",
                                               "--schedule",
                                               schedules[i].name,
                                               schedules[i].option,
                                               schedules[i].value};
        const run_result *r = run_program(&t, &(run_setup){0}, arguments);
        CHECK_SAY(r->exit_code == 0, "%s: %s", schedules[i].name, r->error);
        REQUIRE_SAY(rates_read(&t, rates) == STEPS, "%s", schedules[i].name);
        CHECK_NEAR(rates[STEPS - 1], 0.5 * schedules[i].last, 1e-12);
        CHECK_SAY(strcmp(schedules[i].name, "one_cycle") == 0 ? rates[0] < 0.5 : rates[0] == 0.5,
                  "%s begins with %g", schedules[i].name, rates[0]);
        temporary_end(&t);
    }
}
