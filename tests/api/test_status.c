/* Every code of QUERN_STATUS_LIST, provoked through the library: each comes with its own sentence
 * and its exit code. A code without a row here does not build.
 *
 * PEER_LOST has none yet: it says that another rank is gone, and the library has no ranks, as
 * there are no collectives; nothing in src returns it. */
#include "quern_test.h"
#include "host/device/device.h"
#include "host/graph/program.h"
#include "support/fault_host.h"
#include <quern/quern.h>

#include <math.h>

typedef struct world {
    quern_device *device;
    quern_graph *graph;
    quern_tensor *x, *target, *loss;
    quern_parameters *parameters;
    quern_program *program;
    quern_optimizer *optimizer;
    quern_backend backend; /* what the device's table is replaced by */
} world;

/* x (B, 3) -> dense (2) -> cross-entropy, on one thread. */
static void world_open(world *w) {
    *w = (world){0};
    REQUIRE_OK(quern_device_create(
        &w->device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 1}));
    w->backend = *w->device->backend;
    REQUIRE_OK(quern_graph_create(&w->graph, w->device, NULL));
    w->x = quern_input(w->graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 3}});
    w->target = quern_labels(w->graph, "target");
    quern_tensor *y = quern_dense(w->graph, w->x, &(quern_dense_desc){.units = 2});
    w->loss = quern_softmax_cross_entropy(w->graph, y, w->target, NULL);
}

static void world_close(world *w) {
    w->device->backend = &quern_backend_cpu;
    quern_optimizer_destroy(w->optimizer);
    quern_program_destroy(w->program);
    quern_parameters_destroy(w->parameters);
    quern_graph_destroy(w->graph);
    quern_device_destroy(w->device);
}

static quern_status make_parameters(world *w) {
    return quern_parameters_create(&w->parameters, w->graph,
                                   &(quern_parameters_desc){.gradients = true});
}

static quern_status make_program(world *w) {
    const quern_status status = make_parameters(w);
    if (status != QUERN_OK) return status;
    return quern_program_create(&w->program, &(quern_program_desc){.graph = w->graph,
                                                                   .parameters = w->parameters,
                                                                   .batch_size = 2,
                                                                   .training = true,
                                                                   .loss = w->loss});
}

/* One forward pass; the failure of its work comes with the loss. */
static quern_status run(world *w, const float *x, const int32_t *target) {
    float loss;
    quern_status status = make_program(w);
    if (status == QUERN_OK) status = quern_program_write(w->program, w->x, x, 24);
    if (status == QUERN_OK) status = quern_program_write(w->program, w->target, target, 8);
    if (status == QUERN_OK) status = quern_program_forward(w->program, 0);
    return status == QUERN_OK ? quern_program_read(w->program, w->loss, &loss, 4) : status;
}

static const float numbers[6] = {1, 2, 3, 4, 5, 6};
static const int32_t classes[2] = {0, 1};

static quern_status provoke_OK(world *w) { return run(w, numbers, classes); }

static quern_status provoke_INVALID(world *w) {
    (void)quern_input(w->graph, NULL);
    return quern_graph_status(w->graph);
}

static quern_status provoke_SHAPE(world *w) {
    (void)quern_matmul(w->graph, w->x, w->x, NULL); /* (B, 3) by (B, 3) */
    return quern_graph_status(w->graph);
}

static quern_status provoke_UNSUPPORTED(world *w) {
    quern_graph *graph = NULL;
    return quern_graph_create(&graph, w->device, &(quern_graph_desc){.dtype = QUERN_BF16});
}

static quern_status provoke_INPUT(world *w) {
    return run(w, numbers, (const int32_t[]){0, 2}); /* two classes: 0 and 1 */
}

static quern_status provoke_IO(world *w) {
    const quern_status status = make_parameters(w);
    if (status != QUERN_OK) return status;
    return quern_safetensors_save("/nowhere/at/all.safetensors", w->graph, w->parameters, NULL, 0);
}

static quern_status provoke_HOST_MEMORY(world *w) {
    (void)w;
    fault_host faults;
    quern_device *device = NULL;
    fault_host_begin(&faults, NULL);
    faults.fault[FAULT_ALLOCATE] = (fault){.at = 2};
    return quern_device_create(&device,
                               &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .host = faults.host});
}

static quern_status allocate_nothing(backend_device *device, void **out, size_t bytes) {
    (void)device;
    *out = NULL;
    return quern_fail(QUERN_DEVICE_MEMORY, "%zu bytes are more than the device has left", bytes);
}

static quern_status provoke_DEVICE_MEMORY(world *w) {
    w->backend.allocate = allocate_nothing;
    w->device->backend = &w->backend;
    return make_parameters(w);
}

static quern_status driver_is_gone(const quern_kernel_args *args) {
    (void)args;
    return quern_fail(QUERN_DEVICE_LOST, "the driver reports an uncorrectable error");
}

static quern_status call_lost(quern_stream *stream, quern_kernel_function function,
                              const quern_kernel_args *args) {
    (void)function;
    return quern_backend_cpu.call(stream, driver_is_gone, args);
}

