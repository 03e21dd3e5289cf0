/* A run that is resumed with another batch size, window or list of metrics: what can go on goes on,
 * and says that its bits are others; what cannot is refused, and says why. */
#include "quern_test.h"
#include "saved_run.h"
#include "temporary.h"
#include "world.h"

#include <stdio.h>
#include <string.h>

static saved_run whole, again;

static void set_batch_size(void *self, quern_trainer_desc *desc) {
    desc->batch_size = *(const int64_t *)self;
}

/* Leaves only the checkpoint of `step`. */
static void save_at(temporary *t, const saved_run_desc *first, int64_t step) {
    temporary all;
    saved_run_desc d = *first;
    REQUIRE(temporary_begin(&all) && temporary_begin(t));
    d.directory = all.path;
    REQUIRE_OK(saved_run_whole(&whole, &d));
    REQUIRE(saved_copy(all.path, t->path, step));
    temporary_end(&all);
}

static quern_status resume_as(temporary *t, const saved_run_desc *desc) {
    saved_run_desc d = *desc;
    d.directory = t->path;
    d.resume = true;
    return saved_run_whole(&again, &d);
}

/* 9 samples were seen: batches of 4 go on with the third, which holds the last of these again. */
TEST_CASE(ResumeChanges, another_batch_size_goes_on_with_the_batch_of_the_same_sample) {
    temporary t = {{0}, {0}};
    int64_t batch_size = 4;
    save_at(&t, &(saved_run_desc){.epochs = 1, .every = 1}, 3);
    REQUIRE_OK(resume_as(
        &t, &(saved_run_desc){
                .epochs = 1, .every = 1, .change = set_batch_size, .change_self = &batch_size}));
    CHECK_HAS(again.log, "batch_size was 3, is 4: the run is no longer bit-identical");
    CHECK(again.result.epochs == 1 && again.result.samples == 9 + SAVED_SAMPLES - 8);
    for (int i = 8; i < SAVED_SAMPLES; i++) CHECK(again.samples[i - 8] == whole.samples[i]);
    temporary_end(&t);
}

static quern_action stop_at_seven(void *self, const quern_event *event) {
    (void)self;
    if (event->kind == QUERN_EVENT_step_end && event->attempts == 7)
        quern_trainer_stop(event->trainer);
    return QUERN_CONTINUE;
}

/* The first epoch has no batch left, the last of its 7 was not whole, and it is not over yet. */
TEST_CASE(ResumeChanges, another_batch_size_ends_an_epoch_that_has_no_sample_left) {
    for (int64_t batch_size = 1; batch_size <= 5; batch_size++) {
        temporary t = {{0}, {0}};
        save_at(&t, &(saved_run_desc){.epochs = 2, .run_ahead = 1, .hook = stop_at_seven}, 6);
        REQUIRE_OK(resume_as(
            &t,
            &(saved_run_desc){.epochs = 2, .change = set_batch_size, .change_self = &batch_size}));
        CHECK(again.result.epochs == 2);
        CHECK(again.result.samples == 2 * SAVED_SAMPLES);
        temporary_end(&t);
    }
}

/* The epoch's last windows are larger or smaller; no sample is lost or comes twice. */
TEST_CASE(ResumeChanges, another_accumulate_counts_every_sample_once) {
    for (int64_t accumulate = 1; accumulate <= 4; accumulate++) {
        temporary t = {{0}, {0}};
        if (accumulate == 2) continue;
        save_at(&t, &(saved_run_desc){.epochs = 2, .every = 1, .accumulate = 2}, 2);
        REQUIRE_OK(
            resume_as(&t, &(saved_run_desc){.epochs = 2, .every = 1, .accumulate = accumulate}));
        CHECK_HAS(again.log, "accumulate was 2, is ");
        CHECK_HAS(again.log, ": the run is no longer bit-identical");
        CHECK(again.result.epochs == 2 && again.result.samples == 2 * SAVED_SAMPLES);
        CHECK(again.samples[0] == whole.samples[12]);
        temporary_end(&t);
    }
}

