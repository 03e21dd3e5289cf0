/* Windows of several batches: the same gradient as one large batch, the tails, what schedules and
 * evaluations see of them. */
#include "quern_test.h"
#include "window_world.h"

#include <math.h>
#include <string.h>

enum { LARGE = 8 };

typedef struct trained {
    double state[WINDOW_STATE_MAX], valid_loss;
    int64_t count;
    quern_result result;
} trained;

static void trained_take(world *w, trained *out) {
    out->count = window_state(w, out->state);
    out->valid_loss = out->result.valid_loss;
}

/* So large a rate that the weights behind one update are, to the last bits, the gradient; a power
 * of two, which adds no rounding. */
#define SPLIT_RATE 4096

/* The gradient, from the weights before and behind an update. */
static void gradient_take(trained *out, const double *before) {
    for (int64_t i = 0; i < out->count; i++)
        out->state[i] = (before[i] - out->state[i]) / SPLIT_RATE;
}

/* One SGD step over the first 8 samples in batches of batch_size; out->state is its gradient. */
static void split_train(const network_desc *network, int64_t batch_size, bool device,
                        trained *out) {
    world w;
    double wide[LARGE][WORLD_FEATURES], before[WINDOW_STATE_MAX];
    quern_batch batches[LARGE];
    memset(out, 0, sizeof *out);
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    REQUIRE_OK(world_network(&w, network));
    for (int i = 0; i < LARGE; i++)
        for (int f = 0; f < WORLD_FEATURES; f++) wide[i][f] = (double)w.train_x[i][f];
    w.desc.train = NULL;
    w.desc.batch_size = batch_size;
    w.desc.optimizer =
        (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD, .learning_rate = SPLIT_RATE};
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    window_state(&w, before);
    const int32_t count = (int32_t)(LARGE / batch_size);
    for (int32_t i = 0; i < count; i++) {
        const int64_t first = i * batch_size;
        const void *x =
            network->dtype == QUERN_F64 ? (void *)wide[first] : (void *)w.train_x[first];
        batches[i] = (quern_batch){.sample_count = batch_size,
                                   .field_count = 2,
                                   .names = {"x", "label"},
                                   .data = {x, w.train_label + first},
                                   .on_device = device};
    }
    REQUIRE_OK(quern_trainer_step_window(w.trainer, batches, count));
    REQUIRE_OK(quern_trainer_wait(w.trainer, &out->result));
    CHECK(out->result.step == 1 && out->result.attempts == 1 && out->result.samples == LARGE);
    trained_take(&w, out);
    gradient_take(out, before);
    world_close(&w);
}

static void check_splits(const network_desc *network, double tolerance) {
    trained whole, split;
    split_train(network, LARGE, false, &whole);
    CHECK(whole.count > 50);
    for (int64_t batch_size = 4; batch_size >= 1; batch_size /= 2)
        for (int device = 0; device < 2; device++) {
            split_train(network, batch_size, device != 0, &split);
            const double difference =
                window_state_difference(whole.state, split.state, whole.count);
            CHECK_SAY(difference <= tolerance, "batches of %d: a difference of %g", (int)batch_size,
                      difference);
            CHECK_NEAR(split.result.train_loss, whole.result.train_loss, tolerance * 10);
        }
}

TEST_CASE(Window, eight_twice_four_and_eight_times_one_are_one_gradient) {
    check_splits(&(network_desc){0}, 1e-6);
    check_splits(&(network_desc){.dtype = QUERN_F64}, 1e-12);
}

/* Of the first 8 labels some do not count, in each split another number in each batch. */
TEST_CASE(Window, rows_that_do_not_count_are_weighed_over_the_whole_window) {
    world w;
    int ignored[2] = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    for (int i = 0; i < LARGE; i++) ignored[i / 4] += w.train_label[i] == IGNORED_LABEL;
    world_close(&w);
    CHECK(ignored[0] != ignored[1]);
    check_splits(&(network_desc){.ignore = true}, 1e-6);
    check_splits(&(network_desc){.dtype = QUERN_F64, .ignore = true}, 1e-12);
}

