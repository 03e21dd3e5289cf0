/* A checkpoint that is damaged, newer, or another run's: a sentence, and nothing is touched. */
#include "quern_test.h"
#include "saved_run.h"
#include "support/forge.h"
#include "temporary.h"
#include "world.h"

#include <stdio.h>
#include <string.h>

static saved_run run, again;

static void note_sentence(void *self, quern_log_level level, const char *sentence) {
    saved_run *r = self;
    const size_t length = strlen(r->log);
    if (level >= QUERN_LOG_WARNING)
        snprintf(r->log + length, sizeof r->log - length, "%s\n", sentence);
}

static void save_one(temporary *t, const saved_run_desc *desc) {
    REQUIRE(temporary_begin(t));
    saved_run_desc d = *desc;
    d.directory = t->path;
    REQUIRE_OK(saved_run_whole(&run, &d));
}

static long file_bytes(temporary *t, const char *name, char *to, size_t capacity) {
    return temporary_read(t, name, to, capacity);
}

/* Refused with this status and words, and the newest checkpoint is as it was. */
static void check_refused(temporary *t, const saved_run_desc *desc, quern_status status,
                          const char *says) {
    static char before[65536], after[65536];
    const long bytes = file_bytes(t, "step-6/manifest.json", before, sizeof before);
    saved_run_desc d = *desc;
    d.directory = t->path;
    d.resume = true;
    CHECK_STATUS(saved_run_open(&again, &d), status);
    CHECK_ERROR_HAS(says);
    CHECK(file_bytes(t, "step-6/manifest.json", after, sizeof after) == bytes);
    CHECK(memcmp(before, after, sizeof before) == 0);
}

static void other_optimizer(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->optimizer = (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD, .momentum = 0.9};
}

static void other_metrics(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->metric_count = 4; /* the last one, a statistic of the loss, has no sums */
    desc->metrics += 1;
}

static void no_average(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->average_decay = 0;
    desc->average_warmup = false;
}

static void other_data(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->train = desc->valid;
}

TEST_CASE(Refuse, a_checkpoint_of_another_run) {
    temporary t = {{0}, {0}};
    save_one(&t, &(saved_run_desc){.epochs = 1});
    check_refused(&t, &(saved_run_desc){.epochs = 1, .change = other_optimizer}, QUERN_INPUT,
                  "is the checkpoint of another run: optimizer.rule was \"adamw\", is \"sgd\"");
    check_refused(&t, &(saved_run_desc){.epochs = 1, .change = other_data}, QUERN_INPUT,
                  "another run: data.samples was 19, is 7");
    check_refused(&t, &(saved_run_desc){.epochs = 1, .change = other_metrics}, QUERN_INPUT,
                  "is the checkpoint of another run: metrics");
    temporary_end(&t);
}

TEST_CASE(Refuse, a_model_without_what_the_checkpoint_lacks) {
    temporary t = {{0}, {0}};
    save_one(&t, &(saved_run_desc){.epochs = 1, .change = no_average});
    check_refused(&t, &(saved_run_desc){.epochs = 1}, QUERN_INPUT,
                  "there is no tensor average.fc1.weight F32 (6, 36)");
    temporary_end(&t);
}

/* The manifest of the newest one says another version; `right`: behind a right digest. */
static void change_version(temporary *t, bool right) {
    static const char *const names[] = {"step-6/manifest.json", "step-6/model.safetensors",
                                        "step-6/state.safetensors"};
    static char bytes[3][65536];
    forge_file files[3];
    for (int i = 0; i < 3; i++) {
        const long length = temporary_read(t, names[i], bytes[i], sizeof bytes[i]);
        REQUIRE(length > 0 && length < (long)sizeof bytes[i]);
        files[i] = (forge_file){bytes[i], (size_t)length, sizeof bytes[i]};
    }
    REQUIRE(forge_number(&files[0], "version", "9"));
    if (right) REQUIRE(forge_digests(&files[0], &files[1], &files[2]));
    REQUIRE(temporary_write(t, names[0], files[0].data, files[0].bytes));
}

TEST_CASE(Refuse, a_newer_format_for_which_no_older_one_is_taken) {
    temporary t = {{0}, {0}};
    const saved_run_desc d = {.every = 3, .epochs = 1};
    save_one(&t, &d);
    change_version(&t, true);
    check_refused(&t, &d, QUERN_UNSUPPORTED, "step-6/manifest.json: it is of format version 9");
    CHECK_ERROR_HAS("reads versions up to 1: a newer one is needed");
    temporary_end(&t);
}

