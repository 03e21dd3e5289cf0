/* The desc: defaults, refusals with a sentence, and memory said before it is taken. */
#include "quern_test.h"
#include "support/fault_host.h"
#include "world.h"

#include "../../src/host/device/device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

TEST_CASE(Resolve, defaults_are_filled_in) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc = (quern_trainer_desc){.graph = w.graph, .loss = w.loss, .train = w.train};
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    const quern_trainer_desc *d = quern_trainer_resolved(w.trainer);
    CHECK(d->batch_size == 64 && d->epoch_count == 1 && d->log_every == 50);
    CHECK(d->run_ahead == 2 && d->prefetch == 0 && d->step_limit == 0);
    CHECK(d->loss_weight == quern_loss_weight(w.loss));
    CHECK(d->optimizer.kind == QUERN_OPTIMIZER_ADAMW);
    CHECK(d->optimizer.learning_rate == 1e-3 && d->optimizer.beta1 == 0.9);
    CHECK(quern_trainer_planned_steps(w.trainer) == 1);
    CHECK(quern_trainer_device_name(w.trainer)[0] != 0);
    world_close(&w);
}

/* What resolved points to outlives the caller's arrays. */
TEST_CASE(Resolve, lists_are_copied) {
    world w;
    char name[] = "accuracy";
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    quern_metric metrics[] = {w.metrics[0]};
    metrics[0].name = name;
    w.desc.metrics = metrics;
    w.desc.metric_count = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    memset(metrics, 0, sizeof metrics);
    memset(name, 'z', sizeof name - 1);
    CHECK_TEXT(quern_trainer_resolved(w.trainer)->metrics[0].name, "accuracy");
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    world_close(&w);
}

static void check_refused(const quern_trainer_desc *desc, quern_status status, const char *part) {
    quern_trainer *t = (quern_trainer *)1;
    quern_memory memory;
    CHECK_STATUS(quern_trainer_create(&t, desc), status);
    CHECK(t == NULL);
    CHECK_ERROR_HAS(part);
    CHECK_STATUS(quern_trainer_memory(&memory, desc), status);
    CHECK_ERROR_HAS(part);
}

TEST_CASE(Resolve, numbers_out_of_range_are_refused) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
#define REFUSE(field, value, part)                                                                 \
    do {                                                                                           \
        quern_trainer_desc desc = w.desc;                                                          \
        desc.field = (value);                                                                      \
        check_refused(&desc, QUERN_INVALID, part);                                                 \
    } while (0)
    REFUSE(batch_size, -1, "batch_size is -1");
    REFUSE(worker_count, -2, "worker_count is -2");
    REFUSE(run_ahead, 129, "run_ahead is 129, not 0 … 128");
    REFUSE(epoch_count, -1, "epoch_count is -1");
    REFUSE(step_limit, -1, "step_limit is -1");
    REFUSE(log_every, -5, "log_every is -5");
    REFUSE(prefetch, 3, "prefetch is set but worker_count is 0");
    REFUSE(metric_count, 100, "metric_count is 100");
    REFUSE(metrics, NULL, "metrics is NULL");
    REFUSE(outputs, NULL, "outputs is NULL");
    REFUSE(callback_count, 1, "callbacks is NULL");
    REFUSE(transform_count, 1, "transforms is NULL");
    REFUSE(graph, NULL, "graph is NULL");
    REFUSE(loss, NULL, "loss is NULL");
    REFUSE(optimizer.learning_rate, NAN, "learning_rate");
    REFUSE(optimizer.learning_rate, -1, "learning_rate");
    REFUSE(optimizer.momentum, 0.9f, "adamw does not read momentum");
#undef REFUSE
    world_close(&w);
}

TEST_CASE(Resolve, fields_that_nothing_reads_are_refused) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.train = w.desc.valid = NULL;
    quern_trainer_desc desc = w.desc;
    desc.drop_last = true;
    check_refused(&desc, QUERN_INVALID, "drop_last is set without a training set");
    desc = w.desc;
    desc.no_shuffle = true;
    check_refused(&desc, QUERN_INVALID, "no_shuffle is set without a training set");
    desc = w.desc;
    desc.epoch_count = 2;
    check_refused(&desc, QUERN_INVALID, "epoch_count is set without a training set");
    world_close(&w);
}

