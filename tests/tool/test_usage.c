/* What is refused before anything runs: exit code 2, one sentence, the nearest valid name. */
#include "fixture.h"
#include "quern_test.h"

#include <string.h>

typedef struct misuse {
    const char *sentence;
    const char *arguments[12];
} misuse;

static const misuse misuses[] = {
    {"no command", {NULL}},
    {"unknown command \"trian\"; the nearest is \"train\"", {"trian"}},
    {"unknown option --ste; the nearest is --steps", {"train", "--ste", "3"}},
    {"unknown option --epoch; the nearest is --epochs", {"train", "--epoch=3"}},
    {"unknown option --lR; the nearest is --lr", {"train", "--lR", "1"}},
    {"unknown option --learning-rate; here it is --lr", {"train", "--learning-rate", "1"}},
    {"unknown option --gpu; here it is --device", {"verify", "--gpu"}},
    {"unknown option --gpu; quern inspect --help lists", {"inspect", "--gpu"}},
    {"unknown option --dropout; quern train --help lists", {"train", "--dropout", "0.5"}},
    {"--lr needs a value", {"train", "--lr"}},
    {"--json takes no value", {"train", "--json=1"}},
    {"unexpected argument \"mlp\"", {"train", "mlp"}},
    {"unexpected argument \"-s\"", {"train", "-s"}},
    {"devices does not take --seed", {"devices", "--seed", "1"}},
    {"predict does not take --json", {"predict", "--json"}},
    {"train needs --model", {"train", "--data", "synthetic"}},
    {"--resume needs --run-dir: which run is to go on", {"train", "--resume"}},
    {"--resume: there is no nowhere/config.json that says which run it was",
     {"train", "--resume", "--run-dir", "nowhere"}},
    {"--tail drop needs --accumulate",
     {"train", "--model", "mlp", "--data", "synthetic", "--tail", "drop"}},
    {"--accumulate: expected an integer from 1 to 4096, found \"0\"",
     {"train", "--model", "mlp", "--data", "synthetic", "--accumulate", "0"}},
    {"--accumulate: expected an integer from 1 to 4096, found \"4097\"",
     {"train", "--model", "mlp", "--data", "synthetic", "--accumulate", "4097"}},
    {"train needs --data", {"train", "--model", "mlp"}},
    {"unknown name \"lenett\"; the nearest is \"lenet\"",
     {"train", "--model", "lenett", "--data", "synthetic"}},
    {"\"fashion-mnits\" is neither a known name nor a path; the nearest is \"fashion-mnist\"",
     {"train", "--model", "mlp", "--data", "fashion-mnits"}},
    {"unknown name \"adamm\"; the nearest is \"adam",
     {"train", "--model", "mlp", "--data", "synthetic", "--optimizer", "adamm"}},
    {"unknown name \"cosin\"; the nearest is \"cosine\"",
     {"train", "--model", "mlp", "--data", "synthetic", "--schedule", "cosin"}},
    {"unknown name \"f23\"; the nearest is \"f32\"",
     {"train", "--model", "mlp", "--data", "synthetic", "--precision", "f23"}},
    {"unknown device \"gpu\"; the nearest is \"cuda\"",
     {"train", "--model", "mlp", "--data", "synthetic", "--device", "gpu"}},
    {"unknown device \"cuda:x\"",
     {"train", "--model", "mlp", "--data", "synthetic", "--device", "cuda:x"}},
    {"--lr: expected a number from 0 to 1e+30, found \"-0.1\"", {"train", "--lr", "-0.1"}},
    {"--lr: expected a number from 0 to 1e+30, found \"nan\"", {"train", "--lr", "nan"}},
    {"--lr: expected a number from 0 to 1e+30, found \"inf\"", {"train", "--lr=inf"}},
    {"--lr: expected a number from 0 to 1e+30, found \"1e-3x\"", {"train", "--lr=1e-3x"}},
    {"--lr: expected a number from 0 to 1e+30, found \"\"", {"train", "--lr="}},
    {"--epochs: expected an integer from 1", {"train", "--epochs", "0"}},
    {"--epochs: expected an integer from 1", {"train", "--epochs", "1.5"}},
    {"--epochs: expected an integer from 1", {"train", "--epochs", "+1"}},
    {"--steps: expected an integer from 1", {"train", "--steps", "99999999999999999999"}},
    {"--batch-size: expected an integer from 1", {"train", "--batch-size", "0"}},
    {"--batch-size: expected an integer from 1", {"train", "--batch-size", "-4"}},
    {"--seed: expected an integer from 0", {"train", "--seed", "0x10"}},
    {"--momentum: expected a number from 0 to 1", {"train", "--momentum", "2"}},
    {"--schedule step needs --period",
     {"train", "--model", "mlp", "--data", "synthetic", "--schedule", "step"}},
    {"--schedule cosine_restarts needs --period",
     {"train", "--model", "mlp", "--data", "synthetic", "--schedule", "cosine_restarts"}},
    {"--schedule multi_step needs --milestones",
     {"train", "--model", "mlp", "--data", "synthetic", "--schedule", "multi_step"}},
    {"--milestones: the schedule constant does not read it",
     {"train", "--model", "mlp", "--data", "synthetic", "--milestones", "3"}},
    {"expected up to 16 ascending numbers above 0 like 30,80, found \"3,2\"",
     {"train", "--model", "mlp", "--data", "synthetic", "--schedule", "multi_step", "--milestones",
      "3,2"}},
    {"found \"3,\"",
     {"train", "--model", "mlp", "--data", "synthetic", "--schedule", "multi_step", "--milestones",
      "3,"}},
    {"found \"0\"",
     {"train", "--model", "mlp", "--data", "synthetic", "--schedule", "multi_step", "--milestones",
      "0"}},
    {"found \"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17\"",
     {"train", "--model", "mlp", "--data", "synthetic", "--schedule", "multi_step", "--milestones",
      "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"}},
    {"--period: the schedule constant does not read it",
     {"train", "--model", "mlp", "--data", "synthetic", "--period", "3"}},
    {"--gamma: the schedule cosine does not read it",
     {"train", "--model", "mlp", "--data", "synthetic", "--schedule", "cosine", "--gamma", "0.5"}},
    {"--power: the schedule linear does not read it",
     {"train", "--model", "mlp", "--data", "synthetic", "--schedule", "linear", "--power", "2"}},
    {"--final-scale: the schedule step does not read it",
     {"train", "--model", "mlp", "--data", "synthetic", "--schedule", "step", "--period", "2",
      "--final-scale", "0"}},
    {"--decay: the schedule constant does not read it",
     {"train", "--model", "mlp", "--data", "synthetic", "--decay", "3"}},
    {"--period-factor: the schedule step does not read it",
     {"train", "--model", "mlp", "--data", "synthetic", "--schedule", "step", "--period", "2",
      "--period-factor", "2"}},
    {"--warmup-kind exponential needs --warmup",
     {"train", "--model", "mlp", "--data", "synthetic", "--warmup-kind", "exponential"}},
    {"--keep: expected an integer from 2", {"train", "--keep", "1"}},
    {"--keep: expected an integer from 2", {"train", "--keep", "0"}},
    {"--save-every: expected an integer from 1", {"train", "--save-every", "0"}},
    {"--keep-best: expected an integer from 0", {"train", "--keep-best", "-1"}},
    {"--keep-every: expected an integer from 1", {"train", "--keep-every", "0"}},
    {"--eval-every: expected an integer from 1", {"train", "--eval-every", "0"}},
    {"--eval-batches: expected an integer from 1", {"train", "--eval-batches", "0"}},
    {"--train-batches: expected an integer from 1", {"train", "--train-batches", "0"}},
    {"--sanity-batches: expected an integer from 1", {"train", "--sanity-batches", "0"}},
    {"--accumulate: expected an integer from 1", {"train", "--accumulate", "0"}},
    {"--max-samples: expected an integer from 1", {"train", "--max-samples", "0"}},
    {"--max-seconds: expected a number from 0.001", {"train", "--max-seconds", "0"}},
    {"--nonfinite-limit: expected an integer from 1", {"train", "--nonfinite-limit", "0"}},
    {"--plateau: expected an integer from 1", {"train", "--plateau", "0"}},
    {"--ema: expected a number from 0 to 1, found \"1\"", {"train", "--ema", "1"}},
    {"--clip-value: expected a number from 0", {"train", "--clip-value", "-1"}},
    {"--tail: unknown name \"flsh\"; the nearest is \"flush\"", {"train", "--tail", "flsh"}},
    {"--on-nonfinite: unknown name \"skp\"; the nearest is \"skip\"",
     {"train", "--on-nonfinite", "skp"}},
    {"--stop-file: expected PATH, found nothing", {"train", "--stop-file="}},
    {"--resume takes no value", {"train", "--resume=run"}},
    {"--resume needs --run-dir", {"train", "--model", "mlp", "--data", "synthetic", "--resume"}},
    {"--save-every: --no-save leaves no checkpoint",
     {"train", "--model", "mlp", "--data", "synthetic", "--no-save", "--save-every", "3"}},
    {"--resume: --fast-dev-run leaves no checkpoint",
     {"train", "--model", "mlp", "--data", "synthetic", "--fast-dev-run", "--resume", "--run-dir",
      "a"}},
    {"--on-nonfinite rollback: --no-save leaves no checkpoint",
     {"train", "--model", "mlp", "--data", "synthetic", "--no-save", "--on-nonfinite", "rollback"}},
    {"--ema-warmup needs --ema",
     {"train", "--model", "mlp", "--data", "synthetic", "--ema-warmup"}},
    {"--nonfinite-limit: --on-nonfinite stop does not read it",
     {"train", "--model", "mlp", "--data", "synthetic", "--nonfinite-limit", "3"}},
    {"eval does not take --resume", {"eval", "--resume"}},
    {"train does not take --checkpoint", {"train", "--checkpoint", "a"}},
    {"inspect needs a run folder", {"inspect"}},
    {"--weights, found none", {"eval"}},
    {"--weights, found several", {"eval", "--run-dir", "a", "--weights", "b"}},
    {"--weights, found several", {"predict", "a", "--checkpoint", "b"}},
    {"--weights, found none", {"predict"}},
    {"unexpected argument \"b\"", {"eval", "a", "b"}},
};

