/* The application's own CUDA work beside the library's: kernels of an own op and an own update rule
 * on the stream that they are given, issued and captured; and its own streams, whose writes into a
 * batch the library waits for by an event. The device runs as late as CUDA allows, so that what
 * forgets to wait reads what was never written. */
#include "fake_device.h"
#include "quern_test.h"

#include "train/world.h"

#include <string.h>

/* to = 2 from, or to += it */
static void twice_run(dim3 grid, dim3 block, size_t shared_bytes, void **arguments) {
    (void)grid, (void)block, (void)shared_bytes;
    const float *from = *(const float **)arguments[0];
    float *to = *(float **)arguments[1];
    const int64_t count = *(const int64_t *)arguments[2];
    const bool add = *(const bool *)arguments[3];
    for (int64_t i = 0; i < count; i++) to[i] = (add ? to[i] : 0) + 2 * from[i];
}
static const fake_kernel twice = {FAKE_KERNEL_MAGIC,
                                  "twice",
                                  4,
                                  {sizeof(float *), sizeof(float *), sizeof(int64_t), sizeof(bool)},
                                  twice_run};

/* w -= 0.05 g where the update is applied */
static void descend_run(dim3 grid, dim3 block, size_t shared_bytes, void **arguments) {
    (void)grid, (void)block, (void)shared_bytes;
    const float *g = *(const float **)arguments[0];
    float *w = *(float **)arguments[1];
    const int64_t count = *(const int64_t *)arguments[2];
    const int32_t *applied = *(const int32_t **)arguments[3];
    for (int64_t i = 0; *applied && i < count; i++) w[i] -= 0.05f * g[i];
}
static const fake_kernel descend = {
    FAKE_KERNEL_MAGIC,
    "descend",
    4,
    {sizeof(float *), sizeof(float *), sizeof(int64_t), sizeof(int32_t *)},
    descend_run};

/* As an application launches: its own CUDA runtime and the stream's native handle. */
static quern_status launch(quern_stream *stream, const fake_kernel *kernel, void **arguments) {
    const dim3 one = {1, 1, 1};
    const cudaError_t code =
        cuda_driver.cudaLaunchKernel(kernel, one, one, arguments, 0, quern_stream_native(stream));
    return code == cudaSuccess ? QUERN_OK : quern_fail(QUERN_DEVICE_LOST, "%s", kernel->name);
}

static quern_status twice_launch(quern_stream *stream, const quern_view *from, const quern_view *to,
                                 bool add) {
    const void *source = from->data;
    void *target = to->data;
    int64_t count = to->count;
    return launch(stream, &twice, (void *[]){&source, &target, &count, &add});
}

static quern_status twice_forward(const quern_kernel_args *a) {
    return twice_launch(a->stream, &a->in[0], &a->out[0], false);
}

static quern_status twice_backward(const quern_kernel_args *a) {
    if (a->grad_in[0].data == NULL) return QUERN_OK;
    return twice_launch(a->stream, &a->grad_out[0], &a->grad_in[0], a->accumulate[0]);
}

static quern_status twice_shape(const quern_shape_args *args) {
    args->out[0] = args->in[0];
    return QUERN_OK;
}

static quern_status descend_update(const quern_kernel_args *a) {
    const quern_update *u = a->attributes;
    int64_t count = u->segments[u->segment_count - 1].start;
    count += u->segments[u->segment_count - 1].count;
    return launch(
        a->stream, &descend,
        (void *[]){(void *)&u->gradients, (void *)&u->parameters, &count, (void *)&u->applied});
}

static const quern_kernel twice_kernel = {.forward = twice_forward, .backward = twice_backward};
static const quern_op twice_op = {.name = "twice",
                                  .input_count = 1,
                                  .output_count = 1,
                                  .shape = twice_shape,
                                  .kernels = {[QUERN_BACKEND_CUDA] = &twice_kernel}};
