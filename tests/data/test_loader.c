#include "../../src/host/data/loader.h"
#include "../../src/kernels/sampler.h"

#include "fault_host.h"
#include "memory_files.h"
#include "quern_test.h"

#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A set of `length` samples: "x" is (index, index squared) in F32, "id" the index in I32. As a
 * stream it counts up to `length`. Reads of `fail_at` fail. */
typedef struct counting {
    int64_t length;
    bool stream;
    atomic_int_fast64_t fail_at, reads, position;
    bool wrong_label, slow;
} counting;

static const quern_field counting_fields[2] = {
    {.name = "x", .dtype = QUERN_F32, .rank = 1, .dim = {2}},
    {.name = "id", .dtype = QUERN_I32, .class_count = 1000000},
};

static int64_t counting_length(void *self) {
    const counting *c = self;
    return c->stream ? -1 : c->length;
}

static int32_t counting_get_fields(void *self, const quern_field **out) {
    (void)self;
    *out = counting_fields;
    return 2;
}

static quern_status counting_read(void *self, int64_t index, void *const *to) {
    counting *c = self;
    atomic_fetch_add(&c->reads, 1);
    if (c->slow) nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    if (index == atomic_load(&c->fail_at))
        return quern_fail(QUERN_INPUT, "sector %d is gone", (int)index);
    ((float *)to[0])[0] = (float)index;
    ((float *)to[0])[1] = (float)(index * index);
    *(int32_t *)to[1] = c->wrong_label && index == 5 ? -1 : (int32_t)index;
    return QUERN_OK;
}

static quern_status counting_next(void *self, void *const *to, bool *end) {
    counting *c = self;
    const int64_t index = atomic_fetch_add(&c->position, 1);
    *end = index >= c->length;
    return *end ? QUERN_OK : counting_read(self, index, to);
}

static quern_status counting_rewind(void *self) {
    atomic_store(&((counting *)self)->position, 0);
    return QUERN_OK;
}

static const quern_dataset_type counting_type = {.name = "counting",
                                                 .length = counting_length,
                                                 .fields = counting_get_fields,
                                                 .read = counting_read,
                                                 .next = counting_next,
                                                 .rewind = counting_rewind};
static const quern_dataset_type once_type = {.name = "once",
                                             .length = counting_length,
                                             .fields = counting_get_fields,
                                             .next = counting_next};

enum { SLOTS = 3, BATCH = 8 };

/* A set, a loader over it, and the loader's memory. */
typedef struct bench {
    fault_host faults;
    quern_device device;
    counting set;
    quern_dataset *dataset;
    loader *loader;
    loader_desc desc;
    loader_input inputs[2];
    float x[SLOTS][BATCH * 2];
    int32_t id[SLOTS][BATCH];
    void *slots[SLOTS * 2];
} bench;

static void bench_begin(bench *b, int64_t length, bool stream, const quern_dataset_type *type) {
    memset(b, 0, sizeof *b);
    fault_host_begin(&b->faults, NULL);
    b->device = device_of_host(&b->faults.host);
    b->set.length = length;
    b->set.stream = stream;
    atomic_store(&b->set.fail_at, -1);
    CHECK_OK(quern_dataset_custom(&b->dataset, &b->device, type, &b->set));
    b->inputs[0] = (loader_input){"x", QUERN_F32, 2};
    b->inputs[1] = (loader_input){"id", QUERN_I32, 1};
    for (int s = 0; s < SLOTS; s++) {
        b->slots[2 * s] = b->x[s];
        b->slots[2 * s + 1] = b->id[s];
    }
    b->desc = (loader_desc){.host = &b->device.host,
                            .dataset = b->dataset,
                            .inputs = b->inputs,
                            .input_count = 2,
                            .batch_size = BATCH,
                            .seed = 77,
                            .slot_count = SLOTS,
                            .slots = b->slots};
}

static void bench_end(bench *b) {
    loader_destroy(b->loader);
    quern_dataset_destroy(b->dataset);
    CHECK(fault_host_live(&b->faults) == 0);
}

