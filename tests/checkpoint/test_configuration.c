/* What a changed configuration is said to do. */
#include "quern_test.h"

#include <quern/quern.h>

#include <stdio.h>
#include <string.h>

typedef struct seen {
    char text[2048];
    int count;
} seen;

static void take(void *context, const quern_checkpoint_change *change) {
    seen *s = context;
    const size_t length = strlen(s->text);
    snprintf(s->text + length, sizeof s->text - length, "[%s|%s|%s|%s]", change->key,
             change->before, change->now, change->exact ? "exact" : "broken");
    CHECK_HAS(change->sentence, change->key);
    s->count++;
}

static void expect(const char *before, const char *now, const char *changes, bool exact) {
    seen s = {0};
    bool found = !exact;
    REQUIRE_OK(quern_checkpoint_compare(before, now, &found, take, &s));
    CHECK_TEXT(s.text, changes);
    CHECK(found == exact);
    found = !exact;
    REQUIRE_OK(quern_checkpoint_compare(before, now, &found, NULL, NULL));
    CHECK(found == exact);
}

static void take_sentence(void *context, const quern_checkpoint_change *change) {
    seen *s = context;
    snprintf(s->text, sizeof s->text, "%s", change->sentence);
    s->count += strncmp(change->key, "callbacks", 9) != 0;
}

static void expect_sentence(const char *before, const char *now, const char *says) {
    seen s = {0};
    bool exact = false;
    REQUIRE_OK(quern_checkpoint_compare(before, now, &exact, take_sentence, &s));
    CHECK_HAS(s.text, says);
    CHECK(s.count == 1 && exact == !strstr(says, "no longer"));
}

TEST_CASE(CheckpointConfiguration, changes_are_named_with_what_they_do) {
    expect("{\"a\": 1, \"log_every\": 50}", "{\"log_every\": 50, \"a\": 1}", "", true);
    expect("{\"log-every\": 50}", "{\"log-every\": 10}", "[log-every|50|10|exact]", true);
    expect("{\"batch_size\": 64}", "{\"batch_size\": 32}", "[batch_size|64|32|broken]", false);
    expect("{\"run\": {\"worker_count\": 0}}", "{\"run\": {\"worker_count\": 4}}",
           "[run.worker_count|0|4|exact]", true);
    expect("{\"optimizer\": {\"beta1\": 0.9, \"name\": \"adamw\"}}",
           "{\"optimizer\": {\"name\": \"lion\", \"beta1\": 0.9}}",
           "[optimizer.name|\"adamw\"|\"lion\"|broken]", false);
    expect("{\"seed\": 1}", "{\"ema\": 0.99}", "[seed|1||broken][ema||0.99|broken]", false);
}

/* The length of a schedule has the name of a harmless limit, and is none. */
TEST_CASE(CheckpointConfiguration, the_steps_of_a_schedule_matter) {
    expect("{\"steps\": 10}", "{\"steps\": 20}", "[steps|10|20|exact]", true);
    expect("{\"schedule\": {\"steps\": 10}}", "{\"schedule\": {\"steps\": 20}}",
           "[schedule.steps|10|20|broken]", false);
}

/* One that was not known says nothing; one that differs says that these are other samples. */
TEST_CASE(CheckpointConfiguration, samples_are_compared_where_both_sides_know_them) {
    static const char one[] = "{\"data\": {\"sample_digest\": \"a\"}}";
    expect("{\"data\": {}}", one, "", true);
    expect(one, "{\"data\": {}}", "", true);
    expect("{\"data\": {\"sample_digest\": \"b\"}}", one, "[data.sample_digest|\"b\"|\"a\"|broken]",
           false);
}

