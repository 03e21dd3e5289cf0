/* Bad input: the exit code of DESIGN §3, a sentence that names what was wrong, JSON all the same,
 * and nothing left behind. */
#include "fixture.h"
#include "quern_test.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool exists(temporary *t, const char *name) {
    return access(temporary_join(t, name), F_OK) == 0;
}

/* Trains on `data` into "run" and expects the failure, in words and in JSON, and no run folder. */
static void expect_refusal(temporary *t, const char *data, int exit_code, const char *status,
                           const char *sentence) {
    const run_result *r = COMMAND(t, "train", "--model", "mlp", "--data", data, "--steps", "3",
                                  "--batch-size", "8", "--run-dir", "run", "--json", "--quiet");
    CHECK_SAY(r->exit_code == exit_code, "%s: exit code %d: %s", data, r->exit_code, r->error);
    CHECK_HAS(r->error, sentence);
    json_t *object = fixture_json(r);
    CHECK_TEXT(fixture_json_text(object, "status"), status);
    CHECK_HAS(fixture_json_text(object, "reason"), sentence);
    CHECK(json_object_size(object) == 18);
    json_decref(object);
    CHECK_SAY(!exists(t, "run"), "%s: a run folder was left behind", data);
}

TEST_CASE(BadInput, missing_paths_and_files_are_exit_code_3) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    expect_refusal(&t, "./nowhere", 3, "INPUT", "nowhere: No such file");
    expect_refusal(&t, "nowhere.csv", 3, "INPUT", "nowhere.csv: No such file");
    REQUIRE(mkdir(temporary_join(&t, "empty"), 0777) == 0);
    expect_refusal(&t, "empty", 3, "INPUT", "train-images-idx3-ubyte");
    REQUIRE(temporary_write(&t, "data.bin", "abc", 3));
    expect_refusal(&t, "data.bin", 3, "INPUT", "expected a folder or a .csv file");
    REQUIRE(temporary_write(&t, "empty.csv", "", 0));
    expect_refusal(&t, "empty.csv", 3, "INPUT", "empty.csv");
    temporary_end(&t);
}

/* Overwrites one byte of a file. */
static bool poke(temporary *t, const char *name, size_t offset, unsigned char value) {
    static unsigned char content[1 << 17];
    const long bytes = temporary_read(t, name, content, sizeof content);
    if (bytes < 0 || (size_t)bytes > sizeof content || offset >= (size_t)bytes) return false;
    content[offset] = value;
    return temporary_write(t, name, content, (size_t)bytes);
}

TEST_CASE(BadInput, lying_mnist_files_are_exit_code_3) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_mnist(&t, "d", 24, 16));
    REQUIRE(poke(&t, "d/train-labels-idx1-ubyte", 8 + 17, 99));
    expect_refusal(&t, "d", 3, "INPUT", "train-labels-idx1-ubyte");
    expect_refusal(&t, "d", 3, "INPUT", "17");
    REQUIRE(poke(&t, "d/train-labels-idx1-ubyte", 8 + 17, 7));
    REQUIRE(poke(&t, "d/t10k-images-idx3-ubyte", 7, 200));
    expect_refusal(&t, "d", 3, "INPUT", "t10k-images-idx3-ubyte");
    REQUIRE(poke(&t, "d/t10k-images-idx3-ubyte", 7, 16));
    REQUIRE(truncate(temporary_join(&t, "d/train-images-idx3-ubyte"), 16 + 24 * 784 - 1) == 0);
    expect_refusal(&t, "d", 3, "INPUT", "train-images-idx3-ubyte");
    REQUIRE(truncate(temporary_join(&t, "d/train-images-idx3-ubyte"), 5) == 0);
    expect_refusal(&t, "d", 3, "INPUT", "train-images-idx3-ubyte");
    temporary_end(&t);
}

TEST_CASE(BadInput, tables_with_text_or_nan_are_exit_code_3) {
    static const char nan_row[] = "a,b,label\n1,2,0\n1,nan,1\n1,2,1\n";
    static const char text_row[] = "a,b,label\n1,2,0\n1,x,1\n";
    static const char negative_label[] = "a,b,label\n1,2,0\n1,3,-1\n";
    static const char only_header[] = "a,b,label\n";
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(temporary_write(&t, "a.csv", nan_row, sizeof nan_row - 1));
    expect_refusal(&t, "a.csv", 3, "INPUT", "a.csv");
    REQUIRE(temporary_write(&t, "a.csv", text_row, sizeof text_row - 1));
    expect_refusal(&t, "a.csv", 3, "INPUT", "a.csv");
    REQUIRE(temporary_write(&t, "a.csv", negative_label, sizeof negative_label - 1));
    expect_refusal(&t, "a.csv", 3, "INPUT", "a.csv");
    REQUIRE(temporary_write(&t, "a.csv", only_header, sizeof only_header - 1));
    expect_refusal(&t, "a.csv", 3, "INPUT", "a.csv");
    temporary_end(&t);
}

