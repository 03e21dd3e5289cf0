/* Running statistics over windows: each microbatch moves them on as a batch of its own would, and
 * only an update that is applied keeps that. Against batch norm written out here. */
#include "quern_test.h"
#include "window_world.h"

#include <math.h>
#include <string.h>

enum { STATISTICS = 2 * WORLD_HIDDEN };

/* mean and variance of fc1's output over samples [first, first + count), by momentum 0.1. */
static void statistics_move(const world *w, const double *weight, const double *bias, int64_t first,
                            int64_t count, double *statistics) {
    for (int c = 0; c < WORLD_HIDDEN; c++) {
        double h[WORLD_SAMPLES_MAX], mean = 0, variance = 0;
        for (int64_t n = 0; n < count; n++) {
            h[n] = bias[c];
            for (int f = 0; f < WORLD_FEATURES; f++)
                h[n] += weight[c * WORLD_FEATURES + f] * (double)w->train_x[first + n][f];
            mean += h[n] / (double)count;
        }
        for (int64_t n = 0; n < count; n++)
            variance += (h[n] - mean) * (h[n] - mean) / (double)(count - 1);
        statistics[c] = 0.9 * statistics[c] + 0.1 * mean;
        statistics[WORLD_HIDDEN + c] = 0.9 * statistics[WORLD_HIDDEN + c] + 0.1 * variance;
    }
}

typedef struct norm_notes {
    double expected[STATISTICS];
    int64_t skipped; /* the window with this number; -1: none */
    quern_event_kind at;
} norm_notes;

static quern_action skip_one(void *self, const quern_event *event) {
    const norm_notes *n = self;
    return event->attempts == n->skipped ? QUERN_SKIP_STEP : QUERN_CONTINUE;
}

/* With a rate of zero the weights stand still, so that the statistics follow from the data. */
static void check_statistics(int64_t accumulate, quern_tail tail, int64_t skipped, bool inside) {
    world w;
    norm_notes n = {.skipped = skipped};
    double state[WINDOW_STATE_MAX];
    const quern_callback callback = {.name = "skip",
                                     .self = &n,
                                     .step_begin = inside ? NULL : skip_one,
                                     .loss_ready = inside ? skip_one : NULL};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 22, .valid_length = -1}));
    REQUIRE_OK(world_network(&w, &(network_desc){.batch_norm = true}));
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.no_shuffle = true;
    desc.accumulate = accumulate;
    desc.tail = tail;
    desc.epoch_count = 2;
    desc.optimizer =
        (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD, .learning_rate = QUERN_ZERO};
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    int64_t count = window_state(&w, state);
    memcpy(n.expected, state + count - STATISTICS, sizeof n.expected);
    /* fc1.weight and fc1.bias come first */
    const double *weight = state, *bias = state + WORLD_HIDDEN * WORLD_FEATURES;
    int64_t window = 0, filled = 0;
    double open[STATISTICS];
    memcpy(open, n.expected, sizeof open);
    for (int64_t batch = 0; batch < 12; batch++) {
        const int64_t first = batch % 6 * 4;
        statistics_move(&w, weight, bias, first, first == 20 ? 2 : 4, open);
        const bool flushed = tail == QUERN_TAIL_FLUSH && batch % 6 == 5;
        if (++filled < accumulate && !flushed) continue;
        if (window++ == skipped)
            memcpy(open, n.expected, sizeof open);
        else
            memcpy(n.expected, open, sizeof open);
        filled = 0;
    }
    quern_result r;
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.attempts == window && r.step == window - (skipped >= 0));
    count = window_state(&w, state);
    for (int i = 0; i < STATISTICS; i++)
        CHECK_NEAR(state[count - STATISTICS + i], n.expected[i], 1e-5);
    world_close(&w);
}

TEST_CASE(WindowNorm, every_microbatch_moves_the_statistics_on) {
    for (int64_t accumulate = 1; accumulate <= 5; accumulate++) {
        check_statistics(accumulate, QUERN_TAIL_FLUSH, -1, false);
        if (accumulate > 1) check_statistics(accumulate, QUERN_TAIL_CARRY, -1, false);
    }
}

TEST_CASE(WindowNorm, a_window_that_is_skipped_moves_nothing) {
    for (int64_t skipped = 0; skipped < 4; skipped++)
        for (int inside = 0; inside < 2; inside++) {
            check_statistics(3, QUERN_TAIL_FLUSH, skipped, inside != 0);
            check_statistics(2, QUERN_TAIL_CARRY, skipped, inside != 0);
        }
}

