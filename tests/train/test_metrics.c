/* test_metrics.c - what a run reports of its metrics, against numbers computed here over all
 * samples. A learning rate of zero lets the weights stand still, so that every batch of an epoch,
 * the uneven last one too, belongs to the same function. */
#include "quern_test.h"
#include "world.h"

#include <math.h>
#include <string.h>

/* F32 forward passes against double. */
#define TOL 2e-6

enum { SEEN_MAX = 24, LOGS = 40 };

typedef struct seen {
    quern_scalar scalars[SEEN_MAX];
    int32_t count;
} seen;

typedef struct notes {
    seen log[LOGS], epoch[LOGS], eval;
    int logs, epochs;
} notes;

static void take(seen *to, const quern_event *event) {
    to->count = event->scalar_count;
    CHECK(event->scalar_count <= SEEN_MAX);
    memcpy(to->scalars, event->scalars, (size_t)event->scalar_count * sizeof *to->scalars);
}

static quern_action note_log(void *self, const quern_event *event) {
    notes *n = self;
    if (n->logs < LOGS) take(&n->log[n->logs++], event);
    return QUERN_CONTINUE;
}

static quern_action note_epoch(void *self, const quern_event *event) {
    notes *n = self;
    if (n->epochs < LOGS) take(&n->epoch[n->epochs++], event);
    return QUERN_CONTINUE;
}

static quern_action note_eval(void *self, const quern_event *event) {
    take(&((notes *)self)->eval, event);
    return QUERN_CONTINUE;
}

static int find(const seen *s, const char *name) {
    for (int32_t i = 0; i < s->count; i++)
        if (strcmp(s->scalars[i].name, name) == 0) return i;
    return -1;
}

static double value(const seen *s, const char *name) {
    const int at = find(s, name);
    CHECK_SAY(at >= 0, "%s is not there", name);
    return at >= 0 ? s->scalars[at].value : (double)NAN;
}

/* Fits desc with the metrics and leaves the trainer in w. */
static quern_status run(world *w, notes *n, const quern_metric *metrics, int32_t count) {
    const quern_callback callback = {.name = "notes",
                                     .self = n,
                                     .log = note_log,
                                     .epoch_end = note_epoch,
                                     .eval_end = note_eval};
    quern_trainer_desc desc = world_with(w, &callback, 1);
    desc.metrics = metrics;
    desc.metric_count = count;
    const quern_status s = quern_trainer_create(&w->trainer, &desc);
    return s == QUERN_OK ? quern_trainer_fit(w->trainer, NULL) : s;
}

static const quern_optimizer_desc still = {.kind = QUERN_OPTIMIZER_SGD,
                                           .learning_rate = (double)QUERN_ZERO};

static void read_logits(world *w, bool valid, float (*logits)[WORLD_CLASSES]) {
    const quern_dataset *set = valid ? w->valid : w->train;
    const size_t bytes = (size_t)quern_dataset_length(set) * sizeof *logits;
    REQUIRE_OK(quern_trainer_predict(w->trainer, set, w->logits, logits, bytes));
}

/* --- classification: components of a loss, perplexity --- */

static double cross_entropy(const float *z, int32_t label) {
    double sum = 0;
    for (int c = 0; c < WORLD_CLASSES; c++) sum += exp((double)z[c]);
    return log(sum) - (double)z[label];
}

typedef struct parts {
    double entropy, penalty;
} parts;

static parts parts_by_samples(world *w, bool valid) {
    static float z[WORLD_SAMPLES_MAX][WORLD_CLASSES];
    parts p = {0};
    read_logits(w, valid, z);
    const int64_t length = quern_dataset_length(valid ? w->valid : w->train);
    for (int64_t n = 0; n < length; n++) {
        p.entropy += cross_entropy(z[n], valid ? w->valid_label[n] : w->train_label[n]);
        for (int c = 0; c < WORLD_CLASSES; c++) p.penalty += (double)z[n][c] * (double)z[n][c];
    }
    return (parts){p.entropy / (double)length, p.penalty / (double)length};
}

