/* test_groups.c - parameters that stay, and groups with a learning rate and a weight decay of their
 * own, through the trainer: against numbers written down here, and over a save and a resume. */
#include "host/graph/graph.h"
#include "quern_test.h"
#include "temporary.h"
#include "world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { GROUPS = 6, STEPS = 12, BATCH = 10 };

/* Relative to max(1, |weight|): a dozen updates of a few operations in F64. */
#define TOL_GROUPS_F64 1e-13
/* A norm of F32 weights' differences, of which each is rounded to 24 bits of the weight. */
#define TOL_NORM_F32 1e-4

/* What each group says, and what that means. */
typedef struct group {
    quern_parameter_desc says;
    double rate, decay;
} group;
static const group groups[GROUPS] = {
    {{.name = "plain"}, 1, 1},
    {{.name = "slow", .learning_rate_scale = 0.25f, .weight_decay_scale = 3}, 0.25, 3},
    {{.name = "heavy", .weight_decay_scale = 3}, 1, 3},
    {{.name = "bare", .learning_rate_scale = 2, .weight_decay_scale = QUERN_ZERO}, 2, 0},
    {{.name = "still", .learning_rate_scale = QUERN_ZERO}, 0, 1},
    {{.name = "frozen", .frozen = true}, 0, 0},
};

/* loss = sum over samples and groups of w · x: every group's gradient is the mean of the samples,
 * whatever the weights are. */
static quern_status sums_build(world *w, const group *list) {
    quern_graph_destroy(w->graph);
    w->graph = NULL;
    quern_status s =
        quern_graph_create(&w->graph, w->device, &(quern_graph_desc){.dtype = QUERN_F64});
    if (s != QUERN_OK) return s;
    w->x = quern_input(
        w->graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, WORLD_FEATURES}});
    quern_tensor *sum = NULL;
    for (int k = 0; k < GROUPS; k++) {
        quern_parameter_desc desc = list[k].says;
        desc.rank = 2;
        desc.dim[0] = 1;
        desc.dim[1] = WORLD_FEATURES;
        desc.init = (quern_init){.kind = QUERN_INIT_NORMAL, .b = 1};
        quern_tensor *z = quern_linear(w->graph, w->x, quern_parameter(w->graph, &desc), NULL);
        sum = sum ? quern_add(w->graph, sum, z) : z;
    }
    w->loss = quern_sum(w->graph, sum, NULL);
    w->desc.graph = w->graph;
    w->desc.loss = w->loss;
    w->desc.metric_count = w->desc.output_count = 0;
    w->desc.batch_size = BATCH;
    w->desc.epoch_count = STEPS;
    return quern_graph_status(w->graph);
}

static void weights_read(world *w, int k, double out[WORLD_FEATURES]) {
    const quern_tensor *tensor = quern_tensor_find(w->graph, groups[k].says.name);
    REQUIRE_OK(quern_parameters_read(quern_trainer_parameters(w->trainer), tensor, out,
                                     WORLD_FEATURES * sizeof *out));
}

/* PyTorch's definitions (torch.optim.SGD, torch.optim.AdamW), update n = 1, 2, … */
static double updated(const quern_optimizer_desc *d, const group *g, double w, double gradient,
                      double *m, double *v, int n) {
    const double rate = d->learning_rate * g->rate, decay = d->weight_decay * g->decay;
    if (d->kind == QUERN_OPTIMIZER_SGD) return w - rate * (gradient + decay * w);
    *m = 0.9 * *m + (1 - 0.9) * gradient;
    *v = 0.999 * *v + (1 - 0.999) * gradient * gradient;
    return w * (1 - rate * decay) -
           rate * (*m / (1 - pow(0.9, n))) / (sqrt(*v / (1 - pow(0.999, n))) + 1e-8);
}

static void check_group(world *w, const quern_optimizer_desc *d, int k, const double *before) {
    double found[WORLD_FEATURES] = {0};
    weights_read(w, k, found);
    for (int f = 0; f < WORLD_FEATURES; f++) {
        double expected = before[f], gradient = 0, m = 0, v = 0;
        for (int n = 0; n < BATCH; n++) gradient += (double)w->train_x[n][f] / BATCH;
        for (int n = 1; n <= STEPS; n++)
            expected = updated(d, &groups[k], expected, gradient, &m, &v, n);
        const double error = fabs(found[f] - expected) / fmax(1, fabs(expected));
        CHECK_SAY(error <= TOL_GROUPS_F64, "%s[%d]: %.17g, expected %.17g", groups[k].says.name, f,
                  found[f], expected);
    }
}

