/* A NaN in a batch on a CUDA device: what each policy makes of it. */
#include "gpu_device.h"
#include "quern_test.h"

#include "support/temporary.h"
#include "train/world.h"

#include <math.h>
#include <string.h>

typedef struct run {
    float weights[256];
    int64_t weight_count;
    quern_result result;
} run;

typedef struct trial {
    quern_not_finite policy;
    bool no_capture;
    const char *folder; /* NULL: nothing is saved */
    int64_t every;      /* 0: 1 */
} trial;

/* Five windows an epoch, of which the second holds the NaN. */
static quern_status fit(const trial *t, run *out) {
    world w;
    memset(out, 0, sizeof *out);
    quern_status s =
        world_open(&w, &(world_desc){.cuda = true, .train_length = 20, .valid_length = -1});
    if (s != QUERN_OK) return s;
    w.train_x[6][2] = NAN;
    w.desc.no_shuffle = true;
    w.desc.no_capture = t->no_capture;
    w.desc.epoch_count = 2;
    w.desc.not_finite = t->policy;
    w.desc.optimizer.kind = QUERN_OPTIMIZER_SGD;
    if (t->folder)
        w.desc.save =
            (quern_save_desc){.directory = t->folder, .every = t->every > 0 ? t->every : 1};
    s = quern_trainer_create(&w.trainer, &w.desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, &out->result);
    if (w.trainer) out->weight_count = world_weights(&w, out->weights, 256);
    world_close(&w);
    return s;
}

static bool is_finite(const run *r) {
    for (int64_t i = 0; i < r->weight_count; i++)
        if (!isfinite(r->weights[i])) return false;
    return r->weight_count > 50;
}

TEST_CASE(GpuNotFinite, stops_the_run_before_the_update_and_names_step_and_input) {
    if (!gpu_has_device()) return;
    for (int eager = 0; eager < 2; eager++) {
        run r;
        CHECK_STATUS(fit(&(trial){.policy = QUERN_NOT_FINITE_STOP, .no_capture = eager != 0}, &r),
                     QUERN_NOT_FINITE);
        CHECK_ERROR_HAS("step 1");
        CHECK_ERROR_HAS("input x of sample 2 of batch 1");
        CHECK(r.result.step == 1 && is_finite(&r));
    }
}

TEST_CASE(GpuNotFinite, is_skipped_or_rolled_back_and_the_run_goes_on) {
    if (!gpu_has_device()) return;
    run skipped, eager, back;
    temporary folder;
    REQUIRE(temporary_begin(&folder));
    REQUIRE_OK(fit(&(trial){.policy = QUERN_NOT_FINITE_SKIP}, &skipped));
    REQUIRE_OK(fit(&(trial){.policy = QUERN_NOT_FINITE_SKIP, .no_capture = true}, &eager));
    REQUIRE_OK(fit(&(trial){.policy = QUERN_NOT_FINITE_ROLLBACK, .folder = folder.path}, &back));
    temporary_end(&folder);
    CHECK(skipped.result.step == 8 && skipped.result.attempts == 10 && is_finite(&skipped));
    CHECK(back.result.step == 8 && back.result.attempts == 10);
    CHECK(memcmp(skipped.weights, eager.weights, sizeof eager.weights) == 0);
    CHECK(memcmp(skipped.weights, back.weights, sizeof back.weights) == 0);
}

/* The same windows by hand, of the same world. */
static quern_status steps(const int *windows, int count, run *out) {
    world w;
    memset(out, 0, sizeof *out);
    quern_status s =
        world_open(&w, &(world_desc){.cuda = true, .train_length = 20, .valid_length = -1});
    if (s != QUERN_OK) return s;
    w.desc.train = NULL;
    w.desc.optimizer.kind = QUERN_OPTIMIZER_SGD;
    s = quern_trainer_create(&w.trainer, &w.desc);
    for (int i = 0; i < count && s == QUERN_OK; i++) {
        const int at = 4 * windows[i];
        s = quern_trainer_step(w.trainer,
                               &(quern_batch){.sample_count = 4,
                                              .field_count = 2,
                                              .names = {"x", "label"},
                                              .data = {w.train_x[at], &w.train_label[at]}});
    }
    if (s == QUERN_OK) s = quern_trainer_wait(w.trainer, NULL);
    if (w.trainer) out->weight_count = world_weights(&w, out->weights, 256);
    world_close(&w);
    return s;
}

/* Saved at every second step, the update of the first window is taken back. */
TEST_CASE(GpuNotFinite, takes_back_the_updates_since_the_checkpoint) {
    static const int counted[] = {2, 3, 4, 0, 2, 3, 4}; /* 0 again: saved behind it */
    if (!gpu_has_device()) return;
    run back, expected;
    temporary folder;
    REQUIRE(temporary_begin(&folder));
    CHECK_OK(fit(&(trial){.policy = QUERN_NOT_FINITE_ROLLBACK, .folder = folder.path, .every = 2},
                 &back));
    temporary_end(&folder);
    CHECK(back.result.step == 7 && back.result.attempts == 10);
    CHECK_OK(steps(counted, 7, &expected));
    CHECK(is_finite(&back) && is_finite(&expected));
    for (int64_t i = 0; i < back.weight_count; i++)
        CHECK_NEAR((double)back.weights[i], (double)expected.weights[i], 1e-6);
}