TEST_CASE(Usage, every_misuse_is_exit_code_2_with_a_sentence_and_no_output) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    for (size_t i = 0; i < sizeof misuses / sizeof *misuses; i++) {
        const char *arguments[ARGUMENT_MAX] = {QUERN_COMMAND};
        for (int k = 0; k < 12; k++) arguments[k + 1] = misuses[i].arguments[k];
        const run_result *r = run_program(&t, &(run_setup){0}, arguments);
        CHECK_SAY(r->exit_code == 2, "%s: exit code %d", misuses[i].sentence, r->exit_code);
        CHECK_HAS(r->error, misuses[i].sentence);
        CHECK_HAS(r->error, "quern: ");
        CHECK_TEXT(r->out, "");
    }
    temporary_end(&t);
}

TEST_CASE(Usage, a_usage_error_prints_no_json_object) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_result *r = COMMAND(&t, "train", "--json", "--model", "mpl", "--data", "synthetic");
    CHECK(r->exit_code == 2);
    CHECK_TEXT(r->out, "");
    temporary_end(&t);
}

TEST_CASE(Usage, help_and_version_go_to_standard_output) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_result *r = COMMAND(&t, "--help");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->out, "inspect");
    CHECK_TEXT(r->error, "");
    r = COMMAND(&t, "train", "--help");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->out, "--weight-decay F");
    CHECK_HAS(r->out, "adamw|adam|sgd|rmsprop|adagrad|lion");
    CHECK(strstr(r->out, "--weights") == NULL);
    r = COMMAND(&t, "train", "-h");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->out, "--weight-decay F");
    CHECK(COMMAND(&t, "-h")->exit_code == 0);
    CHECK_HAS(COMMAND(&t, "help")->out, "inspect");
    r = COMMAND(&t, "--version");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->out, "quern 0.");
    temporary_end(&t);
}