TEST_CASE(CheckpointConfiguration, evaluation_sets_are_compared_where_both_sides_know_them) {
    static const char one[] = "{\"evaluation_data\": {\"a.b\": {\"sample_digest\": \"a\"}}}";
    expect("{}", one, "", true);
    expect("{\"evaluation_data\": {\"a.b\": {}}}", one, "", true);
    expect("{\"evaluation_data\": {\"a.b\": {\"sample_digest\": \"b\"}}}", one,
           "[evaluation_data.a.b.sample_digest|\"b\"|\"a\"|broken]", false);
    expect("{\"evaluation_data\": {\"a\": {\"fields\": {\"steps\": \"F32\"}}}}",
           "{\"evaluation_data\": {\"a\": {\"fields\": {\"steps\": \"F64\"}}}}",
           "[evaluation_data.a.fields.steps|\"F32\"|\"F64\"|broken]", false);
    static const char digests[] = "{\"data_digests\": {\"x\": \"a\"}}";
    expect("{}", digests, "", true);
    expect("{\"data_digests\": {}}", digests, "", true);
    expect(digests, "{\"data_digests\": {\"x\": \"b\"}}", "[data_digests.x|\"a\"|\"b\"|broken]",
           false);
    expect("{\"evaluation_digests\": {\"a\": {\"x\": \"a\"}}}",
           "{\"evaluation_digests\": {\"a\": {\"x\": \"b\", \"y\": \"c\"}}}",
           "[evaluation_digests.a.x|\"a\"|\"b\"|broken]", false);
}