TEST_CASE(Groups, each_moves_by_its_own_rate_and_decay) {
    static const quern_optimizer_desc rules[] = {
        {.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 0.1, .weight_decay = 0.2},
        {.kind = QUERN_OPTIMIZER_ADAMW, .learning_rate = 0.1, .weight_decay = 0.2}};
    for (int i = 0; i < 2; i++) {
        world w;
        double before[GROUPS][WORLD_FEATURES] = {{0}};
        REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
        REQUIRE_OK(sums_build(&w, groups));
        w.desc.optimizer = rules[i];
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        for (int k = 0; k < GROUPS; k++) weights_read(&w, k, before[k]);
        CHECK_OK(quern_trainer_fit(w.trainer, NULL));
        for (int k = 0; k < GROUPS; k++) check_group(&w, &rules[i], k, before[k]);
        world_close(&w);
    }
}

/* The world's network with a first layer that stays. */
static quern_status frozen_build(world *w) {
    static const quern_parameter_desc first = {.name = "first",
                                               .rank = 2,
                                               .dim = {WORLD_HIDDEN, WORLD_FEATURES},
                                               .init = {.kind = QUERN_INIT_KAIMING_UNIFORM},
                                               .frozen = true};
    quern_graph_destroy(w->graph);
    w->graph = NULL;
    quern_status s = quern_graph_create(&w->graph, w->device, NULL);
    if (s != QUERN_OK) return s;
    w->x = quern_input(
        w->graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, WORLD_FEATURES}});
    quern_tensor *h =
        quern_tanh(w->graph, quern_linear(w->graph, w->x, quern_parameter(w->graph, &first), NULL));
    quern_tensor *z =
        quern_dense(w->graph, h, &(quern_dense_desc){.units = WORLD_CLASSES, .name = "second"});
    w->loss = quern_softmax_cross_entropy(w->graph, z, quern_labels(w->graph, "label"), NULL);
    w->desc.graph = w->graph;
    w->desc.loss = w->loss;
    w->desc.metric_count = w->desc.output_count = 0;
    w->desc.average_decay = 0.5;
    w->desc.optimizer.weight_decay = 0.1;
    w->desc.optimizer.clip_norm = 0.05;
    return quern_graph_status(w->graph);
}

enum { FIRST = WORLD_HIDDEN * WORLD_FEATURES, SECOND = WORLD_CLASSES * (WORLD_HIDDEN + 1) };

static void floats_read(world *w, quern_parameters *from, const char *name, float *out, int count) {
    REQUIRE_OK(quern_parameters_read(from, quern_tensor_find(w->graph, name), out,
                                     (size_t)count * sizeof *out));
}

static void second_read(world *w, float *out) {
    quern_parameters *p = quern_trainer_parameters(w->trainer);
    floats_read(w, p, "second.weight", out, WORLD_CLASSES * WORLD_HIDDEN);
    floats_read(w, p, "second.bias", out + WORLD_CLASSES * WORLD_HIDDEN, WORLD_CLASSES);
}

/* Its values and those of its average, bit by bit. */
static void check_first(world *w, const float *before) {
    float now[FIRST] = {0};
    floats_read(w, quern_trainer_parameters(w->trainer), "first", now, FIRST);
    CHECK(memcmp(now, before, sizeof now) == 0);
    floats_read(w, quern_trainer_average(w->trainer), "first", now, FIRST);
    CHECK(memcmp(now, before, sizeof now) == 0);
}

static quern_status frozen_open(world *w, const char *directory, int64_t steps) {
    quern_status s = world_open(w, &(world_desc){0});
    if (s == QUERN_OK) s = frozen_build(w);
    w->desc.epoch_count = 0;
    w->desc.step_limit = steps;
    w->desc.save = (quern_save_desc){.directory = directory, .resume = true};
    if (s == QUERN_OK) s = quern_trainer_create(&w->trainer, &w->desc);
    if (s != QUERN_OK) world_close(w);
    return s;
}