TEST_CASE(Metrics, components_of_a_loss_are_named_and_exact) {
    world w;
    notes n = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 11, .valid_length = 13}));
    quern_tensor *entropy = w.loss;
    quern_tensor *penalty = quern_sum(w.graph, quern_mul(w.graph, w.logits, w.logits), NULL);
    w.desc.loss = quern_add(w.graph, entropy,
                            quern_scale(w.graph, penalty, &(quern_scale_desc){.factor = 0.25f}));
    w.desc.optimizer = still;
    const quern_metric metrics[] = {
        {.name = "entropy", .value = entropy, .weight = quern_loss_weight(entropy)},
        {.name = "penalty", .value = penalty}, /* per sample */
        quern_metric_perplexity(entropy),
    };
    REQUIRE_OK(run(&w, &n, metrics, 3));
    for (int valid = 0; valid < 2; valid++) {
        const parts p = parts_by_samples(&w, valid);
        const seen *s = valid ? &n.eval : &n.epoch[0];
        CHECK_NEAR(value(s, valid ? "val/entropy" : "train/entropy"), p.entropy, TOL);
        CHECK_NEAR(value(s, valid ? "val/penalty" : "train/penalty"), p.penalty, TOL);
        CHECK_NEAR(value(s, valid ? "val/perplexity" : "train/perplexity"), exp(p.entropy),
                   4 * TOL);
        CHECK_NEAR(value(s, valid ? "val/loss" : "train/loss"), p.entropy + 0.25 * p.penalty, TOL);
    }
    CHECK(value(&n.log[0], "train/entropy") == value(&n.epoch[0], "train/entropy"));
    world_close(&w);
}

/* Class 0 plays the padding: batches then differ in valid tokens, and the mean is over those. */
TEST_CASE(Metrics, perplexity_is_per_valid_token) {
    static float z[WORLD_SAMPLES_MAX][WORLD_CLASSES];
    world w;
    notes n = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 22, .valid_length = 17}));
    w.desc.loss = quern_softmax_cross_entropy(w.graph, w.logits, w.label,
                                              &(quern_softmax_cross_entropy_desc){.ignore = true});
    w.desc.optimizer = still;
    const quern_metric metric = quern_metric_perplexity(w.desc.loss);
    REQUIRE_OK(run(&w, &n, &metric, 1));
    for (int valid = 0; valid < 2; valid++) {
        const int32_t *label = valid ? w.valid_label : w.train_label;
        double sum = 0, tokens = 0;
        read_logits(&w, valid, z);
        for (int i = 0; i < (valid ? 17 : 22); i++) {
            if (label[i] == 0) continue;
            sum += cross_entropy(z[i], label[i]);
            tokens++;
        }
        CHECK(tokens > 5 && tokens < (valid ? 17 : 22));
        const seen *s = valid ? &n.eval : &n.epoch[0];
        CHECK_NEAR(value(s, valid ? "val/perplexity" : "train/perplexity"), exp(sum / tokens),
                   4 * TOL);
    }
    world_close(&w);
}

TEST_CASE(Metrics, top_k_and_accuracy_count_samples) {
    static float z[WORLD_SAMPLES_MAX][WORLD_CLASSES];
    world w;
    notes n = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 11, .valid_length = 13}));
    w.desc.optimizer = still;
    const quern_metric metrics[] = {quern_metric_accuracy(w.graph, w.logits, w.label),
                                    quern_metric_top_k(w.graph, w.logits, w.label, 2)};
    REQUIRE_OK(run(&w, &n, metrics, 2));
    int more = 0;
    for (int valid = 0; valid < 2; valid++) {
        const int length = valid ? 13 : 11;
        double first = 0, second = 0;
        read_logits(&w, valid, z);
        for (int i = 0; i < length; i++) {
            const int32_t label = valid ? w.valid_label[i] : w.train_label[i];
            int above = 0;
            for (int c = 0; c < WORLD_CLASSES; c++) above += z[i][c] > z[i][label];
            first += above < 1;
            second += above < 2;
        }
        const seen *s = valid ? &n.eval : &n.epoch[0];
        CHECK(value(s, valid ? "val/accuracy" : "train/accuracy") == first / length);
        CHECK(value(s, valid ? "val/top2" : "train/top2") == second / length);
        more += second > first;
    }
    CHECK(more > 0);
    world_close(&w);
}