TEST_CASE(Usage, a_full_standard_output_is_exit_code_4) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_setup full = {.stdout_path = "/dev/full"};
    const run_result *r = COMMAND_WITH(&t, &full, "--help");
    CHECK(r->exit_code == 4);
    CHECK_HAS(r->error, "write standard output: No space left on device");
    CHECK(COMMAND_WITH(&t, &full, "devices")->exit_code == 4);
    temporary_end(&t);
}

TEST_CASE(Usage, devices_are_listed_and_an_absent_cuda_is_explained) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_result *r = COMMAND(&t, "devices");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->out, "cpu:0");
    r = COMMAND(&t, "devices", "--json");
    json_t *object = fixture_json(r);
    json_t *devices = json_object_get(object, "devices");
    CHECK_TEXT(fixture_json_text(json_array_get(devices, 0), "kind"), "cpu");
    CHECK(fixture_json_number(json_array_get(devices, 0), "threads") >= 1);
    json_t *cuda = json_object_get(object, "cuda");
    CHECK(json_is_null(cuda) || json_array_size(json_object_get(cuda, "libraries")) == 3);
    CHECK(json_array_size(devices) > 1 || fixture_json_text(object, "cuda_reason")[0] != '\0');
    json_decref(object);
    temporary_end(&t);
}

