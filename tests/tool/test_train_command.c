/* `quern train` and what reads its results: the contract that scripts rely on. */
#include "fixture.h"
#include "quern_test.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const json_keys[] = {
    "status",     "reason",   "stop_reason",   "steps",
    "attempts",   "epochs",   "train_seconds", "samples_per_second",
    "train/loss", "val/loss", "val/accuracy",  "parameters",
    "peak_bytes", "device",   "seed",          "run_dir",
    "checkpoint", "digest",
};
enum { JSON_KEY_COUNT = sizeof json_keys / sizeof *json_keys };

static void check_keys(json_t *object) {
    CHECK(json_object_size(object) == JSON_KEY_COUNT);
    for (int i = 0; i < JSON_KEY_COUNT; i++)
        CHECK_SAY(json_object_get(object, json_keys[i]) != NULL, "no key %s", json_keys[i]);
}

static bool exists(temporary *t, const char *name) {
    return access(temporary_join(t, name), F_OK) == 0;
}

TEST_CASE(Train, learns_a_folder_of_mnist_files_and_prints_one_json_object) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_mnist(&t, "digits", 320, 70));
    const run_result *r =
        COMMAND(&t, "train", "--model", "mlp", "--data", "digits", "--epochs", "3", "--batch-size",
                "32", "--seed", "4", "--run-dir", "run", "--json");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->error, "407050 parameters");
    CHECK_HAS(r->error, "planned peak");
    CHECK_HAS(r->error, "320 training, 70 validation samples");
    json_t *object = fixture_json(r);
    check_keys(object);
    CHECK_TEXT(fixture_json_text(object, "status"), "OK");
    CHECK_TEXT(fixture_json_text(object, "reason"), "epochs");
    CHECK_TEXT(fixture_json_text(object, "run_dir"), "run");
    CHECK(fixture_json_number(object, "steps") == 30);
    CHECK(fixture_json_number(object, "epochs") == 3);
    CHECK(fixture_json_number(object, "seed") == 4);
    CHECK(fixture_json_number(object, "parameters") == 407050);
    CHECK(fixture_json_number(object, "peak_bytes") > 407050 * 4);
    CHECK(fixture_json_number(object, "val/accuracy") > 0.9);
    CHECK(fixture_json_number(object, "val/accuracy") <= 1);
    CHECK(fixture_json_number(object, "samples_per_second") > 0);
    json_decref(object);
    temporary_end(&t);
}

TEST_CASE(Train, lenet_has_its_61706_parameters) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_mnist(&t, "digits", 40, 20));
    const run_result *r = COMMAND(&t, "train", "--model=lenet", "--data=digits", "--steps=1",
                                  "--batch-size=16", "--run-dir=run", "--json", "--quiet");
    CHECK(r->exit_code == 0);
    CHECK_TEXT(r->error, "");
    json_t *object = fixture_json(r);
    CHECK(fixture_json_number(object, "parameters") == 61706);
    CHECK(fixture_json_number(object, "steps") == 1);
    CHECK_TEXT(fixture_json_text(object, "reason"), "steps");
    CHECK(isfinite(fixture_json_number(object, "val/loss")));
    json_decref(object);
    temporary_end(&t);
}

static char text[OUTPUT_MAX];

TEST_CASE(Train, writes_a_run_folder_that_eval_predict_and_inspect_read) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 99));
    REQUIRE(mkdir(temporary_join(&t, "run"), 0777) == 0);
    const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv", "--epochs",
                                  "20", "--batch-size", "33", "--run-dir", "run");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->out, "run/report.html");
    CHECK(exists(&t, "run/config.json") && exists(&t, "run/metrics.jsonl"));
    CHECK(!exists(&t, "run/.probe") && !exists(&t, "run/model.safetensors.part"));
    memset(text, 0, sizeof text);
    CHECK(temporary_read(&t, "run/report.html", text, sizeof text - 1) > 1000);
    CHECK_HAS(text, "<svg");
    CHECK_HAS(text, "prefers-color-scheme:dark");
    CHECK_HAS(text, "table.csv");
    CHECK(strstr(text, "http:") == NULL && strstr(text, "https:") == NULL);

    r = COMMAND(&t, "eval", "--run-dir", "run", "--json");
    CHECK(r->exit_code == 0);
    json_t *object = fixture_json(r);
    CHECK(fixture_json_number(object, "samples") == 99);
    CHECK(fixture_json_number(object, "val/accuracy") > 0.9);
    CHECK(json_array_size(json_object_get(object, "val/class_accuracy")) == 3);
    json_decref(object);

    r = COMMAND(&t, "predict", "--weights", "run/model.safetensors", "--data", "table.csv");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->out, "index,class,p0,p1,p2\n0,0,");
    CHECK_HAS(r->out, "\n98,2,");
    CHECK(strstr(r->out, "\n99,") == NULL);

    /* What is to be predicted has no label yet. */
    static const char inputs[] = "width,height\n0.1,0\n8.1,-6\n4.1,-3\n";
    REQUIRE(temporary_write(&t, "new.csv", inputs, sizeof inputs - 1));
    r = COMMAND(&t, "predict", "run", "--data", "new.csv");
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    CHECK_HAS(r->out, "index,class,p0,p1,p2\n0,0,");
    CHECK_HAS(r->out, "\n1,2,");
    CHECK_HAS(r->out, "\n2,1,");
    CHECK(COMMAND(&t, "predict", "--checkpoint", "run", "--data", "new.csv")->exit_code == 0);
    r = COMMAND(&t, "eval", "run", "--data", "new.csv");
    CHECK(r->exit_code == 3);
    CHECK_HAS(r->error, "new.csv: row 3, column 1: expected a class index");

    r = COMMAND(&t, "inspect", "run");
    CHECK_HAS(r->out, "\"batch-size\": 33");
    CHECK_HAS(r->out, "(512, 2)");
    object = fixture_json(COMMAND(&t, "inspect", "run/model.safetensors", "--json"));
    CHECK(json_array_size(json_object_get(object, "tensors")) == 4);
    CHECK_TEXT(fixture_json_text(json_object_get(object, "notes"), "quern.model"), "mlp");
    json_decref(object);
    temporary_end(&t);
}