TEST_CASE(BadInput, what_does_not_fit_together_is_exit_code_2) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "small.csv", 5));
    expect_refusal(&t, "small.csv", 2, "INVALID",
                   "--batch-size: 8 is larger than the training set, 5 samples");
    const run_result *r =
        COMMAND(&t, "train", "--model", "mlp", "--data", "small.csv", "--run-dir", "small");
    CHECK_SAY(r->exit_code == 0, "the default batch: %s", r->error); /* nobody asked for 64 */
    REQUIRE(fixture_csv(&t, "table.csv", 50));
    r = COMMAND(&t, "train", "--model", "lenet", "--data", "table.csv", "--batch-size", "8",
                "--run-dir", "run");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "lenet");
    r = COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv", "--batch-size", "8",
                "--momentum", "0.9", "--run-dir", "run");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "adamw does not read momentum");
    CHECK(!exists(&t, "run"));
    temporary_end(&t);
}

TEST_CASE(BadInput, a_run_folder_with_content_is_refused_and_left_alone) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 50));
    REQUIRE(mkdir(temporary_join(&t, "run"), 0777) == 0);
    REQUIRE(temporary_write(&t, "run/mine.txt", "x", 1));
    const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv",
                                  "--batch-size", "8", "--run-dir", "run");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "expected an empty or new folder, found mine.txt");
    CHECK(exists(&t, "run/mine.txt") && !exists(&t, "run/config.json"));
    temporary_end(&t);
}

TEST_CASE(BadInput, a_run_folder_that_cannot_be_written_is_exit_code_4_before_the_first_step) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 50));
    const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv",
                                  "--batch-size", "8", "--run-dir", "table.csv/run", "--json");
    CHECK(r->exit_code == 4);
    CHECK_HAS(r->error, "run directory table.csv");
    json_t *object = fixture_json(r);
    CHECK_TEXT(fixture_json_text(object, "status"), "IO");
    CHECK(fixture_json_number(object, "steps") == 0);
    CHECK(json_is_null(json_object_get(object, "run_dir")));
    json_decref(object);
    CHECK(COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv", "--batch-size", "8",
                  "--run-dir", "/proc/run")
              ->exit_code == 4);
    temporary_end(&t);
}

TEST_CASE(BadInput, a_disk_that_fills_up_while_logging_is_exit_code_4) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 50));
    const run_setup small_disk = {.file_limit = 4096};
    const run_result *r = COMMAND_WITH(&t, &small_disk, "train", "--model", "mlp", "--data",
                                       "table.csv", "--batch-size", "8", "--steps", "400",
                                       "--log-every", "1", "--run-dir", "run", "--json", "--quiet");
    CHECK(r->exit_code == 4);
    CHECK_HAS(r->error, "metrics.jsonl");
    json_t *object = fixture_json(r);
    CHECK_TEXT(fixture_json_text(object, "status"), "IO");
    CHECK(fixture_json_number(object, "steps") > 0);
    json_decref(object);
    CHECK(!exists(&t, "run/model.safetensors"));
    temporary_end(&t);
}

/* The report is written when the run ends, then the model. */
static void check_small_disk(int64_t file_limit, const char *names, const char *part,
                             const char *option) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_mnist(&t, "digits", 20, 10));
    const run_setup small_disk = {.file_limit = file_limit};
    const run_result *r =
        COMMAND_WITH(&t, &small_disk, "train", "--model", "mlp", "--data", "digits", "--batch-size",
                     "8", "--steps", "3", "--run-dir", "run", "--quiet", "--json", option);
    CHECK(r->exit_code == 4);
    CHECK_HAS(r->error, names);
    CHECK(!exists(&t, "run/model.safetensors") && !exists(&t, part));
    json_t *object = fixture_json(r);
    CHECK_TEXT(fixture_json_text(object, "status"), "IO");
    json_decref(object);
    temporary_end(&t);
}

TEST_CASE(BadInput, a_checkpoint_that_does_not_fit_the_disk_is_exit_code_4_and_gets_no_name) {
    check_small_disk(256 << 10, "the last state could not be saved: writing run/checkpoints/step-3",
                     "run/checkpoints/step-3", NULL);
}

TEST_CASE(BadInput, a_model_that_does_not_fit_the_disk_is_exit_code_4_and_leaves_no_part) {
    check_small_disk(256 << 10, "model.safetensors", "run/model.safetensors.part", "--no-save");
}

TEST_CASE(BadInput, a_report_that_does_not_fit_the_disk_is_exit_code_4_and_leaves_no_part) {
    check_small_disk(4096, "report.html", "run/report.html.part", "--no-save");
}

