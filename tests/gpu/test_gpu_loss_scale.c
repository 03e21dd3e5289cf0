/* F16 with a loss scale that is too large at first, on a CUDA device: gradients overflow, their
 * updates are skipped and the scale halves, all on the device, whether the step is launched kernel
 * by kernel, as a graph, or as several in one; and a run that is saved goes on with its scale. */
#include "gpu_device.h"
#include "quern_test.h"

#include "support/temporary.h"
#include "train/world.h"

#include <math.h>
#include <string.h>

static const double INITIAL = 0x1p22; /* overflows a few times, then fits */
enum { WINDOWS = 20 };                /* two epochs of ten */

typedef struct run {
    float weights[256];
    int64_t weight_count;
    quern_result result;
    double scale;    /* at the last log or end of an epoch */
    int64_t stop_at; /* the step at whose log the run is stopped; 0: none */
} run;

typedef struct trial {
    bool no_capture;
    quern_resident resident;
    int32_t steps_per_launch;
    const char *folder; /* NULL: nothing is saved */
    int64_t stop_at;
    bool resume;
} trial;

static quern_action note(void *self, const quern_event *event) {
    run *r = self;
    r->scale = quern_event_scalar(event, "train/loss_scale");
    if (r->stop_at > 0 && event->step == r->stop_at) quern_trainer_stop(event->trainer);
    return QUERN_CONTINUE;
}

static quern_status fit(const trial *t, run *out) {
    world w;
    *out = (run){.stop_at = t->stop_at};
    quern_status s =
        world_open(&w, &(world_desc){.cuda = true, .train_length = 40, .valid_length = -1});
    if (s != QUERN_OK) return s;
    const quern_callback callback = {.name = "scale", .self = out, .log = note};
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.epoch_count = 2;
    desc.precision = QUERN_PRECISION_F16;
    desc.loss_scale = (quern_loss_scale){.initial = INITIAL, .interval = 1000};
    desc.log_every = 4;
    desc.no_capture = t->no_capture;
    desc.resident = t->resident;
    desc.steps_per_launch = t->steps_per_launch;
    if (t->folder)
        desc.save = (quern_save_desc){.directory = t->folder, .every = 1000, .resume = t->resume};
    s = quern_trainer_create(&w.trainer, &desc);
    if (s == QUERN_OK && t->steps_per_launch > 0)
        CHECK(quern_trainer_resolved(w.trainer)->steps_per_launch == t->steps_per_launch);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, &out->result);
    if (s == QUERN_OK) out->weight_count = world_weights(&w, out->weights, 256);
    world_close(&w);
    return s;
}

static void check_whole(const run *r) {
    const int64_t overflows = r->result.attempts - r->result.step;
    CHECK_SAY(r->result.attempts == WINDOWS && overflows >= 2 && overflows < WINDOWS / 2,
              "%d of %d attempts", (int)r->result.step, (int)r->result.attempts);
    CHECK_SAY(r->scale == ldexp(INITIAL, -(int)overflows), "the scale is %g behind %d overflows",
              r->scale, (int)overflows);
    CHECK(r->weight_count > 50);
    for (int64_t i = 0; i < r->weight_count; i++) CHECK(isfinite(r->weights[i]));
}

static void check_same(const run *a, const run *b) {
    CHECK(a->result.step == b->result.step && a->result.attempts == b->result.attempts);
    CHECK(a->scale == b->scale);
    CHECK(memcmp(a->weights, b->weights, sizeof a->weights) == 0);
}

static const trial trials[] = {
    {.no_capture = true, .resident = QUERN_RESIDENT_OFF},
    {.resident = QUERN_RESIDENT_OFF},
    {.resident = QUERN_RESIDENT_ON, .steps_per_launch = 1},
    {.resident = QUERN_RESIDENT_ON, .steps_per_launch = 4},
};
enum { TRIALS = sizeof trials / sizeof trials[0] };

TEST_CASE(GpuLossScale, falls_on_the_device_and_the_update_is_skipped_in_every_kind_of_launch) {
    static run first, r;
    if (!gpu_has_device()) return;
    for (int i = 0; i < TRIALS && !quern_test_failed(); i++) {
        REQUIRE_OK(fit(&trials[i], i == 0 ? &first : &r));
        check_whole(i == 0 ? &first : &r);
        if (i > 0) check_same(&first, &r);
    }
}

/* Stopped behind the overflows, and resumed by another process. */
TEST_CASE(GpuLossScale, is_that_of_the_run_that_was_saved) {
    static run whole, part, rest;
    if (!gpu_has_device()) return;
    for (int i = 0; i < TRIALS && !quern_test_failed(); i++) {
        temporary folder;
        trial t = trials[i];
        REQUIRE(temporary_begin(&folder));
        REQUIRE_OK(fit(&t, &whole));
        t.folder = folder.path;
        t.stop_at = 4;
        REQUIRE_OK(fit(&t, &part));
        CHECK(part.result.reason == QUERN_STOPPED_REQUEST && part.result.attempts < WINDOWS);
        CHECK(part.result.attempts > part.result.step && part.scale == whole.scale);
        t.stop_at = 0;
        t.resume = true;
        REQUIRE_OK(fit(&t, &rest));
        check_same(&whole, &rest);
        temporary_end(&folder);
    }
}