/* Windows of 5 leave 2 of 7 batches over at an epoch's end, with 3 samples and 1. */
TEST_CASE(ResumeChanges, batches_that_wait_have_to_fit) {
    temporary t = {{0}, {0}};
    int64_t batch_size = 2;
    const saved_run_desc carrying = {.epochs = 2, .accumulate = 5, .tail = QUERN_TAIL_CARRY};
    save_at(&t, &carrying, 1);
    saved_run_desc d = carrying;
    d.accumulate = 2;
    CHECK_STATUS(resume_as(&t, &d), QUERN_INPUT);
    CHECK_ERROR_HAS("more batches wait for the next epoch than the 1 that this run's windows and");
    d.accumulate = 5;
    d.change = set_batch_size;
    d.change_self = &batch_size;
    CHECK_STATUS(resume_as(&t, &d), QUERN_INPUT);
    CHECK_ERROR_HAS("window.0.origin says 3 samples, not 1 … 2");
    temporary_end(&t);
}

static void fewer_metrics(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->metric_count--;
}

/* Sums of one metric are nothing to another. */
TEST_CASE(ResumeChanges, other_metrics_are_refused) {
    temporary t = {{0}, {0}};
    save_at(&t, &(saved_run_desc){.epochs = 1, .every = 1}, 3);
    CHECK_STATUS(resume_as(&t, &(saved_run_desc){.epochs = 1, .change = fewer_metrics}),
                 QUERN_INPUT);
    CHECK_ERROR_HAS("is the checkpoint of another run: metrics");
    CHECK_ERROR_HAS("high");
    temporary_end(&t);
}

/* What an op computes is part of the run, though no tensor's shape tells. */
TEST_CASE(ResumeChanges, another_dropout_is_told_by_the_node_that_has_it) {
    temporary t = {{0}, {0}};
    save_at(&t, &(saved_run_desc){.epochs = 1, .every = 1}, 3);
    REQUIRE_OK(resume_as(&t, &(saved_run_desc){.epochs = 1, .every = 1}));
    CHECK(!strstr(again.log, " was "));
    temporary_end(&t);
    save_at(&t, &(saved_run_desc){.epochs = 1, .every = 1}, 3);
    REQUIRE_OK(resume_as(&t, &(saved_run_desc){.epochs = 1, .every = 1, .dropout = 0.5f}));
    CHECK_HAS(again.log, "resume: model.dropout");
    CHECK_HAS(again.log, ", probability=0.25) F32 (B, 6)\", is \"dropout(");
    CHECK_HAS(again.log, ", probability=0.5) F32 (B, 6)\": the run is no longer bit-identical");
    CHECK(!strstr(again.log, "besides"));
    temporary_end(&t);
}

TEST_CASE(ResumeChanges, of_several_changed_nodes_the_first_is_named) {
    temporary t = {{0}, {0}};
    save_at(&t, &(saved_run_desc){.epochs = 1, .every = 1}, 3);
    REQUIRE_OK(resume_as(
        &t, &(saved_run_desc){.epochs = 1, .every = 1, .dropout = 0.5f, .smoothing = 0.1f}));
    CHECK_HAS(again.log, "resume: model.dropout");
    CHECK(!strstr(again.log, "label_smoothing"));
    CHECK_HAS(again.log, "resume: nodes of the model that differ besides that one: 1");
    temporary_end(&t);
}

typedef struct sentence {
    char text[1024];
} sentence;

static void note_model(void *self, quern_log_level level, const char *text) {
    sentence *s = self;
    (void)level;
    if (strstr(text, "model.")) snprintf(s->text, sizeof s->text, "%s", text);
}

typedef enum long_change { LONG_SAME, LONG_NUMBER, LONG_OP, LONG_UNREAD } long_change;

/* The last of 1,100 nodes is another one when the run goes on, or has another number, or one that
 * the loss does not read is another one. */