/* Windows through fit and through the own loop are the same work, to the bit. */
TEST_CASE(WindowNorm, an_own_loop_of_windows_gives_the_bits_of_fit) {
    double fitted[WINDOW_STATE_MAX] = {0}, stepped[WINDOW_STATE_MAX] = {0};
    const network_desc network = {.batch_norm = true, .dropout = true, .ignore = true};
    world w;
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 22, .valid_length = -1}));
    REQUIRE_OK(world_network(&w, &network));
    w.desc.no_shuffle = true;
    w.desc.accumulate = 4;
    w.desc.epoch_count = 3;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.step == 6);
    window_state(&w, fitted);
    quern_trainer_destroy(w.trainer);
    w.desc.train = NULL;
    w.desc.no_shuffle = false;
    w.desc.accumulate = w.desc.epoch_count = 0;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    for (int i = 0; i < 6; i++) {
        quern_batch batches[4];
        const int32_t count = i % 2 == 0 ? 4 : 2;
        for (int32_t k = 0; k < count; k++) {
            const int64_t first = (i % 2 * 4 + k) * 4;
            batches[k] = (quern_batch){.sample_count = first == 20 ? 2 : 4,
                                       .field_count = 2,
                                       .names = {"x", "label"},
                                       .data = {w.train_x + first, w.train_label + first}};
        }
        REQUIRE_OK(quern_trainer_step_window(w.trainer, batches, count));
    }
    REQUIRE_OK(quern_trainer_wait(w.trainer, &r));
    window_state(&w, stepped);
    CHECK(r.step == 6 && r.samples == 66);
    CHECK(memcmp(fitted, stepped, sizeof fitted) == 0);
    world_close(&w);
}

TEST_CASE(WindowNorm, what_a_window_of_the_own_loop_lacks_is_named) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.train = w.desc.valid = NULL;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    quern_batch batches[2];
    for (int i = 0; i < 2; i++)
        batches[i] = (quern_batch){.sample_count = 4,
                                   .field_count = 2,
                                   .names = {"x", "label"},
                                   .data = {w.train_x, w.train_label}};
    CHECK_STATUS(quern_trainer_step_window(w.trainer, batches, 0), QUERN_INVALID);
    CHECK_STATUS(quern_trainer_step_window(w.trainer, batches, 4097), QUERN_INVALID);
    CHECK_STATUS(quern_trainer_step_window(w.trainer, NULL, 1), QUERN_INVALID);
    batches[1].data[0] = NULL;
    CHECK_STATUS(quern_trainer_step_window(w.trainer, batches, 2), QUERN_INVALID);
    CHECK_ERROR_HAS("x has no data in a window of several batches");
    batches[1].data[0] = w.train_x;
    CHECK_OK(quern_trainer_step_window(w.trainer, batches, 2));
    quern_result r;
    CHECK_OK(quern_trainer_wait(w.trainer, &r));
    CHECK(r.step == 1 && r.samples == 8);
    world_close(&w);
}

/* More batches than any window before, while others are in flight. */
TEST_CASE(WindowNorm, windows_of_the_own_loop_may_grow_and_shrink) {
    double state[2][WINDOW_STATE_MAX];
    memset(state, 0, sizeof state);
    for (int way = 0; way < 2; way++) {
        world w;
        static const int32_t counts[] = {1, 3, 1, 7, 2, 12, 1};
        quern_batch batches[12];
        quern_result r;
        REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
        REQUIRE_OK(world_network(&w, &(network_desc){.batch_norm = true}));
        w.desc.train = NULL;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        for (int i = 0; i < 7; i++) {
            for (int32_t k = 0; k < counts[i]; k++)
                batches[k] = (quern_batch){.sample_count = 1 + (i + k) % 4,
                                           .field_count = 2,
                                           .names = {"x", "label"},
                                           .data = {w.train_x + 4 * k, w.train_label + 4 * k}};
            REQUIRE_OK(quern_trainer_step_window(w.trainer, batches, counts[i]));
            if (way == 1) REQUIRE_OK(quern_trainer_wait(w.trainer, &r));
        }
        REQUIRE_OK(quern_trainer_wait(w.trainer, &r));
        CHECK(r.step == 7);
        window_state(&w, state[way]);
        world_close(&w);
    }
    CHECK(memcmp(state[0], state[1], sizeof state[0]) == 0);
}

/* The same batch twice is one gradient, unless each draws its own dropout. */
TEST_CASE(WindowNorm, each_microbatch_has_its_own_random_draws) {
    double state[2][2][WINDOW_STATE_MAX];
    int64_t count = 0;
    memset(state, 0, sizeof state);
    for (int dropout = 0; dropout < 2; dropout++)
        for (int32_t twice = 0; twice < 2; twice++) {
            world w;
            REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
            REQUIRE_OK(world_network(&w, &(network_desc){.dropout = dropout == 1}));
            w.desc.train = NULL;
            w.desc.optimizer =
                (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 1};
            REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
            const quern_batch batch = {.sample_count = 4,
                                       .field_count = 2,
                                       .names = {"x", "label"},
                                       .data = {w.train_x, w.train_label}};
            const quern_batch batches[2] = {batch, batch};
            REQUIRE_OK(quern_trainer_step_window(w.trainer, batches, 1 + twice));
            REQUIRE_OK(quern_trainer_wait(w.trainer, NULL));
            count = window_state(&w, state[dropout][twice]);
            world_close(&w);
        }
    CHECK(window_state_difference(state[0][0], state[0][1], count) <= 1e-6);
    CHECK(window_state_difference(state[1][0], state[1][1], count) > 1e-3);
}