static const quern_update_rule descend_rule = {.name = "descend",
                                               .update = {[QUERN_BACKEND_CUDA] = descend_update}};

typedef struct trial {
    bool own; /* op and rule; else the built-in ones that compute the same */
    bool no_capture;
    int64_t captures;
    float weights[WORLD_FEATURES * WORLD_HIDDEN];
} trial;

static quern_status trial_fit(trial *t, world *w) {
    quern_graph *graph = NULL;
    quern_status s = quern_graph_create(&graph, w->device, NULL);
    if (s != QUERN_OK) return s;
    quern_graph_destroy(w->graph);
    quern_graph *g = w->graph = graph;
    quern_tensor *h = quern_input(
        g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, WORLD_FEATURES}});
    h = quern_dense(g, h, &(quern_dense_desc){.units = WORLD_HIDDEN, .name = "fc1"});
    h = t->own ? quern_custom(g, &twice_op, &h, 1, NULL, NULL)
               : quern_scale(g, h, &(quern_scale_desc){2, 0});
    const quern_trainer_desc desc = {
        .graph = g,
        .loss = quern_softmax_cross_entropy(g, h, quern_labels(g, "label"), NULL),
        .train = w->train,
        .batch_size = 4,
        .no_capture = t->no_capture,
        .step_limit = 7,
        .optimizer = {.kind = t->own ? QUERN_OPTIMIZER_ADAMW : QUERN_OPTIMIZER_SGD,
                      .learning_rate = 0.05f,
                      .rule = t->own ? &descend_rule : NULL}};
    const int64_t before = fake.count[FAKE_cudaGraphLaunch];
    if ((s = quern_trainer_create(&w->trainer, &desc)) != QUERN_OK) return s;
    if ((s = quern_trainer_fit(w->trainer, NULL)) != QUERN_OK) return s;
    t->captures = fake.count[FAKE_cudaGraphLaunch] - before;
    return quern_parameters_read(quern_trainer_parameters(w->trainer),
                                 quern_tensor_find(g, "fc1.weight"), t->weights, sizeof t->weights);
}

TEST_CASE(FakeNative, an_own_op_and_rule_run_on_the_stream_issued_and_captured) {
    trial trials[] = {{.own = false}, {.own = true}, {.own = true, .no_capture = true}};
    for (int i = 0; i < 3; i++) {
        world w;
        REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .valid_length = -1}));
        CHECK_OK(trial_fit(&trials[i], &w));
        CHECK((trials[i].captures > 0) == !trials[i].no_capture);
        world_close(&w);
    }
    for (int i = 0; i < WORLD_FEATURES * WORLD_HIDDEN; i++)
        CHECK_NEAR((double)trials[1].weights[i], (double)trials[0].weights[i], 1e-6);
    CHECK(memcmp(trials[1].weights, trials[2].weights, sizeof trials[1].weights) == 0);
}

/* An application that makes its batches on the device, on a stream of its own. */
typedef struct producer {
    cudaStream_t stream;
    cudaEvent_t ready;
    float *x; /* device memory: a batch */
    int32_t *label;
    void *pinned;
} producer;

enum { BATCH = 4, X_BYTES = BATCH * WORLD_FEATURES * sizeof(float) };

static bool producer_begin(producer *p) {
    return cuda_driver.cudaStreamCreateWithFlags(&p->stream, cudaStreamNonBlocking) ==
               cudaSuccess &&
           cuda_driver.cudaEventCreateWithFlags(&p->ready, cudaEventDisableTiming) == cudaSuccess &&
           cuda_driver.cudaMalloc((void **)&p->x, X_BYTES) == cudaSuccess &&
           cuda_driver.cudaMalloc((void **)&p->label, BATCH * sizeof(int32_t)) == cudaSuccess;
}

static void producer_end(producer *p) {
    (void)cuda_driver.cudaFree(p->label);
    (void)cuda_driver.cudaFree(p->x);
    (void)cuda_driver.cudaEventDestroy(p->ready);
    (void)cuda_driver.cudaStreamDestroy(p->stream);
}