TEST_CASE(Resolve, tensors_that_do_not_fit_are_refused) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    quern_trainer_desc desc = w.desc;
    desc.loss = w.logits;
    check_refused(&desc, QUERN_SHAPE, "loss is (B, 3), not a scalar ()");
    desc = w.desc;
    desc.loss_weight = w.logits;
    check_refused(&desc, QUERN_SHAPE, "loss_weight is (B, 3)");
    quern_metric bad[2] = {{.name = "bad", .value = w.logits}, w.metrics[0]};
    desc = w.desc;
    desc.metrics = bad;
    check_refused(&desc, QUERN_SHAPE, "the value of metric bad is (B, 3)");
    bad[0].kind = QUERN_METRIC_CONFUSION;
    check_refused(&desc, QUERN_SHAPE, "not (C, C)");
    bad[0] = w.metrics[0];
    check_refused(&desc, QUERN_INVALID, "two metrics are named accuracy");
    bad[0].name = "loss";
    check_refused(&desc, QUERN_INVALID, "a metric cannot be named loss");
    bad[0].name = NULL;
    check_refused(&desc, QUERN_INVALID, "a metric has no name");
    bad[0] = w.metrics[1];
    bad[0].weight = w.loss;
    check_refused(&desc, QUERN_INVALID, "does not read weight");
    world_close(&w);
}

TEST_CASE(Resolve, a_failed_builder_is_returned_by_create) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    CHECK(quern_add(w.graph, w.x, w.logits) == NULL);
    check_refused(&w.desc, QUERN_SHAPE, "add");
    world_close(&w);
}

TEST_CASE(Resolve, a_loss_that_depends_on_no_parameter_is_refused) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.loss = quern_mse(w.graph, w.x, w.x);
    w.desc.loss_weight = NULL;
    quern_trainer *t = NULL;
    CHECK_STATUS(quern_trainer_create(&t, &w.desc), QUERN_INVALID);
    CHECK(t == NULL);
    world_close(&w);
}

TEST_CASE(Resolve, datasets_that_do_not_fit_are_refused) {
    world w;
    quern_dataset *narrow = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(
        quern_dataset_arrays(&narrow, w.device,
                             &(quern_arrays_desc){.length = 4,
                                                  .field_count = 2,
                                                  .fields = {{.name = "x", .rank = 1, .dim = {3}},
                                                             {.name = "label", .dtype = QUERN_I32}},
                                                  .data = {w.valid_x, w.valid_label}}));
    quern_trainer_desc desc = w.desc;
    quern_trainer *t = NULL;
    desc.valid = narrow;
    CHECK_STATUS(quern_trainer_create(&t, &desc), QUERN_SHAPE);
    CHECK_ERROR_HAS("x");
    desc = w.desc;
    desc.batch_size = 11;
    desc.drop_last = true;
    CHECK_STATUS(quern_trainer_create(&t, &desc), QUERN_INPUT);
    CHECK(t == NULL);
    quern_dataset_destroy(narrow);
    world_close(&w);
}

/* A backend that counts its device memory. */
static struct { size_t live, peak, refuse_at; } counted;

static quern_status counted_allocate(backend_device *device, void **out, size_t bytes) {
    if (counted.refuse_at && counted.live + bytes > counted.refuse_at)
        return quern_fail(QUERN_DEVICE_MEMORY, "%zu bytes of device memory are not there", bytes);
    const quern_status s = quern_backend_cpu.allocate(device, out, bytes);
    if (s == QUERN_OK) counted.live += bytes;
    if (counted.live > counted.peak) counted.peak = counted.live;
    return s;
}

static void counted_release(backend_device *device, void *pointer, size_t bytes) {
    counted.live -= bytes;
    quern_backend_cpu.release(device, pointer, bytes);
}

