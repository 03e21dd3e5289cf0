/* What must not change a bit of the weights: how steps are issued, who reads the data, how many
 * threads compute, how far the host runs ahead, evaluations in between. */
#include "quern_test.h"
#include "world.h"

#include <string.h>

typedef struct run {
    float weights[256];
    double valid_loss;
    int64_t step;
} run;

static quern_status run_fit(const world_desc *wd, const quern_trainer_desc *change, run *out) {
    world w;
    quern_result r;
    memset(out, 0, sizeof *out);
    quern_status s = world_open(&w, wd);
    if (s != QUERN_OK) return s;
    quern_trainer_desc desc = w.desc;
    desc.epoch_count = 3;
    desc.worker_count = change->worker_count;
    desc.run_ahead = change->run_ahead;
    desc.no_capture = change->no_capture;
    desc.no_fusion = change->no_fusion;
    desc.log_every = change->log_every;
    s = quern_trainer_create(&w.trainer, &desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, &r);
    if (s == QUERN_OK) {
        world_weights(&w, out->weights, 256);
        out->valid_loss = r.valid_loss;
        out->step = r.step;
    }
    world_close(&w);
    return s;
}

static void check_same(const world_desc *a, const quern_trainer_desc *change_a, const world_desc *b,
                       const quern_trainer_desc *change_b) {
    run first, second;
    REQUIRE_OK(run_fit(a, change_a, &first));
    REQUIRE_OK(run_fit(b, change_b, &second));
    CHECK(first.step == second.step && first.step == 45);
    CHECK(memcmp(first.weights, second.weights, sizeof first.weights) == 0);
    CHECK(first.valid_loss == second.valid_loss);
}

static const world_desc plain = {.train_length = 58, .valid_length = 10, .dropout = true};
static const quern_trainer_desc defaults = {0};

TEST_CASE(SameBits, captured_and_eager) {
    check_same(&plain, &defaults, &plain, &(quern_trainer_desc){.no_capture = true});
}

TEST_CASE(SameBits, one_thread_and_two) {
    world_desc two = plain;
    two.thread_count = 2;
    check_same(&plain, &defaults, &two, &defaults);
}

TEST_CASE(SameBits, workers_or_none) {
    for (int32_t workers = 1; workers <= 4; workers++)
        check_same(&plain, &defaults, &plain, &(quern_trainer_desc){.worker_count = workers});
}

static const int32_t aheads[] = {1, 2, 3, 4, 5, 6, 7, 8, 64, 127, 128};
enum { AHEADS = sizeof aheads / sizeof aheads[0] };

TEST_CASE(SameBits, however_far_the_host_runs_ahead) {
    for (int i = 0; i < AHEADS; i++)
        for (int64_t log_every = 1; log_every <= 100; log_every *= 10)
            check_same(&plain, &defaults, &plain,
                       &(quern_trainer_desc){.run_ahead = aheads[i], .log_every = log_every});
}

TEST_CASE(SameBits, however_often_it_logs) {
    check_same(&plain, &defaults, &plain, &(quern_trainer_desc){.log_every = 1});
}

TEST_CASE(SameBits, with_and_without_validation) {
    world_desc without = plain;
    run first, second;
    without.valid_length = -1;
    REQUIRE_OK(run_fit(&plain, &defaults, &first));
    REQUIRE_OK(run_fit(&without, &defaults, &second));
    CHECK(memcmp(first.weights, second.weights, sizeof first.weights) == 0);
}

/* The other way round: these do change the weights, so the comparisons above can fail. */
TEST_CASE(SameBits, dropout_changes_them) {
    world_desc without = plain;
    run first, second;
    without.dropout = false;
    REQUIRE_OK(run_fit(&plain, &defaults, &first));
    REQUIRE_OK(run_fit(&without, &defaults, &second));
    CHECK(memcmp(first.weights, second.weights, sizeof first.weights) != 0);
}

/* An evaluation between two steps leaves no trace in what follows. */
TEST_CASE(SameBits, evaluating_between_steps) {
    run runs[2];
    for (int i = 0; i < 2; i++) {
        world w;
        memset(&runs[i], 0, sizeof runs[i]);
        REQUIRE_OK(world_open(&w, &plain));
        w.desc.step_limit = 3;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        for (int fit = 0; fit < 4; fit++) {
            quern_scalar scalars[4];
            int32_t count = 0;
            REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
            if (i == 0) continue;
            float logits[58 * WORLD_CLASSES];
            CHECK_OK(quern_trainer_evaluate(w.trainer, w.train, scalars, 4, &count));
            CHECK(count == 2);
            CHECK_OK(quern_trainer_predict(w.trainer, w.train, w.logits, logits, sizeof logits));
        }
        world_weights(&w, runs[i].weights, 256);
        world_close(&w);
    }
    CHECK(memcmp(runs[0].weights, runs[1].weights, sizeof runs[0].weights) == 0);
}