/* The weights move: an epoch's mean is that of its own logs, each weighted by its samples. */
TEST_CASE(Metrics, an_epoch_adds_up_its_own_logs) {
    static const double samples[] = {8, 8, 7};
    world w;
    notes n = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 23}));
    w.desc.epoch_count = 2;
    w.desc.log_every = 2;
    const quern_metric metric = {
        .name = "entropy", .value = w.loss, .weight = quern_loss_weight(w.loss)};
    REQUIRE_OK(run(&w, &n, &metric, 1));
    REQUIRE(n.logs == 6 && n.epochs == 2);
    for (int epoch = 0; epoch < 2; epoch++) {
        double mean = 0;
        for (int i = 0; i < 3; i++)
            mean += value(&n.log[3 * epoch + i], "train/entropy") * samples[i] / 23;
        CHECK_NEAR(value(&n.epoch[epoch], "train/entropy"), mean, 1e-12);
        CHECK_NEAR(value(&n.epoch[epoch], "train/loss"), mean, 1e-12);
    }
    CHECK(fabs(value(&n.log[0], "train/entropy") - value(&n.log[5], "train/entropy")) > 1e-3);
    world_close(&w);
}

/* --- regression --- */

typedef struct regression {
    double mse, mae, r2;
} regression;

/* What predict gives for every sample, against the inputs that it was to give back. */
static regression regression_by_samples(world *w, quern_tensor *prediction, bool valid,
                                        float offset) {
    static float p[WORLD_SAMPLES_MAX][WORLD_FEATURES];
    const quern_dataset *set = valid ? w->valid : w->train;
    const int64_t length = quern_dataset_length(set);
    double square = 0, absolute = 0, mean = 0, deviation = 0;
    const double count = (double)(length * WORLD_FEATURES);
    if (quern_trainer_predict(w->trainer, set, prediction, p, (size_t)length * sizeof *p))
        return (regression){NAN, NAN, NAN};
    for (int pass = 0; pass < 2; pass++)
        for (int64_t n = 0; n < length; n++)
            for (int f = 0; f < WORLD_FEATURES; f++) {
                const float t = (valid ? w->valid_x[n][f] : w->train_x[n][f]) + offset;
                const double off = (double)p[n][f] - (double)t;
                if (pass == 0) {
                    square += off * off;
                    absolute += fabs(off);
                    mean += (double)t / count;
                } else {
                    deviation += ((double)t - mean) * ((double)t - mean);
                }
            }
    return (regression){square / count, absolute / count, 1 - square / deviation};
}

/* A network that is to give back its input plus an offset, of which the targets' mean consists. */
static void check_regression(float offset, double tolerance) {
    world w;
    notes n = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 11, .valid_length = 13}));
    quern_graph *g = w.graph;
    quern_tensor *back =
        quern_dense(g, w.logits, &(quern_dense_desc){.units = WORLD_FEATURES, .name = "back"});
    quern_tensor *prediction = quern_scale(g, back, &(quern_scale_desc){.offset = offset});
    quern_tensor *target = quern_scale(g, w.x, &(quern_scale_desc){.offset = offset});
    w.desc.loss = quern_mse(g, prediction, target);
    w.desc.outputs = &prediction;
    w.desc.optimizer = still;
    const quern_metric metrics[] = {quern_metric_mse(g, prediction, target),
                                    quern_metric_mae(g, prediction, target),
                                    quern_metric_r2(g, prediction, target)};
    REQUIRE_OK(run(&w, &n, metrics, 3));
    for (int valid = 0; valid < 2; valid++) {
        const regression r = regression_by_samples(&w, prediction, valid, offset);
        const seen *s = valid ? &n.eval : &n.epoch[0];
        CHECK_NEAR(value(s, valid ? "val/mse" : "train/mse"), r.mse, tolerance);
        CHECK_NEAR(value(s, valid ? "val/mae" : "train/mae"), r.mae, tolerance);
        CHECK_NEAR(value(s, valid ? "val/r2" : "train/r2"), r.r2, tolerance);
        CHECK_NEAR(value(s, valid ? "val/loss" : "train/loss"), r.mse, tolerance);
    }
    world_close(&w);
}

TEST_CASE(Metrics, regression_is_over_all_elements_of_all_samples) { check_regression(0, TOL); }

/* The squares' sums are then a million times their difference: F32 sums would lose R2 here. */
TEST_CASE(Metrics, r2_survives_targets_far_from_zero) { check_regression(1000, 1e-5); }

