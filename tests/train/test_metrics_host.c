/* test_metrics_host.c - the application's own metric: what it is given, when it starts anew, and
 * what happens when it fails. And which fields each kind of metric refuses. */
#include "quern_test.h"
#include "world.h"

#include <math.h>
#include <string.h>

typedef struct gathered {
    int resets, adds, results;
    int64_t rows, batch_rows[16];
    double right;
    int fail_at; /* the batch from 1; 0: never */
    quern_trainer *trainer;
    quern_status entered;
    const world *w;
} gathered;

static void gather_reset(void *self) {
    gathered *g = self;
    g->resets++;
    g->rows = g->adds = 0;
    g->right = 0;
}

/* Rows come in the set's order, so that each can be compared with its sample. */
static quern_status gather_add(void *self, const quern_view *values, int64_t sample_count) {
    gathered *g = self;
    const float *logits = values[0].data, *x = values[2].data;
    const int32_t *label = values[1].data;
    if (g->trainer) g->entered = quern_trainer_wait(g->trainer, NULL);
    if (++g->adds == g->fail_at) return quern_fail(QUERN_INPUT, "row %d is odd", (int)g->rows);
    CHECK(values[0].rank == 2 && values[0].dim[0] == sample_count && values[0].dim[1] == 3);
    CHECK(values[1].rank == 1 && values[1].dtype == QUERN_I32 && values[1].count == sample_count);
    g->batch_rows[(g->adds - 1) % 16] = sample_count;
    for (int64_t i = 0; i < sample_count; i++, g->rows++) {
        int best = 0;
        for (int c = 1; c < 3; c++)
            if (logits[3 * i + c] > logits[3 * i + best]) best = c;
        CHECK(label[i] == g->w->valid_label[g->rows]);
        CHECK(x[WORLD_FEATURES * i + 1] == g->w->valid_x[g->rows][1]);
        g->right += best == label[i];
    }
    return QUERN_OK;
}

static double gather_result(void *self) {
    gathered *g = self;
    g->results++;
    return g->right / (double)g->rows;
}

static quern_metric own_metric(const world *w, gathered *g) {
    g->w = w;
    return (quern_metric){.name = "own",
                          .kind = QUERN_METRIC_HOST,
                          .host = {.self = g,
                                   .tensors = {w->logits, w->label, w->x},
                                   .tensor_count = 3,
                                   .reset = gather_reset,
                                   .add = gather_add,
                                   .result = gather_result}};
}

static quern_action no_train_scalar(void *self, const quern_event *event) {
    (void)self;
    for (int32_t i = 0; i < event->scalar_count; i++)
        CHECK(strcmp(event->scalars[i].name, "train/own") != 0);
    return QUERN_CONTINUE;
}

static quern_action own_is_accuracy(void *self, const quern_event *event) {
    (*(int *)self)++;
    CHECK(quern_event_scalar(event, "val/own") == quern_event_scalar(event, "val/accuracy"));
    CHECK(!isnan(quern_event_scalar(event, "val/own")));
    return QUERN_CONTINUE;
}

TEST_CASE(HostMetric, sees_every_batch_once_and_starts_anew) {
    world w;
    gathered g = {0};
    int evaluations = 0;
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = 11}));
    const quern_metric metrics[] = {w.metrics[0], own_metric(&w, &g)};
    const quern_callback callback = {
        .name = "looks", .self = &evaluations, .log = no_train_scalar, .eval_end = own_is_accuracy};
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.metrics = metrics;
    desc.epoch_count = 3;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    CHECK(evaluations == 3 && g.resets == 3 && g.results == 3 && g.adds == 3 && g.rows == 11);
    CHECK(g.batch_rows[0] == 4 && g.batch_rows[1] == 4 && g.batch_rows[2] == 3);
    quern_scalar scalars[8];
    int32_t count = 0;
    REQUIRE_OK(quern_trainer_evaluate(w.trainer, w.valid, scalars, 8, &count));
    REQUIRE(count == 3);
    CHECK_TEXT(scalars[2].name, "own");
    CHECK(scalars[2].value == scalars[1].value && g.resets == 4 && g.rows == 11);
    world_close(&w);
}

TEST_CASE(HostMetric, works_in_an_evaluation_that_create_did_not_foresee) {
    world w, other;
    gathered g = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    REQUIRE_OK(world_open(&other, &(world_desc){.valid_length = 7}));
    const quern_metric metrics[] = {w.metrics[0], own_metric(&w, &g)};
    w.desc.metrics = metrics;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    quern_scalar scalars[8];
    int32_t count = 0;
    REQUIRE_OK(quern_trainer_evaluate(w.trainer, other.valid, scalars, 8, &count));
    CHECK(count == 3 && g.rows == 7 && scalars[2].value == scalars[1].value);
    world_close(&other);
    world_close(&w);
}