static quern_status fit_long_graph(const char *directory, long_change change, sentence *log) {
    world w;
    CHECK_OK(world_open(&w, &(world_desc){.host.log = {note_model, log}}));
    quern_tensor *x = w.logits;
    for (int i = 0; i < 1100; i++) x = quern_neg(w.graph, x);
    const quern_leaky_relu_desc d = {.slope = change == LONG_NUMBER ? 0.25f : 0.125f};
    x = change == LONG_OP ? quern_tanh(w.graph, x) : quern_leaky_relu(w.graph, x, &d);
    (void)(change == LONG_UNREAD ? quern_exp(w.graph, x) : quern_neg(w.graph, x));
    w.desc.loss = quern_softmax_cross_entropy(w.graph, x, w.label, NULL);
    w.desc.save = (quern_save_desc){.directory = directory, .resume = true};
    quern_status s = quern_trainer_create(&w.trainer, &w.desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, NULL);
    world_close(&w);
    return s;
}

TEST_CASE(ResumeChanges, a_node_behind_those_that_are_kept_by_name_is_not_overlooked) {
    temporary t = {{0}, {0}};
    sentence log = {{0}};
    REQUIRE(temporary_begin(&t));
    CHECK_OK(fit_long_graph(t.path, LONG_SAME, &log));
    CHECK_OK(fit_long_graph(t.path, LONG_SAME, &log));
    CHECK_TEXT(log.text, "");
    CHECK_STATUS(fit_long_graph(t.path, LONG_OP, &log), QUERN_INPUT);
    CHECK_ERROR_HAS("is the checkpoint of another model, which differs in 2 places, the first: "
                    "model.all others was \"");
    CHECK_TEXT(log.text, "");
    static const long_change told[] = {LONG_NUMBER, LONG_UNREAD};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        log.text[0] = '\0';
        CHECK_OK(fit_long_graph(t.path, told[i], &log));
        CHECK_HAS(log.text, "model.all others was ");
        CHECK_HAS(log.text, "no longer bit-identical");
    }
    temporary_end(&t);
}

typedef enum wide_change { WIDE_SAME, WIDE_AXIS, WIDE_INPUT } wide_change;

/* Inputs with names so long that they fill the line that a node has. */
static quern_status fit_wide_node(const char *directory, wide_change change, sentence *log) {
    enum { PARTS = 16 };
    static const quern_reshape_desc three = {.rank = 3, .dim = {QUERN_B, WORLD_CLASSES, 1}},
                                    flat = {.rank = 2, .dim = {QUERN_B, WORLD_CLASSES * PARTS}};
    world w;
    quern_tensor *parts[PARTS];
    CHECK_OK(world_open(&w, &(world_desc){.host.log = {note_model, log}}));
    for (int i = 0; i < 4; i++) quern_scope_push(w.graph, "a_scope_whose_name_makes_others_long");
    quern_tensor *x = quern_reshape(w.graph, w.logits, &three);
    for (int i = 0; i < PARTS; i++) parts[i] = quern_neg(w.graph, x);
    if (change == WIDE_INPUT) parts[PARTS - 1] = parts[0];
    x = quern_concat(w.graph, parts, PARTS,
                     &(quern_concat_desc){.axis = change == WIDE_AXIS ? 1 : 2});
    for (int i = 0; i < 4; i++) quern_scope_pop(w.graph);
    x = quern_reshape(w.graph, x, &flat);
    w.desc.loss = quern_softmax_cross_entropy(w.graph, x, w.label, NULL);
    w.desc.save = (quern_save_desc){.directory = directory, .resume = true};
    quern_status s = quern_trainer_create(&w.trainer, &w.desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, NULL);
    world_close(&w);
    return s;
}