/* The copies are issued, and run when somebody makes them. */
static void produce(producer *p, const world *w, int first, void *x, void *label) {
    CHECK(cuda_driver.cudaMemcpyAsync(x, w->train_x[first], X_BYTES, cudaMemcpyDefault,
                                      p->stream) == cudaSuccess);
    CHECK(cuda_driver.cudaMemcpyAsync(label, &w->train_label[first], BATCH * sizeof(int32_t),
                                      cudaMemcpyDefault, p->stream) == cudaSuccess);
    CHECK(cuda_driver.cudaEventRecord(p->ready, p->stream) == cudaSuccess);
}

typedef enum way { WAY_HOST, WAY_DEVICE, WAY_INPUT, WAY_WITHOUT_READY, WAYS } way;

static quern_status way_step(world *w, producer *p, way how, int first) {
    quern_batch batch = {.sample_count = BATCH, .field_count = 2, .names = {"x", "label"}};
    batch.data[0] = w->train_x[first];
    batch.data[1] = &w->train_label[first];
    if (how == WAY_HOST) return quern_trainer_step(w->trainer, &batch);
    batch.ready = how == WAY_WITHOUT_READY ? NULL : p->ready;
    batch.on_device = true;
    batch.data[0] = how == WAY_INPUT ? NULL : p->x;
    batch.data[1] = how == WAY_INPUT ? NULL : p->label;
    void *x = how == WAY_INPUT ? quern_trainer_input(w->trainer, "x") : p->x;
    void *label = how == WAY_INPUT ? quern_trainer_input(w->trainer, "label") : p->label;
    produce(p, w, first, x, label);
    quern_status s = quern_trainer_step(w->trainer, &batch);
    return s == QUERN_OK ? quern_trainer_wait(w->trainer, NULL) : s; /* then p->x is free again */
}

TEST_CASE(FakeNative, a_batch_of_the_applications_stream_is_waited_for_by_its_event) {
    float weights[WAYS][256] = {{0}};
    for (int how = 0; how < WAYS; how++) {
        world w;
        producer p = {0};
        fake.schedule = FAKE_LATE;
        REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .valid_length = -1}));
        w.desc.train = NULL;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        REQUIRE(producer_begin(&p));
        quern_status s = QUERN_OK;
        const int steps = how == WAY_WITHOUT_READY ? 1 : 5;
        for (int i = 0; i < steps && s == QUERN_OK; i++) s = way_step(&w, &p, (way)how, i);
        if (how == WAY_WITHOUT_READY) /* the double sees that nobody waited */
            CHECK(s == QUERN_NOT_FINITE || s == QUERN_INPUT);
        else
            CHECK_OK(s);
        if (how != WAY_WITHOUT_READY) CHECK(world_weights(&w, weights[how], 256) > 50);
        world_close(&w);
        producer_end(&p);
    }
    CHECK(memcmp(weights[WAY_HOST], weights[WAY_DEVICE], sizeof weights[0]) == 0);
    CHECK(memcmp(weights[WAY_HOST], weights[WAY_INPUT], sizeof weights[0]) == 0);
}

