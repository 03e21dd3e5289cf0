/* `quern verify`: the table, the object, the exit codes. */
#include "fixture.h"
#include "quern_test.h"

#include <string.h>

static const json_t *tensor_named(const json_t *object, const char *role, const char *name) {
    const json_t *tensors = json_object_get(object, "tensors");
    for (size_t i = 0; i < json_array_size(tensors); i++) {
        const json_t *t = json_array_get(tensors, i);
        if (strcmp(json_string_value(json_object_get(t, "role")), role) == 0 &&
            strcmp(json_string_value(json_object_get(t, "name")), name) == 0)
            return t;
    }
    return NULL;
}

TEST_CASE(VerifyCommand, prints_the_worst_tensor_of_each_role) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_mnist(&t, "d", 24, 16));
    const run_result *r = COMMAND(&t, "verify", "--model", "lenet", "--data", "d", "--device",
                                  "cpu", "--batch-size", "8");
    CHECK_SAY(r->exit_code == 0, "exit code %d: %s", r->exit_code, r->error);
    CHECK_TEXT(r->error, "");
    CHECK_HAS(r->out, "device worst");
    CHECK_HAS(r->out, "cpu    activation");
    CHECK_HAS(r->out, "cpu    updated weight");
    CHECK_HAS(r->out, "8 samples, 48 tensors, 0 out of tolerance");
    CHECK(strstr(r->out, "BAD") == NULL);
    temporary_end(&t);
}

TEST_CASE(VerifyCommand, json_holds_every_tensor) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 40));
    const run_result *r =
        COMMAND(&t, "verify", "--model", "mlp", "--data", "table.csv", "--device", "cpu",
                "--optimizer", "sgd", "--momentum", "0.9", "--seed", "4", "--json");
    CHECK_SAY(r->exit_code == 0, "exit code %d: %s", r->exit_code, r->error);
    json_t *object = fixture_json(r);
    CHECK_TEXT(fixture_json_text(object, "status"), "OK");
    CHECK(fixture_json_number(object, "samples") == 40);
    CHECK(fixture_json_number(object, "bad") == 0);
    CHECK(json_is_null(json_object_get(object, "first")));
    const json_t *tensors = json_object_get(object, "tensors");
    CHECK(fixture_json_number(object, "compared") == (double)json_array_size(tensors));
    const json_t *weight = tensor_named(object, "gradient", "fc1.weight");
    REQUIRE(weight != NULL);
    CHECK_TEXT(json_string_value(json_object_get(weight, "shape")), "(512, 2)");
    CHECK(json_integer_value(json_object_get(weight, "count")) == 1024);
    CHECK(json_number_value(json_object_get(weight, "error")) <= 1e-3);
    CHECK(json_is_true(json_object_get(weight, "ok")));
    CHECK(tensor_named(object, "updated weight", "fc2.bias") != NULL);
    json_decref(object);
    temporary_end(&t);
}

/* A decay of 1e60 times the weight is a number in F64 and infinity in F32. */
TEST_CASE(VerifyCommand, what_is_out_of_tolerance_is_named_and_is_exit_code_1) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 40));
    for (int json = 0; json < 2; json++) {
        const run_result *r =
            COMMAND(&t, "verify", "--model", "mlp", "--data", "table.csv", "--device", "cpu",
                    "--lr", "1e30", "--weight-decay", "1e30", json ? "--json" : "--quiet");
        CHECK_SAY(r->exit_code == 1, "exit code %d: %s", r->exit_code, r->error);
        CHECK_HAS(r->error, "updated weight of fc1.weight (512, 2) in F32 on the CPU");
        CHECK_HAS(r->error, "out of tolerance: element");
        if (!json) {
            CHECK_HAS(r->out, "out of tolerance, in the order of a step:");
            CHECK_HAS(r->out, "first");
            CHECK_HAS(r->out, "BAD");
            continue;
        }
        json_t *object = fixture_json(r);
        CHECK_TEXT(fixture_json_text(object, "status"), "INTERNAL");
        CHECK_TEXT(fixture_json_text(object, "first"), "fc1.weight");
        CHECK_HAS(fixture_json_text(object, "reason"), "updated weight of fc1.weight");
        CHECK(fixture_json_number(object, "bad") >= 1);
        json_decref(object);
    }
    temporary_end(&t);
}

TEST_CASE(VerifyCommand, refuses_what_it_cannot_do_before_it_begins) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_result *r = COMMAND(&t, "verify", "--data", "synthetic");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "verify needs --model");
    r = COMMAND(&t, "verify", "--model", "mlp");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "verify needs --data");
    r = COMMAND(&t, "verify", "--model", "mlp", "--data", "synthetic", "--epochs", "2");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "verify does not take --epochs");
    r = COMMAND(&t, "verify", "--model", "mlp", "--data", "./nowhere", "--device", "cpu", "--json");
    CHECK(r->exit_code == 3);
    json_t *object = fixture_json(r);
    CHECK_TEXT(fixture_json_text(object, "status"), "INPUT");
    json_decref(object);
    r = COMMAND(&t, "verify", "--model", "mlp", "--data", "synthetic", "--device", "cuda:99");
    CHECK(r->exit_code == 10);
    temporary_end(&t);
}

TEST_CASE(VerifyCommand, verifies_the_weights_of_a_run_with_its_model_and_data) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 40));
    const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv", "--device",
                                  "cpu", "--epochs", "1", "--run-dir", "run", "--quiet");
    REQUIRE(r->exit_code == 0);
    r = COMMAND(&t, "verify", "--checkpoint", "run", "--device", "cpu", "--json");
    CHECK_SAY(r->exit_code == 0, "exit code %d: %s", r->exit_code, r->error);
    json_t *object = fixture_json(r);
    const double trained = json_real_value(
        json_object_get(tensor_named(object, "updated weight", "fc1.weight"), "reference"));
    json_decref(object);
    r = COMMAND(&t, "verify", "--model", "mlp", "--data", "table.csv", "--device", "cpu", "--json");
    CHECK(r->exit_code == 0);
    object = fixture_json(r);
    const double fresh = json_real_value(
        json_object_get(tensor_named(object, "updated weight", "fc1.weight"), "reference"));
    json_decref(object);
    CHECK(trained != fresh);
    r = COMMAND(&t, "verify", "--checkpoint", "nowhere", "--device", "cpu");
    CHECK(r->exit_code == 3);
    temporary_end(&t);
}