TEST_CASE(ResumeChanges, a_node_with_more_inputs_than_fit_a_line_is_not_overlooked) {
    static const wide_change changes[] = {WIDE_AXIS, WIDE_INPUT};
    for (int i = 0; i < 2; i++) {
        temporary t = {{0}, {0}};
        sentence log = {{0}};
        REQUIRE(temporary_begin(&t));
        CHECK_OK(fit_wide_node(t.path, WIDE_SAME, &log));
        CHECK_OK(fit_wide_node(t.path, WIDE_SAME, &log));
        CHECK_STATUS(fit_wide_node(t.path, changes[i], &log), QUERN_INPUT);
        CHECK_ERROR_HAS("is the checkpoint of another model, which differs in 1 place: model.");
        CHECK_ERROR_HAS("concat");
        CHECK_ERROR_HAS(" of 16 inputs, ");
        CHECK_TEXT(log.text, "");
        temporary_end(&t);
    }
}

/* What judges a run by its evaluations, or an application's callback that says that it does. */
typedef struct judged {
    quern_early_stop_desc stop;                                     /* patience 0: none */
    quern_plateau_desc plateau;                                     /* patience 0: none */
    quern_action (*eval_end)(void *self, const quern_event *event); /* in place of the stop's */
    const char *settings, *name;
    int64_t eval_batch_limit, epoch_count;
    bool no_valid;
} judged;

static void note_changes(void *self, quern_log_level level, const char *told) {
    char *to = self;
    const size_t length = strlen(to);
    if (strstr(told, "resume: "))
        snprintf(to + length, 4096 - length, "%s%s\n",
                 level >= QUERN_LOG_WARNING ? "warning: " : "", told);
}

static quern_status judged_fit(const char *directory, const judged *j, char log[4096]) {
    world w;
    quern_early_stop *stop = NULL;
    quern_plateau *plateau = NULL;
    quern_callback callbacks[4] = {{.name = NULL}};
    log[0] = '\0';
    CHECK_OK(world_open(&w, &(world_desc){.host.log = {note_changes, log}}));
    if (j->stop.patience) CHECK_OK(quern_early_stop_create(&stop, w.device, &j->stop));
    if (j->plateau.patience) CHECK_OK(quern_plateau_create(&plateau, w.device, &j->plateau));
    quern_trainer_desc d = world_with(&w, callbacks, 0);
    if (stop) callbacks[d.callback_count++] = quern_early_stop_callback(stop);
    if (j->eval_end) callbacks[0].eval_end = j->eval_end;
    if (plateau) callbacks[d.callback_count++] = quern_plateau_callback(plateau);
    if (j->settings)
        callbacks[d.callback_count++] = (quern_callback){.name = j->name, .settings = j->settings};
    d.eval_batch_limit = j->eval_batch_limit;
    d.epoch_count = j->epoch_count;
    if (j->no_valid) d.valid = NULL;
    d.save = (quern_save_desc){.directory = directory, .resume = directory != NULL};
    quern_status s = quern_trainer_create(&w.trainer, &d);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, NULL);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_plateau_destroy(plateau);
    quern_early_stop_destroy(stop);
    world_close(&w);
    return s;
}

/* `now` goes on with what `before` saved, and tells this of it. */
static void check_told(const judged *before, const judged *now, const char *told) {
    temporary t;
    char log[4096];
    REQUIRE(temporary_begin(&t));
    CHECK_OK(judged_fit(t.path, before, log));
    CHECK_OK(judged_fit(t.path, before, log));
    CHECK_TEXT(log, "");
    CHECK_OK(judged_fit(t.path, now, log));
    CHECK_TEXT(log, told);
    temporary_end(&t);
}

#define END_TOLD ": its steps stay bit-identical, its end may be another one\n"
#define BITS_TOLD ": the run is no longer bit-identical to one that was not stopped\n"