TEST_CASE(Groups, frozen_parameters_stay_bit_equal_over_a_fit_a_save_and_a_resume) {
    temporary whole_folder = {{0}, {0}}, folder = {{0}, {0}};
    world w;
    float first[FIRST] = {0}, start[SECOND] = {0}, end[SECOND] = {0};
    char whole[33] = "", resumed[33] = "";
    REQUIRE(temporary_begin(&whole_folder) && temporary_begin(&folder));
    REQUIRE_OK(frozen_open(&w, whole_folder.path, 10));
    floats_read(&w, quern_trainer_parameters(w.trainer), "first", first, FIRST);
    second_read(&w, start);
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    second_read(&w, end);
    check_first(&w, first);
    CHECK(memcmp(start, end, sizeof start) != 0);
    CHECK_OK(quern_trainer_digest(w.trainer, whole));
    world_close(&w);
    for (int part = 0; part < 2; part++) {
        REQUIRE_OK(frozen_open(&w, folder.path, part ? 10 : 4));
        CHECK((quern_trainer_resumed(w.trainer) != NULL) == (part == 1));
        check_first(&w, first);
        CHECK_OK(quern_trainer_fit(w.trainer, NULL));
        check_first(&w, first);
        CHECK_OK(quern_trainer_digest(w.trainer, resumed));
        world_close(&w);
    }
    CHECK_TEXT(resumed, whole);
    temporary_end(&folder);
    temporary_end(&whole_folder);
}

static double reported;

static quern_action note_norm(void *self, const quern_event *event) {
    (void)self;
    reported = quern_event_scalar(event, "train/gradient_norm");
    return QUERN_CONTINUE;
}

/* One update of plain SGD with rate 1 moves the weights by the clipped gradient; without a clip by
 * the gradient itself. Both norms are those of what moves, and of nothing else. */
TEST_CASE(Groups, clipping_by_norm_does_not_count_what_is_frozen) {
    const quern_callback callback = {.name = "norm", .log = note_norm};
    for (int clipped = 0; clipped < 2; clipped++) {
        world w;
        float start[SECOND] = {0}, end[SECOND] = {0};
        double moved = 0;
        REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
        REQUIRE_OK(frozen_build(&w));
        quern_trainer_desc desc = world_with(&w, &callback, 1);
        desc.optimizer = (quern_optimizer_desc){
            .kind = QUERN_OPTIMIZER_SGD, .learning_rate = 1, .clip_norm = clipped ? 0.05 : 0};
        desc.average_decay = 0;
        desc.step_limit = desc.log_every = 1;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
        second_read(&w, start);
        CHECK_OK(quern_trainer_fit(w.trainer, NULL));
        second_read(&w, end);
        for (int i = 0; i < SECOND; i++) moved += pow((double)end[i] - (double)start[i], 2);
        const double expected = clipped ? 0.05 : reported;
        CHECK(reported > 0.05);
        CHECK_NEAR(sqrt(moved) / expected, 1, TOL_NORM_F32);
        world_close(&w);
    }
}

/* Of two layers made by a builder, one stays and the other's weights decay thrice; biases do not.
 * What moves does so as hand-made parameters do: a scale of 0.5 twice is a quarter. */
TEST_CASE(Groups, layers_are_grouped_by_their_scope) {
    world w;
    float first[FIRST] = {0}, now[FIRST] = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    quern_group(w.graph, "fc1", &(quern_group_desc){.frozen = true});
    quern_group(w.graph, "fc2", &(quern_group_desc){.weight_decay_scale = 3});
    for (int i = 0; i < 2; i++)
        quern_group(w.graph, "fc2.weight", &(quern_group_desc){.learning_rate_scale = 0.5f});
    CHECK_OK(quern_graph_status(w.graph));
    const quern_parameter_desc *weight = quern_tensor_find(w.graph, "fc2.weight")->parameter;
    const quern_parameter_desc *bias = quern_tensor_find(w.graph, "fc2.bias")->parameter;
    CHECK(weight->weight_decay_scale == 3 && weight->learning_rate_scale == 0.25f);
    CHECK(bias->weight_decay_scale == 0 && bias->learning_rate_scale == 1);
    quern_group(w.graph, "fc2", &(quern_group_desc){.weight_decay_scale = QUERN_ZERO});
    CHECK(weight->weight_decay_scale == 0 && !signbit(weight->weight_decay_scale));
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    floats_read(&w, quern_trainer_parameters(w.trainer), "fc1.weight", first, FIRST);
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    floats_read(&w, quern_trainer_parameters(w.trainer), "fc1.weight", now, FIRST);
    CHECK(memcmp(first, now, sizeof first) == 0);
    quern_group(w.graph, "fc2", &(quern_group_desc){.frozen = true}); /* too late */
    CHECK_STATUS(quern_graph_status(w.graph), QUERN_INVALID);
    CHECK_ERROR_HAS("group fc2: the graph's parameters exist already");
    world_close(&w);
}