/* With a wrong digest it is damage, whatever it says. */
TEST_CASE(Refuse, a_damaged_manifest_in_whose_place_the_older_one_is_taken) {
    temporary t = {{0}, {0}};
    save_one(&t, &(saved_run_desc){.every = 3, .epochs = 1});
    change_version(&t, false);
    const saved_run_desc d = {.directory = t.path, .every = 3, .epochs = 1, .resume = true};
    REQUIRE_OK(saved_run_open(&again, &d));
    CHECK_HAS(quern_trainer_resumed(again.trainer), "/step-3");
    CHECK_HAS(again.log, "checkpoint not usable: ");
    CHECK_HAS(again.log, "step-6/manifest.json");
    saved_run_close(&again);
    temporary_end(&t);
}

TEST_CASE(Refuse, a_damaged_checkpoint_is_named_and_the_older_one_makes_the_same_run) {
    temporary t = {{0}, {0}};
    static char bytes[65536];
    save_one(&t, &(saved_run_desc){.every = 4});
    const long length = temporary_read(&t, "step-18/state.safetensors", bytes, sizeof bytes);
    REQUIRE(length > 100 && length < (long)sizeof bytes);
    bytes[length - 7] ^= 4;
    REQUIRE(temporary_write(&t, "step-18/state.safetensors", bytes, (size_t)length));
    const saved_run_desc d = {.directory = t.path, .every = 4, .resume = true};
    REQUIRE_OK(saved_run_whole(&again, &d));
    CHECK_HAS(again.log, "step-18/state.safetensors");
    CHECK_HAS(again.log, "resumed from ");
    CHECK(saved_run_difference(&run, &again, 16, true) == NULL);
    CHECK_TEXT(again.checkpoint, run.checkpoint); /* whole again */
    temporary_end(&t);
}

TEST_CASE(Refuse, a_directory_where_none_is_whole) {
    temporary t = {{0}, {0}};
    save_one(&t, &(saved_run_desc){.epochs = 1});
    REQUIRE(temporary_write(&t, "step-6/model.safetensors", "no", 2));
    check_refused(&t, &(saved_run_desc){.epochs = 1}, QUERN_INPUT, "none of the 1 checkpoints in ");
    temporary_end(&t);
}

typedef struct keeper {
    char small[16], large[16];
    size_t small_bytes, large_bytes;
    const char *name;
} keeper;

static quern_callback_state keep(void *self) {
    keeper *k = self;
    return (quern_callback_state){k->small, k->small_bytes, k->large, k->large_bytes};
}

static quern_callback kept[5];

static void add_keepers(void *self, quern_trainer_desc *desc) {
    keeper *k = self;
    memcpy(kept, desc->callbacks, 3 * sizeof *kept);
    desc->callback_count = 3;
    for (; k->name; k++)
        kept[desc->callback_count++] = (quern_callback){.name = k->name, .self = k, .state = keep};
    desc->callbacks = kept;
}

TEST_CASE(Refuse, states_of_callbacks_that_do_not_fit) {
    temporary t = {{0}, {0}};
    keeper saved[] = {{"abc", "defg", 4, 5, "keeper"}, {.name = NULL}};
    keeper smaller[] = {{"", "", 3, 5, "keeper"}, {.name = NULL}};
    keeper larger[] = {{"", "", 4, 9, "keeper"}, {.name = NULL}};
    keeper other[] = {{"", "", 4, 5, "other"}, {.name = NULL}};
    keeper twice[] = {{"", "", 4, 5, "keeper"}, {"", "", 4, 5, "keeper"}, {.name = NULL}};
    keeper right[] = {{"", "", 4, 5, "keeper"}, {.name = NULL}};
    saved_run_desc d = {.epochs = 1, .change = add_keepers, .change_self = saved};
    save_one(&t, &d);
    d.change_self = smaller;
    check_refused(&t, &d, QUERN_INPUT, "the state of callback keeper has 4 bytes, here it has 3");
    d.change_self = larger;
    check_refused(&t, &d, QUERN_INPUT, "tensor callback.keeper is U8 (5), this run's is U8 (9)");
    d.change_self = twice;
    check_refused(&t, &d, QUERN_INVALID, "two callbacks with a state are named keeper");
    d.directory = t.path;
    d.resume = true;
    d.change_self = other;
    REQUIRE_OK(saved_run_open(&again, &d));
    CHECK_HAS(again.log, "no state of callback other, which starts anew");
    CHECK_HAS(again.log, "the state of callback keeper is left out");
    saved_run_close(&again);
    d.change_self = right;
    REQUIRE_OK(saved_run_open(&again, &d));
    CHECK_TEXT(right[0].small, "abc");
    CHECK_TEXT(right[0].large, "defg");
    saved_run_close(&again);
    temporary_end(&t);
}