TEST_CASE(ResumeChanges, an_early_stop_that_decides_otherwise_is_told_key_by_key) {
    const judged first = {.stop = {.patience = 3}};
    check_told(&first, &(judged){.stop = {.patience = 4, .min_delta = 0.25}},
               "resume: early_stops.early_stop.min_delta was 0, is 0.25" END_TOLD
               "resume: early_stops.early_stop.patience was 3, is 4" END_TOLD);
    check_told(&first,
               &(judged){.stop = {.patience = 3, .metric = "val/accuracy", .maximize = true}},
               "resume: early_stops.early_stop.metric was \"val/loss\", is "
               "\"val/accuracy\"" END_TOLD
               "resume: early_stops.early_stop.maximize was false, is true" END_TOLD);
}

/* Best weights that were not kept cannot be put back; what is kept need not be. */
TEST_CASE(ResumeChanges, an_early_stop_cannot_begin_to_restore_in_the_middle) {
    const judged without = {.stop = {.patience = 3}},
                 with = {.stop = {.patience = 3, .restore_best = true}};
    temporary t;
    char log[4096];
    REQUIRE(temporary_begin(&t));
    CHECK_OK(judged_fit(t.path, &without, log));
    CHECK_STATUS(judged_fit(t.path, &with, log), QUERN_INPUT);
    CHECK_ERROR_HAS("there is no tensor callback.early_stop U8 (");
    CHECK_HAS(log, "early_stops.early_stop.restore_best was false, is true" BITS_TOLD);
    temporary_end(&t);
    check_told(&with, &without,
               "warning: resume: early_stops.early_stop.restore_best was true, is false" BITS_TOLD);
}

TEST_CASE(ResumeChanges, a_plateau_that_decides_otherwise_is_told_key_by_key) {
    check_told(&(judged){.plateau = {.patience = 3}},
               &(judged){.plateau = {.patience = 2, .factor = 0.5, .cooldown = 1, .lowest = 0.25}},
               "warning: resume: callbacks.plateau.factor was 0.1, is 0.5" BITS_TOLD
               "warning: resume: callbacks.plateau.patience was 3, is 2" BITS_TOLD
               "warning: resume: callbacks.plateau.cooldown was 0, is 1" BITS_TOLD
               "warning: resume: callbacks.plateau.lowest was 0, is 0.25" BITS_TOLD);
}

TEST_CASE(ResumeChanges, other_evaluations_are_told_by_what_listens_to_them) {
    judged before = {0}, now = {.eval_batch_limit = 1};
    check_told(&before, &now,
               "resume: eval_batch_limit was 0, is 1: the run stays bit-identical\n");
    before.stop.patience = now.stop.patience = 3;
    check_told(&before, &now, "resume: eval_batch_limit was 0, is 1" END_TOLD);
    before.plateau.patience = now.plateau.patience = 3;
    check_told(&before, &now, "warning: resume: eval_batch_limit was 0, is 1" BITS_TOLD);
}

/* It judges the epochs, of which each is whole. */
TEST_CASE(ResumeChanges, more_epochs_change_nothing_where_only_training_is_judged) {
    judged before = {.plateau = {.metric = "train/loss", .patience = 3}, .no_valid = true};
    before.epoch_count = 3;
    judged now = before;
    now.epoch_count = 5;
    check_told(&before, &now, "resume: epoch_count was 3, is 5: the run stays bit-identical\n");
}

TEST_CASE(ResumeChanges, an_applications_callback_is_compared_by_its_settings) {
    check_told(&(judged){.name = "mine", .settings = "{\"every\": 1,\n\"deep\": {\"x\": [1]}}"},
               &(judged){.name = "mine", .settings = "{\"every\": 2, \"deep\": {\"x\": [2]}}"},
               "warning: resume: callbacks.mine.every was 1, is 2" BITS_TOLD
               "warning: resume: callbacks.mine.deep.x was [1], is [2]" BITS_TOLD);
}