/* With 1.7 the squares' sum minus the squared sum leaves a rounding above zero. */
TEST_CASE(Metrics, r2_of_targets_that_do_not_differ_is_not_a_number) {
    static const float levels[] = {0.1f, 1.7f, -3.9f};
    for (int i = 0; i < 3; i++) {
        world w;
        notes n = {0};
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        w.desc.optimizer = still;
        quern_tensor *flat = quern_scale(
            w.graph, w.logits, &(quern_scale_desc){.factor = QUERN_ZERO, .offset = levels[i]});
        const quern_metric metric = quern_metric_r2(w.graph, w.logits, flat);
        REQUIRE_OK(run(&w, &n, &metric, 1));
        CHECK(isnan(value(&n.epoch[0], "train/r2")) && isnan(value(&n.eval, "val/r2")));
        world_close(&w);
    }
}

/* --- statistics of the loss --- */

enum { EPOCHS = 3, BATCHES = 6, SIZE = 4, LAST = 3, WINDOW = 4 };

static double weight_of(int attempt) { return attempt % BATCHES == BATCHES - 1 ? LAST : SIZE; }

/* The mean loss of every attempt, from a log at each of them. */
static void losses_of_attempts(double *out) {
    world w;
    notes n = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 23}));
    w.desc.epoch_count = EPOCHS;
    w.desc.log_every = 1;
    REQUIRE_OK(run(&w, &n, NULL, 0));
    REQUIRE(n.logs == EPOCHS * BATCHES);
    for (int i = 0; i < n.logs; i++) out[i] = value(&n.log[i], "train/loss");
    world_close(&w);
}

static void check_statistics(const seen *s, const double *losses, int from, int to) {
    double low = INFINITY, high = -INFINITY, mean = 0, spread = 0, moving = 0, weight = 0;
    for (int i = from; i < to; i++) {
        low = fmin(low, losses[i]);
        high = fmax(high, losses[i]);
        mean += losses[i] / (to - from);
    }
    for (int i = from; i < to; i++) spread += (losses[i] - mean) * (losses[i] - mean) / (to - from);
    for (int i = to > WINDOW ? to - WINDOW : 0; i < to; i++) {
        moving += losses[i] * weight_of(i);
        weight += weight_of(i);
    }
    CHECK(value(s, "train/low") == low);
    CHECK(value(s, "train/high") == high);
    CHECK_NEAR(value(s, "train/deviation"), sqrt(spread), 1e-12);
    CHECK_NEAR(value(s, "train/moving"), moving / weight, 1e-12);
}

TEST_CASE(Metrics, statistics_of_the_loss_are_those_of_the_attempts) {
    double losses[EPOCHS * BATCHES];
    world w;
    notes n = {0};
    static const quern_metric metrics[] = {
        {.name = "low", .kind = QUERN_METRIC_LOSS_MIN},
        {.name = "high", .kind = QUERN_METRIC_LOSS_MAX},
        {.name = "deviation", .kind = QUERN_METRIC_LOSS_DEVIATION},
        {.name = "moving", .kind = QUERN_METRIC_LOSS_MOVING, .window = WINDOW},
        {.name = "wide", .kind = QUERN_METRIC_LOSS_MOVING},
    };
    losses_of_attempts(losses);
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 23}));
    w.desc.epoch_count = EPOCHS;
    w.desc.log_every = 5;
    REQUIRE_OK(run(&w, &n, metrics, 5));
    static const int ends[] = {0, 5, 6, 10, 12, 15, 18};
    REQUIRE(n.logs == 6 && n.epochs == EPOCHS);
    for (int i = 0; i < n.logs; i++) check_statistics(&n.log[i], losses, ends[i], ends[i + 1]);
    for (int e = 0; e < EPOCHS; e++)
        check_statistics(&n.epoch[e], losses, e * BATCHES, (e + 1) * BATCHES);
    double sum = 0, weight = 0;
    for (int i = 0; i < EPOCHS * BATCHES; i++) {
        sum += losses[i] * weight_of(i);
        weight += weight_of(i);
    }
    CHECK_NEAR(value(&n.epoch[2], "train/wide"), sum / weight, 1e-12);
    CHECK(quern_trainer_resolved(w.trainer)->metrics[4].window == 100);
    CHECK(n.eval.count == 1 && find(&n.eval, "val/low") < 0);
    world_close(&w);
}