/* Runs the epoch to its end; ids in order. Returns how many, or -1. */
static int64_t run_epoch(bench *b, int64_t epoch, int64_t first_batch, int32_t *ids) {
    int64_t count = 0, index = first_batch;
    loader_batch batch;
    if (loader_start(b->loader, epoch, first_batch) != QUERN_OK) return -1;
    for (;; index++) {
        if (loader_next(b->loader, &batch) != QUERN_OK) return -1;
        CHECK(batch.index == index);
        if (batch.end) return count;
        CHECK(batch.first_position == index * BATCH);
        CHECK(batch.sample_count >= 1 && batch.sample_count <= BATCH);
        for (int64_t i = 0; i < batch.sample_count; i++) {
            const int32_t id = b->id[batch.slot][i];
            CHECK(b->x[batch.slot][2 * i] == (float)id);
            CHECK(b->x[batch.slot][2 * i + 1] == (float)(id * id));
            ids[count++] = id;
        }
        loader_release(b->loader, batch.slot);
    }
}

TEST_CASE(Loader, delivers_every_sample_once_per_epoch_for_any_worker_count) {
    static const int32_t workers[] = {0, 1, 2, 4};
    static int32_t first[4][3][100];
    for (int w = 0; w < 4; w++) {
        static bench b;
        bench_begin(&b, 99, false, &counting_type);
        b.desc.worker_count = workers[w];
        b.desc.shuffle = true;
        REQUIRE_OK(loader_create(&b.loader, &b.desc));
        CHECK(loader_batch_count(b.loader) == 13 && loader_can_restart(b.loader));
        for (int64_t e = 0; e < 3; e++) {
            bool seen[99] = {false};
            REQUIRE(run_epoch(&b, e, 0, first[w][e]) == 99);
            for (int i = 0; i < 99; i++) {
                const int32_t id = first[w][e][i];
                REQUIRE(id >= 0 && id < 99 && !seen[id]);
                seen[id] = true;
            }
            const sampler order = sampler_of_epoch(99, true, 77, e);
            for (int i = 0; i < 99; i++) CHECK(first[w][e][i] == sampler_index(&order, i));
        }
        CHECK(memcmp(first[w][0], first[w][1], sizeof first[w][0]) != 0);
        CHECK(memcmp(first[w], first[0], sizeof first[w]) == 0);
        bench_end(&b);
    }
}

TEST_CASE(Loader, starts_at_any_batch_of_any_epoch) {
    static const int32_t workers[] = {0, 2};
    for (int w = 0; w < 2; w++) {
        static bench b;
        int32_t whole[99], part[99];
        bench_begin(&b, 99, false, &counting_type);
        b.desc.worker_count = workers[w];
        b.desc.shuffle = true;
        REQUIRE_OK(loader_create(&b.loader, &b.desc));
        REQUIRE(run_epoch(&b, 5, 0, whole) == 99);
        for (int64_t first = 0; first <= 13; first++) {
            const int64_t left = first < 13 ? 99 - first * BATCH : 0;
            REQUIRE(run_epoch(&b, 5, first, part) == left);
            CHECK(memcmp(part, whole + first * BATCH * (left > 0), (size_t)left * 4) == 0);
        }
        CHECK_STATUS(loader_start(b.loader, 0, 14), QUERN_INVALID);
        CHECK_STATUS(loader_start(b.loader, -1, 0), QUERN_INVALID);
        bench_end(&b);
    }
}

TEST_CASE(Loader, last_batch_is_exact_or_left_out) {
    static bench b;
    int32_t ids[100];
    for (int drop = 0; drop < 2; drop++)
        for (int64_t length = 15; length <= 17; length++) {
            bench_begin(&b, length, false, &counting_type);
            b.desc.drop_last = drop;
            b.desc.worker_count = 2;
            REQUIRE_OK(loader_create(&b.loader, &b.desc));
            CHECK(run_epoch(&b, 0, 0, ids) == (drop ? length / BATCH * BATCH : length));
            for (int32_t i = 0; i < (drop ? BATCH : 15); i++) CHECK(ids[i] == i);
            bench_end(&b);
        }
}