/* What an evaluation measures changes the training where a callback lets it. */
TEST_CASE(CheckpointConfiguration, changed_evaluations_are_harmless_where_nothing_listens) {
    static const char *const keys[] = {"evaluate_every", "evaluate_every_epochs",
                                       "eval_batch_limit", "step_limit", "epoch_count"};
    static const struct {
        const char *callbacks, *words;
    } cases[] = {
        {"\"callbacks\": {}", ": the run stays bit-identical"},
        {"\"early_stops\": {\"a\": {}}",
         ": its steps stay bit-identical, its end may be another one"},
        {"\"callbacks\": {\"early_stop\": {}}", ": the run is no longer bit-identical"},
        {"\"callbacks\": {\"plateau\": {}}", ": the run is no longer bit-identical"},
        {"\"early_stops\": {\"a\": {}}, \"callbacks\": {\"my own\": {}}",
         ": the run is no longer bit-identical"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            char before[128], now[128], says[128];
            snprintf(before, sizeof before, "{\"%s\": 2, %s}", keys[i], cases[k].callbacks);
            snprintf(now, sizeof now, "{\"%s\": 3, %s}", keys[i], cases[k].callbacks);
            snprintf(says, sizeof says, "%s was 2, is 3%s", keys[i], cases[k].words);
            expect_sentence(before, now, says);
        }
    expect_sentence("{\"eval_batch_limit\": 1}", "{\"callbacks\": {\"plateau\": {}}}",
                    "eval_batch_limit was 1, is not set: the run is no longer bit-identical");
    /* each epoch ends with an evaluation whichever is the last one */
    expect_sentence("{\"evaluate_every_epochs\": 1, \"epoch_count\": 2}",
                    "{\"evaluate_every_epochs\": 1, \"epoch_count\": 3, \"callbacks\": "
                    "{\"plateau\": {}}}",
                    "epoch_count was 2, is 3: the run stays bit-identical");
}

TEST_CASE(CheckpointConfiguration, limits_are_harmless_where_neither_side_has_an_evaluation_set) {
    static const char *const keys[] = {"evaluate_every", "evaluate_every_epochs",
                                       "eval_batch_limit", "step_limit", "epoch_count"};
    static const struct {
        const char *sets, *words;
    } cases[] = {
        {"[]", ": the run stays bit-identical"},
        {"[\"val\"]", ": the run is no longer bit-identical"},
        {"{}", ": the run is no longer bit-identical"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            char before[160], now[160], says[128];
            static const char form[] = "{\"evaluation_sets\": %s, \"%s\": %d, \"callbacks\": "
                                       "{\"plateau\": {\"metric\": \"train/loss\"}}}";
            snprintf(before, sizeof before, form, cases[k].sets, keys[i], 2);
            snprintf(now, sizeof now, form, cases[k].sets, keys[i], 3);
            snprintf(says, sizeof says, "%s was 2, is 3%s", keys[i], cases[k].words);
            expect_sentence(before, now, says);
        }
}

TEST_CASE(CheckpointConfiguration, what_callbacks_decide_by_is_compared) {
    expect("{}", "{\"callbacks\": {\"plateau\": {}}}", "", true); /* from before there was any */
    expect("{\"callbacks\": {\"plateau\": {\"patience\": 1}, \"own\": {\"every\": 1}}}",
           "{\"callbacks\": {\"plateau\": {\"patience\": 2}, \"own\": {\"every\": 2}}}",
           "[callbacks.plateau.patience|1|2|broken][callbacks.own.every|1|2|broken]", false);
}

/* It changes no step before its end; best weights that are put back are trained on. */
TEST_CASE(CheckpointConfiguration, early_stop_changes_the_end_or_what_it_puts_back) {
    static const char end[] = ": its steps stay bit-identical, its end may be another one",
                      bits[] = ": the run is no longer bit-identical";
    static const struct {
        const char *before, *now, *words;
    } cases[] = {
        {"\"a\": {\"patience\": 1}", "\"a\": {\"patience\": 2}", end},
        {"\"a\": {\"min_delta\": 0}", "\"a\": {\"min_delta\": 0.5}", end},
        {"\"a\": {\"metric\": \"a\"}", "\"a\": {\"metric\": \"b\"}", end},
        {"\"a\": {\"maximize\": true}", "\"a\": {\"maximize\": false}", end},
        {"\"a\": {\"restore_best\": true}", "\"a\": {\"restore_best\": false}", bits},
        {"\"a\": {\"restore_best\": false}", "", end},
        {"", "\"a\": {\"restore_best\": true}", bits},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char before[128], now[128];
        snprintf(before, sizeof before, "{\"early_stops\": {%s}}", cases[i].before);
        snprintf(now, sizeof now, "{\"early_stops\": {%s}}", cases[i].now);
        expect_sentence(before, now, cases[i].words);
    }
    expect("{}", "{\"early_stops\": {\"a\": {}}}", "", true); /* from before there was any */
    expect("{\"callbacks\": {\"early_stop\": {\"patience\": 1}}}",
           "{\"callbacks\": {\"early_stop\": {\"patience\": 2}}}",
           "[callbacks.early_stop.patience|1|2|broken]", false); /* an application's */
}

/* A node may be called as it likes. */
TEST_CASE(CheckpointConfiguration, no_node_of_the_model_is_harmless) {
    expect("{\"model\": {\"threads\": \"relu(a)\"}}", "{\"model\": {\"threads\": \"neg(a)\"}}",
           "[model.threads|\"relu(a)\"|\"neg(a)\"|broken]", false);
}

static void take_run(void *context, const quern_checkpoint_change *change) {
    *(bool *)context |= change->another_run;
    CHECK(change->another_run == (strstr(change->sentence, "it is another run") != NULL));
    CHECK(!change->another_run || !change->exact);
}

/* Real numbers are settings of a node; what it computes of what is the model. */
TEST_CASE(CheckpointConfiguration, a_node_is_another_one_unless_only_its_numbers_are_others) {
    static const struct {
        const char *before, *now;
        bool another;
    } cases[] = {
        {"dropout(a, probability=0.25) F32 (B, 6)", "dropout(a, probability=0.5) F32 (B, 6)",
         false},
        {"dropout(a, probability=0.25) F32 (B, 6)", "dropout(b, probability=0.25) F32 (B, 6)",
         true},
        {"dropout(a, probability=0.25) F32 (B, 6)", "dropout(a, probability=0.5) F32 (B, 7)", true},
        {"batch_norm(a, w, b, m, v, epsilon=1e-05, momentum=0.1) F32 (B, 6)",
         "batch_norm(a, w, b, m, v, epsilon=0.001, momentum=0.2) F32 (B, 6)", false},
        {"batch_norm(a, w, b, m, v, epsilon=1e-05, momentum=0.1) F32 (B, 6)",
         "batch_norm(a, w, b, v, m, epsilon=0.001, momentum=0.2) F32 (B, 6)", true},
        {"softmax_cross_entropy(a, b, label_smoothing=0, ignore=false, ignore_index=0) F32 ()",
         "softmax_cross_entropy(a, b, label_smoothing=0.1, ignore=false, ignore_index=0) F32 ()",
         false},
        {"softmax_cross_entropy(a, b, label_smoothing=0, ignore=true, ignore_index=0) F32 ()",
         "softmax_cross_entropy(a, b, label_smoothing=0, ignore=true, ignore_index=1) F32 ()",
         true},
        {"relu(a) F32 (B, 6)", "tanh(a) F32 (B, 6)", true},
        {"mine(a, probability=0.25) F32 (B, 6)", "mine(a, probability=0.5) F32 (B, 6)", true},
        {"sum(a, axis_count=1, axes=(0), keep=false) F32 (6, 6)",
         "sum(a, axis_count=1, axes=(1), keep=false) F32 (6, 6)", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char before[256], now[256];
        bool another = false, exact = true;
        snprintf(before, sizeof before, "{\"model\": {\"a\": \"%s\"}}", cases[i].before);
        snprintf(now, sizeof now, "{\"model\": {\"a\": \"%s\"}}", cases[i].now);
        REQUIRE_OK(quern_checkpoint_compare(before, now, &exact, take_run, &another));
        CHECK_SAY(another == cases[i].another && !exact, "case %d", (int)i);
    }
}

/* Where both sides know what the run is computed by, names say nothing; where one does not, all. */
TEST_CASE(CheckpointConfiguration, names_tell_the_model_only_where_no_digest_does) {
    static const char *const digests[] = {"", ", \"model_digest\": \"a\"",
                                          ", \"model_digest\": \"b\""};
    static const char *const changes[][2] = {
        {"\"loss\": \"a\"", "\"loss\": \"b\""},
        {"\"loss_weight\": \"a\"", "\"loss_weight\": \"b\""},
        {"\"model\": {\"a\": \"relu(b) F32 (B)\"}", "\"model\": {\"a\": \"tanh(b) F32 (B)\"}"},
        {"\"model\": {\"the structure of all others\": \"a\"}",
         "\"model\": {\"the structure of all others\": \"b\"}"}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++) {
                char before[256], now[256];
                bool another = false, exact = true;
                snprintf(before, sizeof before, "{%s%s}", changes[i][0], digests[a]);
                snprintf(now, sizeof now, "{%s%s}", changes[i][1], digests[b]);
                REQUIRE_OK(quern_checkpoint_compare(before, now, &exact, take_run, &another));
                CHECK_SAY(another == (a != b || a == 0) && !exact, "case %d, %d, %d", (int)i, a, b);
            }
    expect("{}", "{\"model_digest\": \"a\"}", "", true);
    expect("{\"model_digest\": \"a\"}", "{\"model_digest\": \"b\"}",
           "[model_digest|\"a\"|\"b\"|broken]", false);
}

TEST_CASE(CheckpointConfiguration, what_makes_it_another_run_says_so) {
    static const struct {
        const char *before, *now;
        bool another;
    } cases[] = {
        {"{\"data\": {\"samples\": 1}}", "{\"data\": {\"samples\": 2}}", true},
        {"{\"evaluation_data\": {\"a\": 1}}", "{\"evaluation_data\": {\"a\": 2}}", true},
        {"{\"metrics\": []}", "{\"metrics\": [\"a\"]}", true},
        {"{\"evaluation_sets\": []}", "{\"evaluation_sets\": [\"a\"]}", true},
        {"{\"optimizer\": {\"rule\": \"a\"}}", "{\"optimizer\": {\"rule\": \"b\"}}", true},
        {"{\"loss\": \"a\"}", "{\"loss\": \"b\"}", true},
        {"{\"loss_weight\": \"a\"}", "{\"loss_weight\": \"\"}", true},
        {"{\"optimizer\": {\"epsilon\": 1}}", "{\"optimizer\": {\"epsilon\": 2}}", false},
        {"{\"batch_size\": 1}", "{\"batch_size\": 2}", false},
        {"{\"model\": {\"a\": \"relu(b)\"}}", "{\"model\": {}}", false},
        {"{\"model\": {\"the structure of all others\": \"a\"}}",
         "{\"model\": {\"the structure of all others\": \"b\"}}", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool another = false, exact = true;
        REQUIRE_OK(
            quern_checkpoint_compare(cases[i].before, cases[i].now, &exact, take_run, &another));
        CHECK_SAY(another == cases[i].another && !exact, "case %d", (int)i);
    }
}

TEST_CASE(CheckpointConfiguration, long_keys_and_values_are_cut_and_deep_ones_compared) {
    static char before[70000], now[70000];
    seen s = {0};
    bool exact = true;
    memset(before, ' ', sizeof before - 1);
    memset(now, ' ', sizeof now - 1);
    memcpy(before, "{\"k", 3);
    memset(before + 3, 'k', 1000);
    memcpy(before + 1003, "\": \"", 4);
    memset(before + 1007, 'v', 1000);
    memcpy(before + 2007, "\"}", 2);
    memcpy(now, "{}", 2);
    REQUIRE_OK(quern_checkpoint_compare(before, now, &exact, NULL, NULL));
    CHECK(!exact);
    char *b = before, *n = now;
    for (int i = 0; i < 100; i++) {
        b += sprintf(b, "{\"a\":");
        n += sprintf(n, "{\"a\":");
    }
    b += sprintf(b, "1");
    n += sprintf(n, "2");
    for (int i = 0; i < 100; i++) {
        b += sprintf(b, "}");
        n += sprintf(n, "}");
    }
    REQUIRE_OK(quern_checkpoint_compare(before, now, &exact, take, &s));
    CHECK(!exact && s.count == 1);
}

/* A value is cut to 255 bytes, the last three of them dots, wherever jansson begins a piece of it.
 */
static void expect_cut(const char *value, const char *shown) {
    char before[1100], now[1100], changes[2100];
    snprintf(before, sizeof before, "{\"a\": %s}", value);
    snprintf(now, sizeof now, "{\"a\": 0, \"b\": %s}", value);
    snprintf(changes, sizeof changes, "[a|%s|0|broken][b||%s|broken]", shown, shown);
    expect(before, now, changes, false);
}

TEST_CASE(CheckpointConfiguration, a_long_value_is_cut_with_dots_and_holds_nothing_else) {
    char value[1024], shown[256];
    snprintf(value, sizeof value, "\"%0300d\"", 7);
    snprintf(shown, sizeof shown, "\"%0251d...", 0);
    expect_cut(value, shown);
    snprintf(value, sizeof value, "\"%0253d\"", 7); /* just fits */
    expect_cut(value, value);
    snprintf(value, sizeof value, "\"%0254d\"", 7);
    expect_cut(value, shown);
    size_t length = 0;
    for (int i = 0; i < 200; i++)
        length += (size_t)snprintf(value + length, sizeof value - length, "%s12", i ? "," : "[");
    snprintf(value + length, sizeof value - length, "]");
    snprintf(shown, sizeof shown, "%.252s...", value);
    expect_cut(value, shown);
    /* within a character of two bytes, of which none is halved */
    snprintf(value, sizeof value, "\"%0250d\u00e9\u00e9\u00e9\"", 0);
    snprintf(shown, sizeof shown, "\"%0250d...", 0);
    expect_cut(value, shown);
}

TEST_CASE(CheckpointConfiguration, what_is_no_object_is_refused) {
    bool exact = true;
    CHECK_STATUS(quern_checkpoint_compare("{", "{}", &exact, NULL, NULL), QUERN_INPUT);
    CHECK_ERROR_HAS("the checkpoint's configuration, line 1");
    CHECK_STATUS(quern_checkpoint_compare("{}", "[]", &exact, NULL, NULL), QUERN_INPUT);
    CHECK_ERROR_HAS("the run's configuration is not a JSON object");
    CHECK_STATUS(quern_checkpoint_compare("{\"a\":1,\"a\":1}", "{}", &exact, NULL, NULL),
                 QUERN_INPUT);
    CHECK(!exact);
}