TEST_CASE(Usage, a_gpu_that_cannot_be_used_is_listed_with_its_reason_beside_the_others) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    static const run_setup second = {
        .environment = {"QUERN_BACKEND_PATH=" QUERN_TEST_MODULES "/second_of_two"}};
    static const run_setup none = {
        .environment = {"QUERN_BACKEND_PATH=" QUERN_TEST_MODULES "/none_of_two"}};
    const run_result *r = COMMAND_WITH(&t, &second, "devices");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->out, "cpu:0 ");
    CHECK_HAS(r->out, "cuda:0  cannot be used: fake 0 has compute capability 1.0\ncuda:");
    r = COMMAND_WITH(&t, &none, "devices", "--json");
    CHECK(r->exit_code == 0);
    json_t *object = fixture_json(r);
    json_t *devices = json_object_get(object, "devices");
    REQUIRE(json_array_size(devices) == 3);
    CHECK_TEXT(fixture_json_text(json_array_get(devices, 1), "reason"),
               "fake 0 has compute capability 1.0");
    CHECK_TEXT(fixture_json_text(json_array_get(devices, 2), "kind"), "cuda");
    CHECK(fixture_json_number(json_array_get(devices, 2), "index") == 1);
    CHECK_HAS(fixture_json_text(json_array_get(devices, 2), "reason"), "another process");
    json_decref(object);
    temporary_end(&t);
}

TEST_CASE(Usage, a_yaml_file_sets_options_and_the_command_line_has_precedence) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 90));
    static const char yaml[] = "model: mlp\ndata: table.csv\nbatch-size: 30\nsteps: 7\nseed: 5\n";
    REQUIRE(temporary_write(&t, "c.yaml", yaml, sizeof yaml - 1));
    const run_result *r = COMMAND(&t, "train", "--config", "c.yaml", "--steps", "2", "--json",
                                  "--run-dir", "run", "--quiet");
    CHECK(r->exit_code == 0);
    json_t *object = fixture_json(r);
    CHECK(fixture_json_number(object, "steps") == 2);
    CHECK(fixture_json_number(object, "seed") == 5);
    json_decref(object);
    char config[8192] = "";
    CHECK(temporary_read(&t, "run/config.json", config, sizeof config - 1) > 0);
    CHECK_HAS(config, "\"batch-size\": 30");
    CHECK_HAS(config, "\"steps\": 2");
    temporary_end(&t);
}

typedef struct bad_yaml {
    const char *text, *sentence;
    int exit_code;
} bad_yaml;

TEST_CASE(Usage, a_wrong_yaml_file_names_the_file_the_place_and_the_nearest_key) {
    static const bad_yaml cases[] = {
        {"model: mlp\nbach-size: 3\n", "unknown key \"bach-size\"", 2},
        {"model: mlp\nbach-size: 3\n", "the nearest is \"batch-size\"", 2},
        {"model: mlp\nbach-size: 3\n", "c.yaml: line 2: ", 2},
        {"model: [a, b]\n", "c.yaml", 2},
        {"lr: fast\n", "--lr: expected a number", 2},
        {"json: maybe\n", "json: expected true or false", 2},
        {"weights: a\n", "train does not take weights", 2},
        {"config: c.yaml\n", "config is no key", 2},
        {"model: \"mlp\n", "c.yaml", 3},
        {"\x01\x02", "c.yaml", 3},
    };
    temporary t;
    REQUIRE(temporary_begin(&t));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        REQUIRE(temporary_write(&t, "c.yaml", cases[i].text, strlen(cases[i].text)));
        const run_result *r = COMMAND(&t, "train", "--config", "c.yaml");
        CHECK_SAY(r->exit_code == cases[i].exit_code, "%s: exit code %d: %s", cases[i].text,
                  r->exit_code, r->error);
        CHECK_HAS(r->error, cases[i].sentence);
    }
    const run_result *r = COMMAND(&t, "train", "--config", "missing.yaml");
    CHECK(r->exit_code == 3);
    CHECK_HAS(r->error, "missing.yaml: No such file");
    temporary_end(&t);
}