TEST_CASE(Loader, a_batch_larger_than_the_set_is_the_set) {
    static bench b;
    int32_t ids[8];
    bench_begin(&b, 5, false, &counting_type);
    REQUIRE_OK(loader_create(&b.loader, &b.desc));
    CHECK(run_epoch(&b, 0, 0, ids) == 5 && loader_batch_count(b.loader) == 1);
    loader_destroy(b.loader);
    b.desc.drop_last = true;
    CHECK_STATUS(loader_create(&b.loader, &b.desc), QUERN_INPUT);
    CHECK_ERROR_HAS("'counting' has 5 samples, fewer than the batch size 8");
    CHECK(b.loader == NULL);
    bench_end(&b);
    bench_begin(&b, 0, false, &counting_type);
    CHECK_STATUS(loader_create(&b.loader, &b.desc), QUERN_INPUT);
    CHECK_ERROR_HAS("no samples");
    bench_end(&b);
}

TEST_CASE(Loader, a_failing_read_comes_in_its_place_with_its_sentence) {
    static const int32_t workers[] = {0, 1, 4};
    for (int w = 0; w < 3; w++) {
        static bench b;
        loader_batch batch;
        int32_t ids[40];
        bench_begin(&b, 40, false, &counting_type);
        b.desc.worker_count = workers[w];
        REQUIRE_OK(loader_create(&b.loader, &b.desc));
        for (int64_t k = 0; k < 40; k += 3) {
            atomic_store(&b.set.fail_at, k);
            REQUIRE_OK(loader_start(b.loader, 0, 0));
            for (int64_t i = 0; i < k / BATCH; i++) {
                REQUIRE_OK(loader_next(b.loader, &batch));
                loader_release(b.loader, batch.slot);
            }
            char sentence[100];
            CHECK_STATUS(loader_next(b.loader, &batch), QUERN_INPUT);
            snprintf(sentence, sizeof sentence, "dataset 'counting': sample %d: sector %d is gone",
                     (int)k, (int)k);
            CHECK_TEXT(quern_error(), sentence);
            CHECK_STATUS(loader_next(b.loader, &batch), QUERN_INPUT); /* it stays */
            CHECK_TEXT(quern_error(), sentence);
        }
        atomic_store(&b.set.fail_at, -1);
        CHECK(run_epoch(&b, 0, 0, ids) == 40); /* and a new start is a new start */
        bench_end(&b);
    }
}

TEST_CASE(Loader, a_label_out_of_range_names_the_sample) {
    static bench b;
    loader_batch batch;
    bench_begin(&b, 20, false, &counting_type);
    b.set.wrong_label = true;
    REQUIRE_OK(loader_create(&b.loader, &b.desc));
    REQUIRE_OK(loader_start(b.loader, 0, 0));
    CHECK_STATUS(loader_next(b.loader, &batch), QUERN_INPUT);
    CHECK_ERROR_HAS("counting: field 'id' of sample 5 is -1, expected 0 to 999999");
    bench_end(&b);
}

TEST_CASE(Loader, streams_end_whenever_they_end) {
    static const int32_t workers[] = {0, 1, 3};
    for (int w = 0; w < 3; w++)
        for (int64_t length = 0; length <= 25; length++)
            for (int drop = 0; drop < 2; drop++) {
                static bench b;
                int32_t ids[40];
                bench_begin(&b, length, true, &counting_type);
                b.desc.worker_count = workers[w];
                b.desc.shuffle = true; /* a stream keeps its order */
                b.desc.drop_last = drop;
                REQUIRE_OK(loader_create(&b.loader, &b.desc));
                CHECK(loader_batch_count(b.loader) == -1 && loader_can_restart(b.loader));
                for (int64_t first = 0; first < 3; first++) {
                    int64_t expected = drop ? length / BATCH * BATCH : length;
                    expected = expected > first * BATCH ? expected - first * BATCH : 0;
                    REQUIRE(run_epoch(&b, first, first, ids) == expected);
                    for (int32_t i = 0; i < expected; i++) CHECK(ids[i] == first * BATCH + i);
                }
                bench_end(&b);
            }
}

