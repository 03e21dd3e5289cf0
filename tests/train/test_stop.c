/* quern_trainer_stop from other threads, at any moment of a fit: one end, told once, and the next
 * fit goes on. */
#include "ends.h"
#include "quern_test.h"
#include "world.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 24, ROUNDS_MAX = 120, STOPPERS = 3 };

typedef struct stopper {
    quern_trainer *trainer;
    long wait_us;
} stopper;

static void *stop_later(void *self) {
    const stopper *s = self;
    struct timespec rest = {.tv_nsec = s->wait_us * 1000};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
    quern_trainer_stop(s->trainer);
    return NULL;
}

/* One fit without an end of its own, and threads that each ask for it at another moment. */
static void check_stopped(quern_trainer *trainer, ends *e, int round, int64_t *step) {
    pthread_t threads[STOPPERS];
    stopper stoppers[STOPPERS];
    quern_result r;
    memset(e, 0, sizeof *e);
    for (int i = 0; i < STOPPERS; i++) {
        stoppers[i] = (stopper){trainer, 60L * round * round + 300L * i};
        REQUIRE(pthread_create(&threads[i], NULL, stop_later, &stoppers[i]) == 0);
    }
    CHECK_OK(quern_trainer_fit(trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_REQUEST && r.step >= *step);
    *step = r.step;
    for (int i = 0; i < STOPPERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    ends_check(e, true, false);
    CHECK_TEXT(e->reason, "request");
    /* those that came too late for this fit end the next one at once */
    memset(e, 0, sizeof *e);
    quern_trainer_stop(trainer);
    CHECK_OK(quern_trainer_fit(trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_REQUEST && r.step == *step);
    ends_check(e, true, false);
}

TEST_CASE(Stop, other_threads_end_a_run_at_any_moment) {
    for (int32_t workers = 0; workers < 3; workers++) {
        world w;
        ends e = {.times = 0};
        int64_t step = 0;
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 24, .thread_count = 2}));
        const quern_callback callback = ends_callback(&e);
        quern_trainer_desc desc = world_with(&w, &callback, 1);
        desc.epoch_count = INT64_C(1) << 40;
        desc.evaluate_every = 3;
        desc.worker_count = workers;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
        /* The later the round, the longer the wait: on a busy machine it takes more of them until
         * one has met a run at work. */
        for (int round = 0; round < (step > 0 ? ROUNDS : ROUNDS_MAX) && !quern_test_failed();
             round++)
            check_stopped(w.trainer, &e, round, &step);
        CHECK(step > 0);
        world_close(&w);
    }
}

/* A validation set that asks for the stop itself, when its fifth sample is read, on whichever
 * thread that is. */
typedef struct asking_set {
    quern_trainer *_Atomic trainer;
    atomic_int reads;
} asking_set;

enum { ASKING_LENGTH = 4000 };

static int64_t asking_length(void *self) {
    (void)self;
    return ASKING_LENGTH;
}

static int32_t asking_fields(void *self, const quern_field **out) {
    static const quern_field fields[] = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                         {.name = "label", .dtype = QUERN_I32}};
    (void)self;
    *out = fields;
    return 2;
}

static quern_status asking_read(void *self, int64_t index, void *const *data) {
    asking_set *s = self;
    memset(data[0], 0, WORLD_FEATURES * sizeof(float));
    *(int32_t *)data[1] = (int32_t)(index % WORLD_CLASSES);
    if (atomic_fetch_add(&s->reads, 1) == 4) quern_trainer_stop(atomic_load(&s->trainer));
    return QUERN_OK;
}

/* 1,000 batches of sanity are not waited for. */
TEST_CASE(Stop, a_sanity_evaluation_is_ended_too) {
    static const quern_dataset_type type = {
        .name = "asking", .length = asking_length, .fields = asking_fields, .read = asking_read};
    for (int32_t workers = 0; workers < 3; workers++) {
        world w;
        ends e = {.times = 0};
        quern_result r;
        quern_dataset *set = NULL;
        asking_set s = {.reads = 0};
        REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
        REQUIRE_OK(quern_dataset_custom(&set, w.device, &type, &s));
        const quern_callback callback = ends_callback(&e);
        const quern_evaluation_set more = {"more", set};
        quern_trainer_desc desc = world_with(&w, &callback, 1);
        desc.valid = set;
        desc.evaluation_sets = &more;
        desc.evaluation_set_count = 1;
        desc.sanity_batches = ASKING_LENGTH;
        desc.worker_count = workers;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
        atomic_store(&s.trainer, w.trainer);
        CHECK_OK(quern_trainer_fit(w.trainer, &r));
        CHECK(r.reason == QUERN_STOPPED_REQUEST && r.step == 0 && r.attempts == 0);
        ends_check(&e, true, false);
        CHECK(e.fired[QUERN_EVENT_eval_begin] == 0 && e.fired[QUERN_EVENT_epoch_begin] == 0);
        CHECK_SAY(atomic_load(&s.reads) < ASKING_LENGTH / 2, "%d samples were read",
                  atomic_load(&s.reads));
        quern_trainer_destroy(w.trainer);
        w.trainer = NULL;
        quern_dataset_destroy(set);
        world_close(&w);
    }
}
