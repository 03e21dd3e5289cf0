/* After create, fit allocates nothing: seen by wrapping malloc and its kin in everything that is
 * linked statically, the library and the shim. */
#include "quern_test.h"
#include "temporary.h"
#include "world.h"

#include <stdatomic.h>
#include <stdlib.h>

static atomic_long allocations;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *pointer, size_t bytes);
int __real_posix_memalign(void **out, size_t alignment, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *pointer, size_t bytes);
int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);

void *__wrap_malloc(size_t bytes) {
    allocations++;
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes) {
    allocations++;
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *pointer, size_t bytes) {
    allocations++;
    return __real_realloc(pointer, bytes);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes) {
    allocations++;
    return __real_posix_memalign(out, alignment, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    allocations++;
    return __real_aligned_alloc(alignment, bytes);
}

static quern_action look(void *self, const quern_event *event) {
    (void)event;
    *(double *)self += quern_event_scalar(event, "train/loss");
    return QUERN_CONTINUE;
}

TEST_CASE(NoMalloc, fit_and_step_call_no_allocator) {
    for (int32_t way = 0; way < 9; way++) {
        const int32_t workers = way % 3;
        world w;
        double seen = 0;
        const quern_callback callback = {
            .name = "look", .self = &seen, .log = look, .update_begin = look};
        const long before_world = allocations;
        REQUIRE_OK(world_open(&w, &(world_desc){.thread_count = 2, .dropout = true}));
        quern_trainer_desc desc = world_with(&w, &callback, 1);
        desc.worker_count = workers;
        desc.epoch_count = 5;
        desc.log_every = 2;
        desc.no_capture = workers == 1;
        const quern_evaluation_set more = {"more", w.train};
        desc.evaluation_sets = &more;
        desc.evaluation_set_count = 1;
        desc.evaluate_every = 2;
        desc.sanity_batches = 2;
        desc.sample_limit = 100;
        desc.seconds_limit = 1000;
        desc.stop_file = "/nowhere/at/all";
        desc.handle_signals = true;
        desc.accumulate = 1 + way / 3;
        if (way >= 6) desc.tail = QUERN_TAIL_CARRY;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
        CHECK(allocations > before_world); /* the wrapping works */
        const long before = allocations;
        const quern_status s = quern_trainer_fit(w.trainer, NULL);
        const long after = allocations;
        CHECK_OK(s);
        CHECK_SAY(after == before, "%d workers, windows of %d: %ld allocations in fit",
                  (int)workers, 1 + way / 3, after - before);
        world_close(&w);
    }
}

TEST_CASE(NoMalloc, several_steps_with_one_launch_call_no_allocator) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 64, .dropout = true}));
    w.desc.epoch_count = 5;
    w.desc.log_every = 10;
    w.desc.resident = QUERN_RESIDENT_ON;
    w.desc.steps_per_launch = 4;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK(quern_trainer_resolved(w.trainer)->steps_per_launch == 4);
    const long before = allocations;
    const quern_status s = quern_trainer_fit(w.trainer, NULL);
    const long after = allocations;
    CHECK_OK(s);
    CHECK_SAY(after == before, "%ld allocations in fit", after - before);
    world_close(&w);
}

/* Copies, writer, rename, retirement: all of it was allocated in create. */
TEST_CASE(NoMalloc, a_run_that_saves_calls_no_allocator) {
    for (int way = 0; way < 4; way++) {
        world w;
        temporary t;
        REQUIRE(temporary_begin(&t));
        REQUIRE_OK(world_open(&w, &(world_desc){.dropout = true}));
        w.desc.epoch_count = 4;
        w.desc.accumulate = 1 + way % 2;
        if (way % 2 == 1) w.desc.tail = QUERN_TAIL_CARRY;
        w.desc.average_decay = 0.9;
        w.desc.save = (quern_save_desc){.directory = t.path,
                                        .every = way < 2 ? 1 : 0,
                                        .keep_best = 1,
                                        .two_snapshots = way > 1};
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        const long before = allocations;
        const quern_status s = quern_trainer_fit(w.trainer, NULL);
        const long after = allocations;
        CHECK_OK(s);
        CHECK_SAY(after == before, "way %d: %ld allocations in fit", way, after - before);
        world_close(&w);
        temporary_end(&t);
    }
}