TEST_CASE(BadInput, a_loss_that_is_not_finite_is_exit_code_9_and_saves_no_model) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 50));
    const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv",
                                  "--batch-size", "8", "--optimizer", "sgd", "--lr", "1e30",
                                  "--epochs", "5", "--run-dir", "run", "--quiet", "--json");
    CHECK(r->exit_code == 9);
    CHECK_HAS(r->error, "step");
    json_t *object = fixture_json(r);
    CHECK_TEXT(fixture_json_text(object, "status"), "NOT_FINITE");
    json_decref(object);
    CHECK(exists(&t, "run/report.html") && !exists(&t, "run/model.safetensors"));
    temporary_end(&t);
}

TEST_CASE(BadInput, a_device_that_is_not_there_is_exit_code_10) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "synthetic", "--device",
                                  "cuda:777", "--run-dir", "run", "--json");
    CHECK(r->exit_code == 10);
    json_t *object = fixture_json(r);
    CHECK_TEXT(fixture_json_text(object, "status"), "NO_DEVICE");
    json_decref(object);
    CHECK(!exists(&t, "run"));
    temporary_end(&t);
}

TEST_CASE(BadInput, weights_that_do_not_fit_are_named) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 50));
    REQUIRE(fixture_mnist(&t, "digits", 20, 10));
    CHECK(COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv", "--batch-size", "8",
                  "--steps", "1", "--run-dir", "run", "--quiet")
              ->exit_code == 0);
    const run_result *r = COMMAND(&t, "eval", "--run-dir", "run", "--data", "digits", "--json");
    CHECK(r->exit_code == 3);
    CHECK_HAS(r->error, "10 classes");
    r = COMMAND(&t, "eval", "--run-dir", "run", "--model", "lenet");
    CHECK(r->exit_code == 2);
    r = COMMAND(&t, "eval", "--run-dir", "nowhere", "--json");
    CHECK(r->exit_code == 3);
    CHECK_HAS(r->error, "nowhere/model.safetensors");
    REQUIRE(truncate(temporary_join(&t, "run/model.safetensors"), 3000) == 0);
    CHECK(COMMAND(&t, "eval", "--run-dir", "run")->exit_code == 3);
    CHECK(COMMAND(&t, "predict", "--run-dir", "run")->exit_code == 3);
    CHECK(COMMAND(&t, "inspect", "run")->exit_code == 3);
    r = COMMAND(&t, "inspect", "nowhere", "--json");
    CHECK(r->exit_code == 3);
    json_t *object = fixture_json(r);
    CHECK_TEXT(fixture_json_text(object, "status"), "INPUT");
    CHECK_HAS(fixture_json_text(object, "reason"), "nowhere");
    json_decref(object);
    temporary_end(&t);
}

static void check_signal(int number, int exit_code) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 50));
    const run_setup setup = {.signal = number};
    const run_result *r =
        COMMAND_WITH(&t, &setup, "train", "--model", "mlp", "--data", "table.csv", "--batch-size",
                     "8", "--steps", "100000000", "--run-dir", "run", "--json");
    CHECK_SAY(r->exit_code == exit_code, "exit code %d, killed by %d", r->exit_code, r->killed_by);
    json_t *object = fixture_json(r);
    CHECK_TEXT(fixture_json_text(object, "status"), "OK");
    CHECK_TEXT(fixture_json_text(object, "reason"), "signal");
    CHECK(fixture_json_number(object, "steps") > 0);
    json_decref(object);
    CHECK(exists(&t, "run/model.safetensors") && exists(&t, "run/report.html"));
    temporary_end(&t);
}

TEST_CASE(Signals, an_evaluation_that_a_signal_left_out_is_told_in_words) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_setup setup = {.signal = SIGINT};
    const run_result *r =
        COMMAND_WITH(&t, &setup, "train", "--model", "mlp", "--data", "synthetic", "--epochs",
                     "1000", "--batch-size", "2", "--eval-every", "100000000", "--run-dir", "run");
    CHECK(r->exit_code == 130);
    CHECK_HAS(r->out, "validation          not done: the run was interrupted\n");
    CHECK(strstr(r->out, "nan") == NULL);
    temporary_end(&t);
}

TEST_CASE(Signals, sigint_ends_the_run_in_order_with_exit_code_130) { check_signal(SIGINT, 130); }

TEST_CASE(Signals, sigterm_ends_the_run_in_order_with_exit_code_143) { check_signal(SIGTERM, 143); }

TEST_CASE(Signals, a_second_signal_ends_the_process_at_once) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(mkfifo(temporary_join(&t, "endless.csv"), 0666) == 0);
    const run_setup setup = {.pipe = temporary_join(&t, "endless.csv")};
    const run_result *r = COMMAND_WITH(&t, &setup, "train", "--model", "mlp", "--data",
                                       "endless.csv", "--run-dir", "run", "--json");
    CHECK_SAY(r->exit_code == 130 || r->exit_code == 143, "exit code %d, killed by %d",
              r->exit_code, r->killed_by);
    CHECK_TEXT(r->out, "");
    CHECK(!exists(&t, "run"));
    temporary_end(&t);
}