static void faster(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->optimizer.learning_rate = 0.03;
    desc->log_every = 4;
}

TEST_CASE(Refuse, a_changed_configuration_is_diagnosed_key_by_key) {
    temporary t = {{0}, {0}};
    save_one(&t, &(saved_run_desc){.epochs = 1});
    const saved_run_desc d = {.directory = t.path, .resume = true, .epochs = 2, .change = faster};
    REQUIRE_OK(saved_run_open(&again, &d));
    CHECK_HAS(again.log, "optimizer.learning_rate was 0.02, is 0.03: the run is no longer "
                         "bit-identical to one that was not stopped");
    CHECK_HAS(again.log, "log_every was 3, is 4: the run stays bit-identical");
    saved_run_close(&again);
    temporary_end(&t);
}

typedef enum activation_kind { RELU, TANH } activation_kind;
typedef enum unread_nodes { NONE, BEHIND_LOSS, BEFORE_LOSS, THOUSAND_BEFORE } unread_nodes;

/* One epoch of the world's arrays, of which a value may be another, through its network with so
 * many hidden units. */
typedef struct array_run {
    const char *directory;
    int sample, feature; /* whose value is another; -1: none */
    int64_t length;
    int64_t hidden;
    bool deeper;
    int64_t valid_length; /* 0: no validation set */
    bool other_valid;     /* one of its values is another */
    activation_kind activation;
    unread_nodes more;
    int32_t best;   /* of so many logits one has to be right; 0: no such metric */
    int64_t epochs; /* default 1 */
    char *digest;   /* of the state at the end; NULL: not wanted */
} array_run;

static quern_tensor *activation(quern_graph *g, activation_kind kind, quern_tensor *x) {
    return kind == RELU ? quern_relu(g, x) : quern_tanh(g, x);
}

static void add_softmax(quern_graph *g, quern_tensor *z) {
    (void)quern_softmax(g, z, &(quern_axis_desc){.axis = 1});
}

static quern_status array_fit(const array_run *a, saved_run *note) {
    world w;
    const quern_host host = {.log = {note_sentence, note}};
    const int64_t valid_length = a->valid_length ? a->valid_length : -1;
    quern_status s = world_open(
        &w, &(world_desc){.train_length = a->length, .valid_length = valid_length, .host = host});
    if (s != QUERN_OK) return s;
    if (a->other_valid) w.valid_x[2][1] += 1;
    if (a->sample >= 0) w.train_x[a->sample][a->feature] += 1;
    quern_graph *g = NULL;
    CHECK_OK(quern_graph_create(&g, w.device, NULL));
    quern_tensor *x = quern_input(
        g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, WORLD_FEATURES}});
    quern_tensor *h = quern_dense(g, x, &(quern_dense_desc){.units = a->hidden, .name = "fc1"});
    if (a->deeper) h = quern_dense(g, h, &(quern_dense_desc){.units = a->hidden, .name = "fc3"});
    h = activation(g, a->activation, h);
    quern_tensor *z = quern_dense(g, h, &(quern_dense_desc){.units = WORLD_CLASSES, .name = "fc2"});
    const int more = a->more == THOUSAND_BEFORE ? 1001 : 1;
    for (int i = 0; a->more >= BEFORE_LOSS && i < more; i++) add_softmax(g, z);
    quern_tensor *label = quern_labels(g, "label");
    quern_tensor *loss = quern_softmax_cross_entropy(g, z, label, NULL);
    quern_metric metric = {.name = NULL};
    if (a->best) metric = quern_metric_top_k(g, z, label, a->best);
    metric.name = "best";
    if (a->more == BEHIND_LOSS) add_softmax(g, z);
    const quern_trainer_desc d = {.graph = g,
                                  .loss = loss,
                                  .train = w.train,
                                  .valid = w.valid,
                                  .batch_size = 4,
                                  .metrics = &metric,
                                  .metric_count = a->best > 0,
                                  .epoch_count = a->epochs,
                                  .save = {.directory = a->directory, .resume = true}};
    s = quern_trainer_create(&w.trainer, &d);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, NULL);
    if (s == QUERN_OK && a->digest) s = quern_trainer_digest(w.trainer, a->digest);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_graph_destroy(g);
    world_close(&w);
    return s;
}