/* As a driver does it: issuing succeeds, and the loss shows at the next wait. */
static quern_status provoke_DEVICE_LOST(world *w) {
    w->backend.call = call_lost;
    w->device->backend = &w->backend;
    return run(w, numbers, classes);
}

static quern_status provoke_NOT_FINITE(world *w) {
    const float with_nan[6] = {1, 2, NAN, 4, 5, 6};
    quern_status status = run(w, with_nan, classes);
    if (status == QUERN_OK) status = quern_program_backward(w->program, false);
    if (status == QUERN_OK) status = quern_optimizer_create(&w->optimizer, w->parameters, NULL);
    if (status == QUERN_OK) status = quern_optimizer_update(w->optimizer);
    return status == QUERN_OK ? quern_optimizer_wait(w->optimizer) : status;
}

static quern_status provoke_NO_DEVICE(world *w) {
    (void)w;
    quern_device *device = NULL;
    return quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .index = 7});
}

static quern_action fail_at_once(void *self, const quern_event *event) {
    (void)self, (void)event;
    return QUERN_FAIL;
}

static quern_status provoke_CALLBACK(world *w) {
    quern_dataset *set = NULL;
    quern_trainer *trainer = NULL;
    const quern_callback callback = {.name = "refusal", .fit_begin = fail_at_once};
    quern_status status = quern_dataset_arrays(
        &set, w->device,
        &(quern_arrays_desc){.length = 2,
                             .field_count = 2,
                             .fields = {{.name = "x", .rank = 1, .dim = {3}},
                                        {.name = "target", .dtype = QUERN_I32}},
                             .data = {numbers, classes}});
    if (status == QUERN_OK)
        status = quern_trainer_create(&trainer, &(quern_trainer_desc){.graph = w->graph,
                                                                      .loss = w->loss,
                                                                      .train = set,
                                                                      .callbacks = &callback,
                                                                      .callback_count = 1});
    if (status == QUERN_OK) status = quern_trainer_fit(trainer, NULL);
    quern_trainer_destroy(trainer);
    quern_dataset_destroy(set);
    return status;
}

/* An invariant of the library, so only its own functions can break it. */
static quern_status provoke_INTERNAL(world *w) {
    quern_program *program = NULL;
    quern_status status = make_parameters(w);
    const quern_program_desc desc = {
        .graph = w->graph, .parameters = w->parameters, .batch_size = 2, .loss = w->loss};
    if (status == QUERN_OK) status = program_plan(&program, &desc, false);
    if (status == QUERN_OK) status = program_bind(program, NULL, NULL, NULL);
    quern_program_destroy(program);
    return status;
}

#define provoke_PEER_LOST NULL /* see above */

TEST_CASE(Status, every_code_is_returned_by_something_with_its_sentence) {
#define X(name, exit_code, text) {provoke_##name, QUERN_##name, exit_code, #name},
    static const struct {
        quern_status (*provoke)(world *w);
        quern_status expected;
        int exit_code;
        const char *name;
    } rows[QUERN_STATUS_COUNT] = {QUERN_STATUS_LIST(X)};
#undef X
    for (int i = 0; i < QUERN_STATUS_COUNT; i++) {
        if (!rows[i].provoke) continue;
        world w;
        world_open(&w);
        REQUIRE_OK(quern_graph_status(w.graph));
        (void)quern_fail(QUERN_OK, "%s", "");
        const quern_status found = rows[i].provoke(&w);
        CHECK_SAY(found == rows[i].expected, "%s: found %s, %s", rows[i].name,
                  quern_status_name(found), quern_error());
        CHECK_SAY((quern_error()[0] != 0) == (i != QUERN_OK), "%s: sentence \"%s\"", rows[i].name,
                  quern_error());
        CHECK(quern_status_exit_code(found) == rows[i].exit_code);
        world_close(&w);
    }
}

/* The next pass over the same program; backward too, whose kernels must not trust the forward. */
static quern_status pass(world *w, const int32_t *target) {
    float loss;
    quern_status status = quern_program_write(w->program, w->target, target, 8);
    if (status == QUERN_OK) status = quern_program_forward(w->program, 1);
    if (status == QUERN_OK) status = quern_program_backward(w->program, false);
    return status == QUERN_OK ? quern_program_read(w->program, w->loss, &loss, 4) : status;
}

TEST_CASE(Status, a_bad_batch_fails_its_own_step_and_nothing_after_it) {
    world w;
    world_open(&w);
    CHECK_STATUS(provoke_INPUT(&w), QUERN_INPUT);
    CHECK_ERROR_HAS("target 2 at row 1 is outside [0, 2)");
    /* over the bad targets: nothing is written outside, whatever is returned */
    const quern_status ran = quern_program_backward(w.program, false);
    const quern_status waited = w.device->backend->stream_wait(w.device->stream);
    (void)ran, (void)waited;
    for (int i = 0; i < 2; i++) {
        (void)quern_fail(QUERN_OK, "another sentence of this thread");
        CHECK_STATUS(pass(&w, (const int32_t[]){-1, 0}), QUERN_INPUT);
        CHECK_ERROR_HAS("target -1 at row 0");
        CHECK_STATUS(pass(&w, classes), QUERN_OK);
    }
    world_close(&w);
}