TEST_CASE(Groups, a_group_that_cannot_be_is_refused) {
    static const struct {
        const char *scope;
        quern_group_desc desc;
        const char *says;
    } cases[] = {
        {"fc", {.frozen = true}, "group: there is no parameter under \"fc\""},
        {"", {.frozen = true}, "there is no parameter under \"\""},
        {"fc1.weigh", {.frozen = true}, "there is no parameter under \"fc1.weigh\""},
        {"fc1", {.learning_rate_scale = -1}, "group: learning_rate_scale -1 times the 1 of fc1.w"},
        {NULL, {.weight_decay_scale = INFINITY}, "weight_decay_scale inf times the 1 of fc1."},
        {"fc2", {.weight_decay_scale = NAN}, "weight_decay_scale nan times"},
        {"fc2.bias", {.weight_decay_scale = -2}, "weight_decay_scale -2 times the 0 of fc2.bias"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world w;
        REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
        quern_group(w.graph, cases[i].scope, &cases[i].desc);
        CHECK_STATUS(quern_graph_status(w.graph), QUERN_INVALID);
        CHECK_ERROR_HAS(cases[i].says);
        world_close(&w);
    }
    quern_group(NULL, NULL, NULL);
}

static char said[4096];

static void note_log(void *self, quern_log_level level, const char *sentence) {
    const size_t length = strlen(said);
    (void)self;
    (void)level;
    snprintf(said + length, sizeof said - length, "%s\n", sentence);
}

static quern_status groups_run(const char *directory, const group *list) {
    world w;
    said[0] = 0;
    quern_status s = world_open(&w, &(world_desc){.valid_length = -1, .host.log = {note_log, 0}});
    if (s != QUERN_OK) return s;
    s = sums_build(&w, list);
    w.desc.save = (quern_save_desc){.directory = directory, .resume = true};
    if (s == QUERN_OK) s = quern_trainer_create(&w.trainer, &w.desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, NULL);
    world_close(&w);
    return s;
}

TEST_CASE(Groups, a_resume_says_which_group_has_changed) {
    temporary t = {{0}, {0}};
    group changed[GROUPS];
    memcpy(changed, groups, sizeof groups);
    changed[0].says.weight_decay_scale = 0.5f;
    changed[1].says.weight_decay_scale = 2;
    changed[3].says.frozen = true;
    REQUIRE(temporary_begin(&t));
    CHECK_OK(groups_run(t.path, groups));
    CHECK_OK(groups_run(t.path, groups));
    CHECK(!strstr(said, "optimizer.groups"));
    CHECK_OK(groups_run(t.path, changed));
    CHECK_HAS(said, "optimizer.groups.plain was not set, is {\"frozen\":false,\"weight_decay\":0.5,"
                    "\"learning_rate_scale\":1}: the run is no longer bit-identical");
    CHECK_HAS(said, "optimizer.groups.slow.weight_decay was 3, is 2: the run is no longer");
    CHECK_HAS(said, "optimizer.groups.bare.frozen was false, is true: the run is no longer");
    CHECK(!strstr(said, "groups.still") && !strstr(said, "groups.heavy") &&
          !strstr(said, "groups.frozen"));
    temporary_end(&t);
}

/* What was frozen has no moments to go on with. */
TEST_CASE(Groups, a_resume_refuses_to_move_what_was_frozen) {
    temporary t = {{0}, {0}};
    group changed[GROUPS];
    memcpy(changed, groups, sizeof groups);
    changed[GROUPS - 1].says.frozen = false;
    REQUIRE(temporary_begin(&t));
    CHECK_OK(groups_run(t.path, groups));
    CHECK_STATUS(groups_run(t.path, changed), QUERN_INPUT);
    CHECK_ERROR_HAS("there is no tensor optimizer.0.frozen F64 (1, 4)");
    temporary_end(&t);
}