/* Nothing of it is another run's but what `change` says, and the only checkpoint stays. */
static void check_array_run(temporary *t, const array_run *change, const char *says) {
    static char before[65536], after[65536];
    array_run a = *change;
    a.directory = t->path;
    const long bytes = file_bytes(t, "step-3/manifest.json", before, sizeof before);
    CHECK_STATUS(array_fit(&a, &again), QUERN_INPUT);
    CHECK_ERROR_HAS(says);
    CHECK(bytes > 0 && file_bytes(t, "step-3/manifest.json", after, sizeof after) == bytes);
    CHECK(memcmp(before, after, sizeof before) == 0);
}

TEST_CASE(Refuse, another_model_and_other_samples_of_the_same_shape) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    const array_run same = {.directory = t.path, .sample = -1, .length = 10, .hidden = 8};
    CHECK_OK(array_fit(&same, &run));
    CHECK_OK(array_fit(&same, &run));
    array_run a = same;
    a.hidden = 9;
    check_array_run(&t, &a,
                    "is the checkpoint of another model, which differs in 2 places, the "
                    "first: model.fc1.linear was \"linear(x, fc1.weight");
    CHECK_ERROR_HAS("F32 (B, 8)");
    CHECK_ERROR_HAS("F32 (B, 9)");
    a = same;
    a.deeper = true;
    check_array_run(&t, &a, "is the checkpoint of another model, which differs in 10 places");
    a = same;
    a.activation = TANH;
    check_array_run(&t, &a,
                    "is the checkpoint of another model, which differs in 3 places, the "
                    "first: model.relu1 was \"relu(fc1.linear) F32 (B, 8)\", is not set");
    a = same;
    a.sample = 9;
    a.feature = 3;
    check_array_run(&t, &a,
                    "is the checkpoint of another run: the training set holds other samples: "
                    "data.sample_digest was \"");
    a.sample = a.feature = 0;
    check_array_run(&t, &a, "other samples");
    temporary_end(&t);
}

/* What only reads the trained ones does not make it another model. */
TEST_CASE(Refuse, not_a_model_with_a_node_more_that_nothing_reads) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    array_run a = {.directory = t.path, .sample = -1, .length = 10, .hidden = 8};
    CHECK_OK(array_fit(&a, &run));
    a.more = BEHIND_LOSS;
    memset(again.log, 0, sizeof again.log);
    CHECK_OK(array_fit(&a, &again));
    CHECK_HAS(again.log, "resume: model.softmax");
    CHECK_HAS(again.log, "was not set, is \"softmax(fc2.linear, axis=1");
    temporary_end(&t);
}

/* It takes the names of those behind it, the loss's too; with a thousand these have no names. */
TEST_CASE(Refuse, not_a_model_with_nodes_more_before_the_loss_whose_bits_stay) {
    static const unread_nodes more[] = {BEFORE_LOSS, THOUSAND_BEFORE};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        temporary t = {{0}, {0}}, other = {{0}, {0}};
        char whole[33] = "", resumed[33] = "";
        REQUIRE(temporary_begin(&t) && temporary_begin(&other));
        array_run a = {.directory = other.path, .sample = -1, .length = 10, .hidden = 8};
        a.epochs = 2;
        a.digest = whole;
        CHECK_OK(array_fit(&a, &run));
        a.directory = t.path;
        a.epochs = 1;
        a.digest = NULL;
        CHECK_OK(array_fit(&a, &run));
        a.epochs = 2;
        a.digest = resumed;
        a.more = more[i];
        CHECK_OK(array_fit(&a, &again));
        CHECK_TEXT(resumed, whole);
        a.activation = TANH;
        CHECK_STATUS(array_fit(&a, &again), QUERN_INPUT);
        CHECK_ERROR_HAS("is the checkpoint of another model, which differs in ");
        CHECK_ERROR_HAS("the first: model.relu1 was \"relu(fc1.linear) F32 (B, 8)\", is not set");
        temporary_end(&other);
        temporary_end(&t);
    }
}