TEST_CASE(HostMetric, a_failure_ends_the_evaluation_with_its_sentence) {
    world w;
    gathered g = {.fail_at = 2};
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = 11}));
    const quern_metric metric = own_metric(&w, &g);
    w.desc.metrics = &metric;
    w.desc.metric_count = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_INPUT);
    CHECK_ERROR_HAS("metric own");
    CHECK_ERROR_HAS("row 4 is odd");
    CHECK(r.reason == QUERN_STOPPED_FAILURE && g.results == 0);
    g.fail_at = 0;
    quern_scalar scalars[8];
    int32_t count = 0;
    REQUIRE_OK(quern_trainer_evaluate(w.trainer, w.valid, scalars, 8, &count));
    CHECK(count == 2 && g.rows == 11);
    world_close(&w);
}

TEST_CASE(HostMetric, cannot_enter_the_trainer) {
    world w;
    gathered g = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = 4}));
    const quern_metric metric = own_metric(&w, &g);
    w.desc.metrics = &metric;
    w.desc.metric_count = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    g.trainer = w.trainer;
    quern_scalar scalars[8];
    REQUIRE_OK(quern_trainer_evaluate(w.trainer, w.valid, scalars, 8, NULL));
    CHECK(g.entered == QUERN_INVALID && g.adds == 1);
    g.trainer = NULL;
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    world_close(&w);
}

/* --- refusals --- */

static void check_refused(const world *w, quern_metric metric, quern_status status,
                          const char *says) {
    quern_trainer_desc desc = w->desc;
    quern_trainer *trainer = NULL;
    desc.metrics = &metric;
    desc.metric_count = 1;
    CHECK_STATUS(quern_trainer_create(&trainer, &desc), status);
    CHECK_ERROR_HAS(says);
    CHECK(trainer == NULL);
}

static quern_status add_nothing(void *self, const quern_view *values, int64_t sample_count) {
    (void)self;
    (void)values;
    (void)sample_count;
    return QUERN_OK;
}

TEST_CASE(MetricRefusal, fields_that_the_kind_does_not_read) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    for (int kind = 0; kind < QUERN_METRIC_KIND_COUNT; kind++) {
        const quern_metric_kind k = (quern_metric_kind)kind;
        const bool value = k <= QUERN_METRIC_CONFUSION;
        const bool weight = k <= QUERN_METRIC_PERPLEXITY;
        const quern_metric bare = {.name = "m", .kind = k};
        quern_metric m = bare;
        m.value = w.loss;
        if (!value) check_refused(&w, m, QUERN_INVALID, "does not read value");
        m = bare;
        m.weight = w.loss;
        if (!weight) check_refused(&w, m, QUERN_INVALID, "does not read weight");
        m = bare;
        m.window = 5;
        if (k != QUERN_METRIC_LOSS_MOVING)
            check_refused(&w, m, QUERN_INVALID, "does not read window");
        m = bare;
        m.host.add = add_nothing;
        if (k != QUERN_METRIC_HOST) check_refused(&w, m, QUERN_INVALID, "does not read host");
        if (value) check_refused(&w, bare, QUERN_INVALID, "the value of metric m is NULL");
    }
    world_close(&w);
}

TEST_CASE(MetricRefusal, shapes_windows_and_functions) {
    world w;
    gathered g = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    check_refused(&w, (quern_metric){.name = "m", .kind = QUERN_METRIC_R2, .value = w.loss},
                  QUERN_SHAPE, "not (4)");
    check_refused(&w, (quern_metric){.name = "m", .kind = QUERN_METRIC_CONFUSION, .value = w.loss},
                  QUERN_SHAPE, "not (C, C)");
    check_refused(&w,
                  (quern_metric){.name = "m", .kind = QUERN_METRIC_PERPLEXITY, .value = w.logits},
                  QUERN_SHAPE, "not a scalar ()");
    check_refused(&w, (quern_metric){.name = "m", .value = w.loss, .weight = w.logits}, QUERN_SHAPE,
                  "the weight of metric m is (B, 3)");
    check_refused(&w, (quern_metric){.name = "m", .kind = QUERN_METRIC_LOSS_MOVING, .window = -1},
                  QUERN_INVALID, "a window of -1");
    check_refused(&w,
                  (quern_metric){.name = "m",
                                 .kind = QUERN_METRIC_LOSS_MOVING,
                                 .window = QUERN_LOSS_WINDOW_MAX + 1},
                  QUERN_INVALID, "a window of 1048577");
    check_refused(&w, (quern_metric){.name = "m", .kind = QUERN_METRIC_KIND_COUNT}, QUERN_INVALID,
                  "unknown kind");
    quern_metric m = own_metric(&w, &g);
    m.host.tensor_count = 5;
    check_refused(&w, m, QUERN_INVALID, "reads 5 tensors");
    m = own_metric(&w, &g);
    m.host.result = NULL;
    check_refused(&w, m, QUERN_INVALID, "no function result");
    m = own_metric(&w, &g);
    m.host.add = NULL;
    check_refused(&w, m, QUERN_INVALID, "no function add");
    m = own_metric(&w, &g);
    m.host.tensors[1] = NULL;
    check_refused(&w, m, QUERN_INVALID, "the tensor of metric own is NULL");
    m = own_metric(&w, &g);
    m.host.tensors[1] = quern_permute(w.graph, w.x, &(quern_permute_desc){.order = {1, 0}});
    check_refused(&w, m, QUERN_INVALID, "which is strided");
    world_close(&w);
}