TEST_CASE(Loader, a_stream_that_cannot_rewind_starts_once) {
    static bench b;
    int32_t ids[40];
    bench_begin(&b, 20, true, &once_type);
    b.desc.worker_count = 2;
    REQUIRE_OK(loader_create(&b.loader, &b.desc));
    CHECK(!loader_can_restart(b.loader));
    CHECK(run_epoch(&b, 0, 0, ids) == 20);
    CHECK_STATUS(loader_start(b.loader, 1, 0), QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("'once' is a stream that cannot start again");
    bench_end(&b);
}

TEST_CASE(Loader, a_failing_stream_hands_its_sentence_over) {
    static bench b;
    loader_batch batch;
    bench_begin(&b, 30, true, &counting_type);
    b.desc.worker_count = 2;
    atomic_store(&b.set.fail_at, 11);
    REQUIRE_OK(loader_create(&b.loader, &b.desc));
    REQUIRE_OK(loader_start(b.loader, 0, 0));
    REQUIRE_OK(loader_next(b.loader, &batch));
    CHECK_STATUS(loader_next(b.loader, &batch), QUERN_INPUT);
    CHECK_ERROR_HAS("'counting': sample 11: sector 11 is gone");
    CHECK_STATUS(loader_start(b.loader, 0, 2), QUERN_INPUT); /* while skipping */
    bench_end(&b);
}

TEST_CASE(Loader, stops_and_is_destroyed_at_any_moment) {
    for (int round = 0; round < 40; round++) {
        static bench b;
        loader_batch batch;
        bench_begin(&b, 500, round % 2, &counting_type);
        b.set.slow = round % 4 > 1;
        b.desc.worker_count = 1 + round % 4;
        REQUIRE_OK(loader_create(&b.loader, &b.desc));
        for (int starts = 0; starts < round % 3 + 1; starts++) {
            REQUIRE_OK(loader_start(b.loader, starts, round % 3));
            for (int i = 0; i < round % 5; i++) {
                REQUIRE_OK(loader_next(b.loader, &batch));
                if (i % 2 == 0) loader_release(b.loader, batch.slot);
            }
        }
        if (round % 5 == 0) {
            loader_stop(b.loader);
            const int64_t reads = atomic_load(&b.set.reads);
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            CHECK(atomic_load(&b.set.reads) == reads);
            CHECK_STATUS(loader_next(b.loader, &batch), QUERN_INVALID);
        }
        bench_end(&b);
    }
}

TEST_CASE(Loader, says_when_every_slot_is_held) {
    static const int32_t workers[] = {0, 2};
    for (int w = 0; w < 2; w++) {
        static bench b;
        loader_batch batch;
        bench_begin(&b, 99, false, &counting_type);
        b.desc.worker_count = workers[w];
        REQUIRE_OK(loader_create(&b.loader, &b.desc));
        CHECK_STATUS(loader_next(b.loader, &batch), QUERN_INVALID);
        REQUIRE_OK(loader_start(b.loader, 0, 0));
        for (int i = 0; i < SLOTS; i++) REQUIRE_OK(loader_next(b.loader, &batch));
        CHECK_STATUS(loader_next(b.loader, &batch), QUERN_INVALID);
        CHECK_ERROR_HAS("all 3 slots");
        const int32_t last = 2;
        loader_release(b.loader, last);
        loader_release(b.loader, last); /* once is enough */
        loader_release(b.loader, 99);
        REQUIRE_OK(loader_next(b.loader, &batch));
        CHECK(batch.index == 3 && batch.slot == last);
        bench_end(&b);
    }
}

TEST_CASE(Loader, allocates_nothing_after_create) {
    static const int32_t workers[] = {0, 3};
    for (int w = 0; w < 2; w++) {
        static bench b;
        int32_t ids[99];
        bench_begin(&b, 99, false, &counting_type);
        b.desc.worker_count = workers[w];
        b.desc.shuffle = true;
        REQUIRE_OK(loader_create(&b.loader, &b.desc));
        const int64_t before = atomic_load(&b.faults.count[FAULT_ALLOCATE]);
        for (int64_t e = 0; e < 5; e++) CHECK(run_epoch(&b, e, 0, ids) == 99);
        REQUIRE_OK(loader_bind(b.loader, b.dataset));
        CHECK(run_epoch(&b, 0, 0, ids) == 99);
        CHECK(atomic_load(&b.faults.count[FAULT_ALLOCATE]) == before);
        bench_end(&b);
    }
}

TEST_CASE(Loader, every_failing_allocation_leaves_nothing_behind) {
    for (int64_t n = 1;; n++) {
        static bench b;
        bench_begin(&b, 99, false, &counting_type);
        const int64_t before = atomic_load(&b.faults.count[FAULT_ALLOCATE]);
        b.desc.worker_count = 2;
        b.faults.fault[FAULT_ALLOCATE] = (fault){.at = before + n};
        const quern_status status = loader_create(&b.loader, &b.desc);
        const bool fired = fault_host_fired(&b.faults, FAULT_ALLOCATE);
        CHECK_STATUS(status, fired ? QUERN_HOST_MEMORY : QUERN_OK);
        bench_end(&b);
        if (quern_test_failed() || !fired) {
            CHECK(n > 3);
            return;
        }
    }
}

TEST_CASE(Loader, says_what_does_not_match) {
    static bench b;
    quern_transform transforms[2] = {{.field = "x", .scale = 2}, {.field = "x"}};
    bench_begin(&b, 20, false, &counting_type);
    b.inputs[1].name = "label";
    CHECK_STATUS(loader_create(&b.loader, &b.desc), QUERN_SHAPE);
    CHECK_ERROR_HAS("input 'label' has no field in dataset 'counting', which has 'x', 'id'");
    b.inputs[1] = (loader_input){"id", QUERN_I32, 10};
    CHECK_STATUS(loader_create(&b.loader, &b.desc), QUERN_SHAPE);
    CHECK_ERROR_HAS("field 'id' has 1 elements per sample, input 'id' has 10");
    b.inputs[1] = (loader_input){"x", QUERN_I32, 2};
    CHECK_STATUS(loader_create(&b.loader, &b.desc), QUERN_SHAPE);
    CHECK_ERROR_HAS("field 'x' is F32 and cannot fill input 'x', which is I32");
    b.inputs[1] = (loader_input){"id", QUERN_I32, 1};
    b.desc.transforms = transforms;
    b.desc.transform_count = 2;
    CHECK_STATUS(loader_create(&b.loader, &b.desc), QUERN_INVALID);
    CHECK_ERROR_HAS("two transforms of field 'x'");
    transforms[1].field = "y";
    CHECK_STATUS(loader_create(&b.loader, &b.desc), QUERN_INVALID);
    CHECK_ERROR_HAS("a transform names field 'y', dataset 'counting' has 'x', 'id'");
    const struct {
        int64_t batch_size;
        int32_t workers, slots, inputs, transforms;
    } bad[] = {{0, 0, 1, 2, 0}, {8, -1, 1, 2, 0}, {8, 257, 1, 2, 0}, {8, 0, 0, 2, 0},
               {8, 0, 1, 0, 0}, {8, 0, 1, 17, 0}, {8, 0, 1, 2, 9}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        b.desc.batch_size = bad[i].batch_size;
        b.desc.worker_count = bad[i].workers;
        b.desc.slot_count = bad[i].slots;
        b.desc.input_count = bad[i].inputs;
        b.desc.transform_count = bad[i].transforms;
        CHECK_STATUS(loader_create(&b.loader, &b.desc), QUERN_INVALID);
        CHECK(b.loader == NULL);
    }
    bench_end(&b);
}

TEST_CASE(Loader, binds_another_set_later) {
    static bench b;
    int32_t ids[99];
    bench_begin(&b, 20, false, &counting_type);
    b.desc.dataset = NULL;
    b.desc.worker_count = 2;
    REQUIRE_OK(loader_create(&b.loader, &b.desc));
    CHECK(loader_batch_count(b.loader) == -1 && !loader_can_restart(b.loader));
    CHECK_STATUS(loader_start(b.loader, 0, 0), QUERN_INVALID);
    REQUIRE_OK(loader_bind(b.loader, b.dataset));
    CHECK(run_epoch(&b, 0, 0, ids) == 20);
    static float x[30][2];
    static uint8_t id[30];
    for (int i = 0; i < 30; i++) {
        x[i][0] = (float)i;
        x[i][1] = (float)(i * i);
        id[i] = (uint8_t)i;
    }
    quern_dataset *arrays = NULL;
    REQUIRE_OK(
        quern_dataset_arrays(&arrays, &b.device,
                             &(quern_arrays_desc){.length = 30,
                                                  .field_count = 2,
                                                  .fields = {{.name = "id", .dtype = QUERN_U8},
                                                             {.name = "x", .rank = 1, .dim = {2}}},
                                                  .data = {id, x}}));
    REQUIRE_OK(loader_bind(b.loader, arrays));
    CHECK(run_epoch(&b, 0, 0, ids) == 30);
    loader_destroy(b.loader);
    b.loader = NULL;
    quern_dataset_destroy(arrays);
    bench_end(&b);
}