static quern_backend counted_backend(size_t refuse_at) {
    quern_backend b = quern_backend_cpu;
    memset(&counted, 0, sizeof counted);
    counted.refuse_at = refuse_at;
    b.allocate = counted_allocate;
    b.release = counted_release;
    return b;
}

TEST_CASE(Resolve, memory_is_exactly_what_is_allocated) {
    const quern_optimizer_kind kinds[] = {QUERN_OPTIMIZER_ADAMW, QUERN_OPTIMIZER_SGD,
                                          QUERN_OPTIMIZER_LION};
    for (int i = 0; i < 6; i++) {
        world w;
        quern_memory memory;
        quern_result r;
        const quern_backend backend = counted_backend(0);
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 21, .batch_size = 8}));
        w.device->backend = &backend;
        w.desc.optimizer.kind = kinds[i % 3];
        if (i >= 3)
            w.desc.optimizer.schedule =
                (quern_schedule){.kind = QUERN_SCHEDULE_COSINE, .total = 100000};
        if (i == 4) w.desc.valid = NULL;
        if (i == 5) w.desc.metric_count = 0;
        REQUIRE_OK(quern_trainer_memory(&memory, &w.desc));
        CHECK(counted.peak == 0);
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
        CHECK_SAY(counted.peak == memory.peak_bytes, "case %d: planned %zu, allocated %zu", i,
                  memory.peak_bytes, counted.peak);
        CHECK(counted.live == counted.peak && r.peak_bytes == memory.peak_bytes);
        quern_trainer_destroy(w.trainer);
        w.trainer = NULL;
        CHECK(counted.live == 0);
        world_close(&w);
    }
}

TEST_CASE(Resolve, too_little_device_memory_is_said_with_the_plan) {
    world w;
    quern_memory memory;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 64, .batch_size = 64}));
    REQUIRE_OK(quern_trainer_memory(&memory, &w.desc));
    const quern_backend backend = counted_backend(memory.peak_bytes - 1);
    w.device->backend = &backend;
    quern_trainer *t = NULL;
    CHECK_STATUS(quern_trainer_create(&t, &w.desc), QUERN_DEVICE_MEMORY);
    CHECK_ERROR_HAS("the trainer needs ");
    CHECK_ERROR_HAS("with a batch of 64");
    CHECK(t == NULL && counted.live == 0);
    world_close(&w);
}

static quern_status small_info(backend_device *device, quern_device_info *out) {
    const quern_status s = quern_backend_cpu.info(device, out);
    out->memory_free_bytes = (int64_t)counted.refuse_at;
    return s;
}

/* The batch that the sentence advises does fit, and one more does not. */
TEST_CASE(Resolve, the_largest_batch_that_fits_is_told) {
    world w;
    quern_memory memory;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 64, .valid_length = -1}));
    w.desc.batch_size = 20;
    REQUIRE_OK(quern_trainer_memory(&memory, &w.desc));
    quern_backend backend = counted_backend(memory.peak_bytes);
    backend.info = small_info;
    w.device->backend = &backend;
    w.desc.batch_size = 64;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_DEVICE_MEMORY);
    const char *told = strstr(quern_error(), "; a batch of ");
    REQUIRE(told != NULL);
    const int64_t fits = strtoll(told + strlen("; a batch of "), NULL, 10);
    CHECK(fits >= 20 && fits < 64);
    w.desc.batch_size = fits + 1;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_DEVICE_MEMORY);
    w.desc.batch_size = fits;
    CHECK_OK(quern_trainer_create(&w.trainer, &w.desc));
    world_close(&w);
}

/* Validation needs no gradients or optimizer, and no memory beyond training's. */
TEST_CASE(Resolve, validation_adds_no_activation_memory) {
    world w;
    quern_memory with, without;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 64, .batch_size = 16}));
    REQUIRE_OK(quern_trainer_memory(&with, &w.desc));
    w.desc.valid = NULL;
    REQUIRE_OK(quern_trainer_memory(&without, &w.desc));
    CHECK(with.activation_bytes == without.activation_bytes);
    CHECK(with.gradient_bytes == without.gradient_bytes);
    CHECK(with.peak_bytes == without.peak_bytes);
    world_close(&w);
}