TEST_CASE(FakeNative, a_programs_input_is_waited_for_by_an_event) {
    world w;
    producer p = {0};
    quern_parameters *values = NULL;
    quern_program *program = NULL;
    float logits[2][BATCH * WORLD_CLASSES];
    fake.schedule = FAKE_LATE;
    REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .valid_length = -1}));
    REQUIRE(producer_begin(&p));
    CHECK_OK(quern_parameters_create(&values, w.graph, NULL));
    CHECK_OK(quern_program_create(&program, &(quern_program_desc){.graph = w.graph,
                                                                  .parameters = values,
                                                                  .batch_size = BATCH,
                                                                  .outputs = &w.logits,
                                                                  .output_count = 1}));
    for (int own = 0; own < 2; own++) {
        if (own) {
            produce(&p, &w, 3, quern_program_input(program, w.x), p.label);
            CHECK_OK(quern_program_wait_event(program, p.ready));
        } else {
            CHECK_OK(quern_program_write(program, w.x, w.train_x[3], X_BYTES));
        }
        CHECK_OK(quern_program_forward(program, 0));
        CHECK_OK(quern_program_read(program, w.logits, logits[own], sizeof logits[own]));
        if (!own) CHECK_OK(quern_program_write(program, w.x, w.train_x[7], X_BYTES));
    }
    CHECK(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
    quern_program_destroy(program);
    quern_parameters_destroy(values);
    producer_end(&p);
    world_close(&w);
}

/* The next wait of a stream for an event fails. */
static void refuse_event(cudaError_t code) {
    fake.fault[FAKE_cudaStreamWaitEvent] =
        (fake_fault){.at = fake.count[FAKE_cudaStreamWaitEvent] + 1, .code = code};
}

/* Steps of a trainer, of which each but the first is first tried with an event that is refused. */
static void refused_steps(world *w, producer *p, cudaError_t code) {
    for (int i = 0; i < 3; i++) {
        if (i > 0) {
            refuse_event(code);
            CHECK_STATUS(way_step(w, p, WAY_DEVICE, i), QUERN_INVALID);
            CHECK_ERROR_HAS("the application's event");
            CHECK_ERROR_HAS("cudaStreamWaitEvent failed with");
        }
        CHECK_OK(way_step(w, p, WAY_DEVICE, i));
    }
}

TEST_CASE(FakeNative, an_event_that_cuda_refuses_is_invalid_and_the_next_step_is_made) {
    static const cudaError_t codes[] = {cudaSuccess, cudaErrorInvalidResourceHandle,
                                        cudaErrorCapturedEvent, cudaErrorInvalidValue};
    float weights[4][256] = {{0}};
    for (int i = 0; i < 4; i++) {
        world w;
        producer p = {0};
        REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .valid_length = -1}));
        fake.schedule = FAKE_LATE;
        w.desc.train = NULL;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        REQUIRE(producer_begin(&p));
        if (codes[i] != cudaSuccess)
            refused_steps(&w, &p, codes[i]);
        else
            for (int k = 0; k < 3; k++) CHECK_OK(way_step(&w, &p, WAY_DEVICE, k));
        CHECK(world_weights(&w, weights[i], 256) > 50);
        CHECK(memcmp(weights[i], weights[0], sizeof weights[0]) == 0);
        world_close(&w);
        producer_end(&p);
    }
}

TEST_CASE(FakeNative, an_event_behind_which_the_device_was_lost_loses_it) {
    world w;
    producer p = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .valid_length = -1}));
    w.desc.train = NULL;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE(producer_begin(&p));
    refuse_event(cudaErrorIllegalAddress);
    CHECK_STATUS(way_step(&w, &p, WAY_DEVICE, 0), QUERN_DEVICE_LOST);
    CHECK_ERROR_HAS("waiting for an event of the application");
    CHECK_STATUS(quern_trainer_wait(w.trainer, NULL), QUERN_DEVICE_LOST);
    world_close(&w);
    producer_end(&p);
    CHECK_TEXT(fake.misuse, "");
    fake_begin();
}

TEST_CASE(FakeNative, the_cpu_has_no_such_events) {
    world w;
    int something;
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    w.desc.train = NULL;
    CHECK(quern_stream_native(NULL) == NULL);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_STATUS(quern_trainer_step(w.trainer, &(quern_batch){.sample_count = BATCH,
                                                              .field_count = 2,
                                                              .names = {"x", "label"},
                                                              .data = {w.train_x, w.train_label},
                                                              .ready = &something}),
                 QUERN_INVALID);
    CHECK_ERROR_HAS("event");
    world_close(&w);
}