TEST_CASE(Window, a_loss_without_a_weight_is_weighed_by_samples) {
    check_splits(&(network_desc){.plain = true}, 1e-6);
    check_splits(&(network_desc){.dtype = QUERN_F64, .plain = true}, 1e-12);
}

/* Tails: as many updates as counted out by hand, and the weights that large batches of just those
 * samples give. */

static void tail_train(const window_run_desc *run, int fits, int32_t workers, trained *out) {
    world w;
    memset(out, 0, sizeof *out);
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = run->length}));
    REQUIRE_OK(world_network(&w, &(network_desc){.ignore = true}));
    w.desc.batch_size = run->batch_size;
    w.desc.accumulate = run->accumulate;
    w.desc.tail = run->tail;
    w.desc.no_shuffle = true;
    w.desc.worker_count = workers;
    w.desc.epoch_count = run->epochs / fits;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    for (int i = 0; i < fits; i++) REQUIRE_OK(quern_trainer_fit(w.trainer, &out->result));
    if (fits == 1) CHECK(quern_trainer_planned_steps(w.trainer) == out->result.step);
    trained_take(&w, out);
    world_close(&w);
}

static void check_tail(const window_run_desc *run) {
    world w;
    window_list list;
    trained expected, found;
    window_list_make(&list, run);
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = run->length}));
    REQUIRE_OK(world_network(&w, &(network_desc){.ignore = true}));
    REQUIRE_OK(window_list_train(&w, w.desc, &list));
    memset(&expected, 0, sizeof expected);
    trained_take(&w, &expected);
    world_close(&w);
    int64_t samples = 0;
    for (int32_t i = 0; i < list.count; i++) samples += list.sample_count[i];
    for (int way = 0; way < 3; way++) { /* one fit; several; with workers */
        tail_train(run, way == 1 ? (int)run->epochs : 1, way == 2 ? 2 : 0, &found);
        CHECK_SAY(found.result.step == list.count && found.result.attempts == list.count,
                  "%d updates, expected %d", (int)found.result.step, (int)list.count);
        CHECK(found.result.samples == samples && found.result.epochs == run->epochs);
        const double difference =
            window_state_difference(expected.state, found.state, expected.count);
        CHECK_SAY(difference <= 2e-5, "length %d, window %d, way %d: a difference of %g",
                  (int)run->length, (int)run->accumulate, way, difference);
    }
}

static void check_tails(quern_tail tail) {
    static const window_run_desc runs[] = {
        {10, 4, 2, 2, QUERN_TAIL_FLUSH}, {10, 4, 2, 3, QUERN_TAIL_FLUSH},
        {14, 4, 3, 2, QUERN_TAIL_FLUSH}, {16, 4, 2, 2, QUERN_TAIL_FLUSH},
        {13, 2, 4, 3, QUERN_TAIL_FLUSH}, {12, 4, 3, 2, QUERN_TAIL_FLUSH},
    };
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        window_run_desc run = runs[i];
        run.tail = tail;
        check_tail(&run);
    }
}

TEST_CASE(Window, flush_makes_an_update_of_what_is_left) { check_tails(QUERN_TAIL_FLUSH); }
TEST_CASE(Window, drop_leaves_it_out) { check_tails(QUERN_TAIL_DROP); }
TEST_CASE(Window, carry_takes_it_over_the_epochs_border) { check_tails(QUERN_TAIL_CARRY); }

/* A window longer than an epoch is filled over several, and what the run leaves waits. */
TEST_CASE(Window, carry_over_several_epochs) {
    check_tail(&(window_run_desc){10, 4, 5, 4, QUERN_TAIL_CARRY});
    check_tail(&(window_run_desc){10, 4, 8, 8, QUERN_TAIL_CARRY});
    check_tail(&(window_run_desc){3, 4, 4, 9, QUERN_TAIL_CARRY});
}

TEST_CASE(Window, drop_refuses_epochs_that_are_too_short) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.accumulate = 4;
    w.desc.tail = QUERN_TAIL_DROP;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_INPUT);
    CHECK_ERROR_HAS("an epoch of 3 batches is less than a window of 4");
    w.desc.accumulate = 2;
    w.desc.train_batch_limit = 1;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_INPUT);
    world_close(&w);
}