TEST_CASE(ResumeChanges, settings_that_cannot_stand_in_a_configuration_are_refused) {
    static const struct {
        const char *name, *settings, *says;
    } cases[] = {
        {NULL, "{}", "trainer: a callback without a name has settings"},
        {"mine", "", "trainer: the settings of callback mine: the configuration, line 1"},
        {"mine", "{}, \"seed\": {}", "trainer: the settings of callback mine: "},
        {"mine", "[]", "callback mine: the configuration is not a JSON object"},
        {"early_stop", "{}", "trainer: two callbacks with settings are named early_stop"},
    };
    char log[4096];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const judged j = {
            .stop = {.patience = 3}, .name = cases[i].name, .settings = cases[i].settings};
        CHECK_STATUS(judged_fit(NULL, &j, log), QUERN_INVALID);
        CHECK_ERROR_HAS(cases[i].says);
    }
}

static quern_action of_the_application(void *self, const quern_event *event) {
    (void)self;
    (void)event;
    return QUERN_CONTINUE;
}

/* Whatever it is called. */
TEST_CASE(ResumeChanges, only_the_librarys_early_stop_is_known_to_change_no_step) {
    judged before = {.name = "early_stop", .settings = "{\"patience\": 3}"}, now = before;
    now.eval_batch_limit = 1;
    check_told(&before, &now, "warning: resume: eval_batch_limit was 0, is 1" BITS_TOLD);
    before = (judged){.stop = {.patience = 3}, .eval_end = of_the_application};
    now = before;
    now.eval_batch_limit = 1;
    check_told(&before, &now, "warning: resume: eval_batch_limit was 0, is 1" BITS_TOLD);
}

static void one_more_set(void *self, quern_trainer_desc *desc) {
    quern_evaluation_set *set = self;
    set->dataset = desc->valid;
    desc->evaluation_sets = set;
    desc->evaluation_set_count = 1;
}

TEST_CASE(ResumeChanges, another_list_of_evaluation_sets_is_refused_in_a_sentence) {
    temporary t = {{0}, {0}};
    quern_evaluation_set set = {.name = "more"};
    save_at(&t, &(saved_run_desc){.epochs = 1, .every = 1}, 3);
    CHECK_STATUS(
        resume_as(&t, &(saved_run_desc){.epochs = 1, .change = one_more_set, .change_self = &set}),
        QUERN_INPUT);
    CHECK_ERROR_HAS("is the checkpoint of another run: evaluation_sets was [\"val\"], is "
                    "[\"val\",\"more\"]");
    temporary_end(&t);
}

/* A stream that cannot start again, and breaks behind its fifth sample. */
static int64_t no_length(void *self) {
    (void)self;
    return -1;
}

static int32_t world_fields(void *self, const quern_field **out) {
    static const quern_field fields[] = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                         {.name = "label", .dtype = QUERN_I32}};
    (void)self;
    *out = fields;
    return 2;
}

static quern_status five_samples(void *self, void *const *data, bool *end) {
    int *given = self;
    *end = false;
    if ((*given)++ == 5) return quern_fail(QUERN_INPUT, "the line is dead");
    memset(data[0], 0, WORLD_FEATURES * sizeof(float));
    *(int32_t *)data[1] = 0;
    return QUERN_OK;
}

/* The epoch that it began is given up, and neither open nor over. */
TEST_CASE(ResumeChanges, what_was_trained_before_a_stream_broke_can_be_resumed) {
    static const quern_dataset_type type = {
        .name = "line", .length = no_length, .fields = world_fields, .next = five_samples};
    world w;
    temporary t;
    quern_result r = {0};
    int given = 0;
    quern_dataset *line = NULL;
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1, .batch_size = 1}));
    REQUIRE_OK(quern_dataset_custom(&line, w.device, &type, &given));
    w.desc.train = line;
    w.desc.save.directory = t.path;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_STATUS(quern_trainer_fit(w.trainer, NULL), QUERN_INPUT);
    CHECK_OK(quern_trainer_save(w.trainer));
    quern_trainer_destroy(w.trainer);
    w.desc.save.resume = true;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK(quern_trainer_resumed(w.trainer) != NULL);
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_DATA && r.samples == 5);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_dataset_destroy(line);
    world_close(&w);
    temporary_end(&t);
}