TEST_CASE(Train, the_history_is_json_line_by_line_and_begins_with_the_configuration) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 60));
    const run_result *r =
        COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv", "--steps", "6",
                "--batch-size", "20", "--log-every", "2", "--run-dir", "run", "--quiet");
    CHECK(r->exit_code == 0);
    memset(text, 0, sizeof text);
    CHECK(temporary_read(&t, "run/metrics.jsonl", text, sizeof text - 1) > 0);
    int line_count = 0;
    for (char *line = text; line && *line; line_count++) {
        char *end = strchr(line, '\n');
        if (end) *end = '\0';
        json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        CHECK_SAY(object != NULL, "line %d is no JSON: %s", line_count + 1, line);
        if (line_count == 0) CHECK(fixture_json_number(object, "log-every") == 2);
        json_decref(object);
        line = end ? end + 1 : NULL;
    }
    CHECK(line_count >= 4);
    temporary_end(&t);
}

TEST_CASE(Train, without_a_run_folder_numbers_one_below_runs) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "my.table.csv", 60));
    for (int i = 1; i <= 2; i++) {
        const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "my.table.csv",
                                      "--steps", "1", "--batch-size", "8", "--quiet", "--json");
        CHECK(r->exit_code == 0);
        json_t *object = fixture_json(r);
        CHECK_TEXT(fixture_json_text(object, "run_dir"),
                   i == 1 ? "runs/mlp-my.table-001" : "runs/mlp-my.table-002");
        json_decref(object);
    }
    CHECK(exists(&t, "runs/mlp-my.table-002/report.html"));
    temporary_end(&t);
}

TEST_CASE(Train, the_same_seed_gives_the_same_model_whatever_the_threads) {
    temporary t;
    static char models[2][OUTPUT_MAX];
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 60));
    static const char *const threads[] = {"1", "3"}, *const workers[] = {"0", "2"};
    static const char *const runs[] = {"a", "b"};
    long bytes[2] = {0};
    for (int i = 0; i < 2; i++) {
        char path[64];
        const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv",
                                      "--steps", "9", "--batch-size", "16", "--threads", threads[i],
                                      "--workers", workers[i], "--run-dir", runs[i], "--quiet");
        CHECK(r->exit_code == 0);
        snprintf(path, sizeof path, "%s/model.safetensors", runs[i]);
        bytes[i] = temporary_read(&t, path, models[i], OUTPUT_MAX);
    }
    CHECK(bytes[0] > 1000 && bytes[0] < OUTPUT_MAX && bytes[0] == bytes[1]);
    CHECK(memcmp(models[0], models[1], (size_t)bytes[0]) == 0);
    temporary_end(&t);
}

TEST_CASE(Train, finds_fashion_mnist_below_the_data_folder_of_the_environment) {
    temporary t;
    char variable[300];
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_mnist(&t, "fashion-mnist", 30, 20));
    snprintf(variable, sizeof variable, "QUERN_DATA_DIR=%.250s", t.path);
    const run_setup setup = {.environment = {variable}};
    const run_result *r =
        COMMAND_WITH(&t, &setup, "train", "--model", "mlp", "--data", "fashion-mnist", "--steps",
                     "1", "--batch-size", "10", "--run-dir", "run");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->error, "30 training, 20 validation samples");
    temporary_end(&t);
}

TEST_CASE(Train, synthetic_data_needs_no_file) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "synthetic", "--steps",
                                  "3", "--run-dir", "run", "--json", "--quiet");
    CHECK(r->exit_code == 0);
    json_t *object = fixture_json(r);
    CHECK(fixture_json_number(object, "steps") == 3);
    CHECK(isfinite(fixture_json_number(object, "val/accuracy")));
    json_decref(object);
    temporary_end(&t);
}