TEST_CASE(Window, fields_that_would_not_be_read_are_refused) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    quern_trainer_desc d = w.desc;
    d.tail = QUERN_TAIL_CARRY;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &d), QUERN_INVALID);
    CHECK_ERROR_HAS("a window is one batch");
    d = w.desc;
    d.accumulate = 4097;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &d), QUERN_INVALID);
    CHECK_ERROR_HAS("accumulate is 4097, not 0 … 4096");
    d = w.desc;
    d.not_finite_limit = 3;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &d), QUERN_INVALID);
    d = w.desc;
    d.train = NULL;
    d.accumulate = 2;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &d), QUERN_INVALID);
    CHECK_ERROR_HAS("without a training set");
    world_close(&w);
}

/* The schedule counts updates. */

enum { FACTORS = 64 };

typedef struct schedule_notes {
    int64_t asked[FACTORS]; /* how often for each m */
    double used[FACTORS];
    int count;
} schedule_notes;

static double note_factor(void *self, int64_t m) {
    schedule_notes *n = self;
    if (m < FACTORS) n->asked[m]++;
    return 1.0 / (double)(m + 1);
}

static quern_action note_rate(void *self, const quern_event *event) {
    schedule_notes *n = self;
    if (event->outcome == QUERN_OUTCOME_APPLIED && n->count < FACTORS)
        n->used[n->count++] = quern_trainer_learning_rate(event->trainer);
    return QUERN_CONTINUE;
}

TEST_CASE(Window, the_schedule_gives_each_update_its_own_factor_whatever_the_window) {
    for (int64_t accumulate = 1; accumulate <= 4; accumulate++) {
        world w;
        quern_result r;
        schedule_notes n;
        memset(&n, 0, sizeof n);
        const quern_callback callback = {.name = "rate", .self = &n, .update_end = note_rate};
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 30}));
        quern_trainer_desc desc = world_with(&w, &callback, 1);
        desc.accumulate = accumulate;
        desc.epoch_count = 3;
        desc.optimizer.learning_rate = 0.5;
        desc.optimizer.schedule =
            (quern_schedule){.kind = QUERN_SCHEDULE_FUNCTION, .function = note_factor, .self = &n};
        REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
        REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
        CHECK(r.step == 3 * ((8 + accumulate - 1) / accumulate) && n.count == r.step);
        for (int i = 0; i < n.count; i++) CHECK_NEAR(n.used[i], 0.5 / (i + 1), 1e-15);
        world_close(&w);
    }
}

/* Evaluations between the windows leave no trace. */
TEST_CASE(Window, evaluating_between_windows_changes_nothing) {
    trained runs[2];
    for (int i = 0; i < 2; i++) {
        world w;
        memset(&runs[i], 0, sizeof runs[i]);
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 26}));
        REQUIRE_OK(world_network(&w, &(network_desc){.batch_norm = true, .dropout = true}));
        w.desc.accumulate = 3;
        w.desc.tail = QUERN_TAIL_CARRY;
        w.desc.epoch_count = 4;
        w.desc.evaluate_every = i == 0 ? 0 : 1;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        REQUIRE_OK(quern_trainer_fit(w.trainer, &runs[i].result));
        trained_take(&w, &runs[i]);
        world_close(&w);
    }
    CHECK(runs[0].result.step == 9 && runs[0].count == runs[1].count);
    CHECK(memcmp(runs[0].state, runs[1].state, sizeof runs[0].state) == 0);
    CHECK(runs[0].valid_loss == runs[1].valid_loss);
}

/* What create would take is said before it. */
TEST_CASE(Window, the_plan_counts_what_weighs_a_window) {
    world w;
    quern_memory one, several;
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 26}));
    REQUIRE_OK(quern_trainer_memory(&one, &w.desc));
    w.desc.accumulate = 4;
    REQUIRE_OK(quern_trainer_memory(&several, &w.desc));
    CHECK(several.peak_bytes >= one.peak_bytes && several.input_bytes == one.input_bytes);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.peak_bytes == several.peak_bytes);
    world_close(&w);
}