/* What it has summed up is nothing to another one. */
TEST_CASE(Refuse, a_metric_that_is_another_one_under_the_same_name) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    array_run a = {.directory = t.path, .sample = -1, .length = 10, .hidden = 8, .best = 1};
    CHECK_OK(array_fit(&a, &run));
    CHECK_OK(array_fit(&a, &run));
    a.best = 2;
    check_array_run(&t, &a, "is the checkpoint of another model, which differs in 1 place: model.");
    CHECK_ERROR_HAS("top_k_correct(fc2.linear, label, k=1, ");
    temporary_end(&t);
}

/* Of 64 samples each is compared. */
TEST_CASE(Refuse, any_other_sample_of_a_small_set) {
    for (int sample = 0; sample < 64; sample += 9) {
        temporary t = {{0}, {0}};
        REQUIRE(temporary_begin(&t));
        array_run a = {.directory = t.path, .sample = -1, .length = 64, .hidden = 8};
        CHECK_OK(array_fit(&a, &run));
        a.sample = sample;
        CHECK_STATUS(array_fit(&a, &run), QUERN_INPUT);
        CHECK_ERROR_HAS("other samples");
        temporary_end(&t);
    }
}

TEST_CASE(Refuse, another_validation_set_under_the_same_name) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    const array_run same = {
        .directory = t.path, .sample = -1, .length = 10, .hidden = 8, .valid_length = 10};
    CHECK_OK(array_fit(&same, &run));
    CHECK_OK(array_fit(&same, &run));
    array_run a = same;
    a.other_valid = true;
    check_array_run(&t, &a,
                    "is the checkpoint of another run: an evaluation set holds other data: "
                    "evaluation_data.val.sample_digest was \"");
    a = same;
    a.valid_length = 9;
    check_array_run(&t, &a,
                    "an evaluation set holds other data: evaluation_data.val.samples was 10, is 9");
    temporary_end(&t);
}

/* Takes `begins` and what follows out of the manifest, up to `ends`. */
static void forget(temporary *t, const char *begins, const char *ends) {
    static const char *const names[] = {"step-3/manifest.json", "step-3/model.safetensors",
                                        "step-3/state.safetensors"};
    static char bytes[3][65536];
    forge_file files[3];
    for (int i = 0; i < 3; i++) {
        const long length = temporary_read(t, names[i], bytes[i], sizeof bytes[i] - 1);
        REQUIRE(length > 0);
        bytes[i][length] = '\0';
        files[i] = (forge_file){bytes[i], (size_t)length, sizeof bytes[i]};
    }
    char *at = strstr(bytes[0], begins);
    REQUIRE(at != NULL);
    const char *end = strstr(at, ends);
    REQUIRE(end != NULL);
    const size_t cut = (size_t)(end - at);
    memmove(at, end, files[0].bytes - (size_t)(end - bytes[0]));
    files[0].bytes -= cut;
    REQUIRE(forge_digests(&files[0], &files[1], &files[2]));
    REQUIRE(temporary_write(t, names[0], files[0].data, files[0].bytes));
}

/* From before there was one key or the other. */
TEST_CASE(Refuse, a_checkpoint_that_does_not_know_its_samples_is_resumed) {
    static const char *const unknown[][2] = {{", \"sample_digest\": \"", "}"},
                                             {", \"data_digests\": {", ", \"batch_size\""},
                                             {", \"evaluation_data\": {", ", \"model\""},
                                             {", \"model_digest\": \"", ", \"optimizer\""}};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        temporary t = {{0}, {0}};
        REQUIRE(temporary_begin(&t));
        const array_run same = {
            .directory = t.path, .sample = -1, .length = 10, .hidden = 8, .valid_length = 10};
        CHECK_OK(array_fit(&same, &run));
        forget(&t, unknown[i][0], unknown[i][1]);
        memset(again.log, 0, sizeof again.log);
        CHECK_OK(array_fit(&same, &again));
        CHECK_TEXT(again.log, "");
        temporary_end(&t);
    }
}
