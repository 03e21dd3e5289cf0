/* Training on a CUDA device, through the public interface: what must not change a bit, what
 * follows the CPU, what is said of bad data. The same executable runs on a GPU, and, in every
 * build with the CUDA module, on the fake device with the module's own kernels. Without a device
 * its tests are skipped; with QUERN_REQUIRE_GPU=1 that is a failure. */
#include "gpu_device.h"
#include "quern_test.h"

#include "host/device/device.h"
#include "kernels/tolerances.h"
#include "train/world.h"

#include <string.h>

typedef struct run {
    float weights[256];
    int64_t weight_count;
    quern_result result;
} run;

static quern_status fit(const world_desc *wd, const quern_trainer_desc *change, run *out) {
    world w;
    memset(out, 0, sizeof *out);
    quern_status s = world_open(&w, wd);
    if (s != QUERN_OK) return s;
    w.desc.epoch_count = 3;
    w.desc.step_limit = change->step_limit;
    w.desc.accumulate = change->accumulate;
    w.desc.no_capture = change->no_capture;
    w.desc.no_fusion = change->no_fusion;
    w.desc.worker_count = change->worker_count;
    w.desc.run_ahead = change->run_ahead;
    w.desc.log_every = change->log_every;
    w.desc.resident = change->resident;
    w.desc.steps_per_launch = change->steps_per_launch;
    w.desc.precision = change->precision;
    w.desc.stochastic_rounding = change->stochastic_rounding;
    if (change->optimizer.learning_rate != 0) w.desc.optimizer = change->optimizer;
    s = quern_trainer_create(&w.trainer, &w.desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, &out->result);
    if (s == QUERN_OK) out->weight_count = world_weights(&w, out->weights, 256);
    world_close(&w);
    return s;
}

static const world_desc on_cuda = {
    .cuda = true, .train_length = 58, .valid_length = 10, .dropout = true};
static const quern_trainer_desc defaults = {0};

#define NEEDS_DEVICE                                                                               \
    if (!gpu_has_device()) return

static void check_same(const quern_trainer_desc *change) {
    run first, second;
    REQUIRE_OK(fit(&on_cuda, &defaults, &first));
    REQUIRE_OK(fit(&on_cuda, change, &second));
    CHECK(first.weight_count > 50 && first.weight_count == second.weight_count);
    CHECK(memcmp(first.weights, second.weights, sizeof first.weights) == 0);
    CHECK(first.result.valid_loss == second.result.valid_loss);
    CHECK(first.result.step == 45 && second.result.step == 45);
}

TEST_CASE(GpuTraining, a_captured_step_is_the_eager_step_bit_for_bit) {
    NEEDS_DEVICE;
    check_same(&(quern_trainer_desc){.no_capture = true});
}

TEST_CASE(GpuTraining, repeated_runs_give_the_same_bits) {
    NEEDS_DEVICE;
    for (int i = 0; i < 3; i++) check_same(&defaults);
}

TEST_CASE(GpuTraining, loader_threads_and_run_ahead_change_nothing) {
    NEEDS_DEVICE;
    check_same(&(quern_trainer_desc){.worker_count = 2});
    check_same(&(quern_trainer_desc){.run_ahead = 1});
    check_same(&(quern_trainer_desc){.run_ahead = 8});
    check_same(&(quern_trainer_desc){.run_ahead = 127});
}

TEST_CASE(GpuTraining, data_on_the_device_and_several_steps_a_launch_change_nothing) {
    NEEDS_DEVICE;
    check_same(&(quern_trainer_desc){.resident = QUERN_RESIDENT_OFF});
    check_same(&(quern_trainer_desc){.resident = QUERN_RESIDENT_ON, .steps_per_launch = 1});
    check_same(&(quern_trainer_desc){.resident = QUERN_RESIDENT_ON, .steps_per_launch = 4});
    check_same(&(quern_trainer_desc){.resident = QUERN_RESIDENT_ON, .log_every = 3});
}

/* In parts, each issued; in parts, each a launch; whole; several at once. */
TEST_CASE(GpuTraining, a_window_recorded_whole_is_the_window_in_parts_bit_for_bit) {
    NEEDS_DEVICE;
    const quern_trainer_desc ways[] = {
        {.accumulate = 3, .no_capture = true},
        {.accumulate = 3, .resident = QUERN_RESIDENT_OFF},
        {.accumulate = 3, .resident = QUERN_RESIDENT_ON, .steps_per_launch = 1},
        {.accumulate = 3, .resident = QUERN_RESIDENT_ON, .steps_per_launch = 4}};
    run first, other;
    REQUIRE_OK(fit(&on_cuda, &ways[0], &first));
    CHECK(first.result.step == 15 && first.weight_count > 50);
    for (size_t i = 1; i < sizeof ways / sizeof *ways; i++) {
        REQUIRE_OK(fit(&on_cuda, &ways[i], &other));
        CHECK_SAY(memcmp(first.weights, other.weights, sizeof first.weights) == 0, "way %d",
                  (int)i);
        CHECK(other.result.step == 15 && other.result.valid_loss == first.result.valid_loss);
    }
}

enum { LONG_STEPS = 300, LONG_SAMPLES = 4 * LONG_STEPS + 16, LOGS = 3 };

/* The device's count at each log. */
typedef struct waits {
    const quern_device *device;
    int64_t at[LOGS];
    int count;
} waits;

static quern_action note_waits(void *self, const quern_event *event) {
    waits *n = self;
    if (n->count < LOGS && event->step == 100 * (n->count + 1))
        n->at[n->count++] = device_host_waits(n->device);
    return QUERN_CONTINUE;
}

static quern_status fit_long(quern_resident resident, waits *out, quern_result *result) {
    static float x[LONG_SAMPLES][WORLD_FEATURES];
    static int32_t label[LONG_SAMPLES];
    world w;
    quern_dataset *set = NULL;
    quern_status s = world_open(&w, &on_cuda);
    if (s != QUERN_OK) return s;
    for (int i = 0; i < LONG_SAMPLES; i++) {
        for (int j = 0; j < WORLD_FEATURES; j++) x[i][j] = (float)((i * 7 + j * 13) % 31) / 31;
        label[i] = i % WORLD_CLASSES;
    }
    s = quern_dataset_arrays(
        &set, w.device,
        &(quern_arrays_desc){.length = LONG_SAMPLES,
                             .field_count = 2,
                             .fields = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                        {.name = "label", .dtype = QUERN_I32}},
                             .data = {x, label}});
    *out = (waits){.device = w.device};
    const quern_callback callback = {.name = "waits", .self = out, .log = note_waits};
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.train = set;
    desc.log_every = 100;
    desc.step_limit = LONG_STEPS;
    desc.resident = resident;
    if (s == QUERN_OK) s = quern_trainer_create(&w.trainer, &desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, result);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_dataset_destroy(set);
    world_close(&w);
    return s;
}

/* The contract, with a log in every hundred; a few waits more around it. */
TEST_CASE(GpuTraining, the_host_waits_at_most_twice_in_a_hundred_steps) {
    NEEDS_DEVICE;
    for (int resident = 0; resident < 2; resident++) {
        waits n;
        quern_result result;
        REQUIRE_OK(fit_long(resident ? QUERN_RESIDENT_ON : QUERN_RESIDENT_OFF, &n, &result));
        REQUIRE(n.count == LOGS && result.step == LONG_STEPS);
        for (int i = 1; i < LOGS; i++)
            CHECK_SAY(n.at[i] > n.at[i - 1] && n.at[i] - n.at[i - 1] <= 2, "%d waits up to step %d",
                      (int)(n.at[i] - n.at[i - 1]), 100 * (i + 1));
        CHECK_SAY(result.host_waits <= 2 * LONG_STEPS / 100 + 4, "%d waits",
                  (int)result.host_waits);
    }
}

/* Three epochs of 15 updates, each with one wait for its records and sums and two for its
 * evaluation, and a few around them: far from one an update. */
TEST_CASE(GpuTraining, the_host_seldom_waits) {
    NEEDS_DEVICE;
    for (int resident = 0; resident < 2; resident++) {
        run r;
        REQUIRE_OK(fit(
            &on_cuda,
            &(quern_trainer_desc){.resident = resident ? QUERN_RESIDENT_ON : QUERN_RESIDENT_OFF},
            &r));
        CHECK_SAY(r.result.step == 45 && r.result.host_waits > 0 && r.result.host_waits <= 15,
                  "%d waits", (int)r.result.host_waits);
    }
}

/* F32 sums in another order: 1e-5 is a hundred roundings. Over many steps ReLU's kinks and the
 * division by small moments part the trajectories further, so this is SGD over a few. */
static const double NEAR_CPU = 1e-5;

TEST_CASE(GpuTraining, the_first_steps_follow_the_cpu) {
    NEEDS_DEVICE;
    for (int64_t accumulate = 1; accumulate <= 2; accumulate++) {
        run cuda, cpu;
        world_desc wd = on_cuda;
        const quern_trainer_desc change = {
            .step_limit = 5,
            .accumulate = accumulate,
            .optimizer = {.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 0.01f}};
        REQUIRE_OK(fit(&wd, &change, &cuda));
        wd.cuda = false;
        REQUIRE_OK(fit(&wd, &change, &cpu));
        CHECK(cuda.weight_count == cpu.weight_count);
        for (int64_t i = 0; i < cpu.weight_count; i++)
            CHECK_NEAR(cuda.weights[i], cpu.weights[i], NEAR_CPU);
        CHECK_NEAR(cuda.result.train_loss, cpu.result.train_loss, NEAR_CPU);
        CHECK_NEAR(cuda.result.valid_loss, cpu.result.valid_loss, NEAR_CPU);
    }
}

TEST_CASE(GpuTraining, every_optimizer_follows_the_cpu_in_its_first_step) {
    NEEDS_DEVICE;
    for (int kind = 0; kind < QUERN_OPTIMIZER_COUNT; kind++) {
        run cuda, cpu;
        world_desc wd = on_cuda;
        const quern_trainer_desc change = {
            .step_limit = 1,
            .optimizer = {.kind = (quern_optimizer_kind)kind, .learning_rate = 0.01f}};
        REQUIRE_OK(fit(&wd, &change, &cuda));
        wd.cuda = false;
        REQUIRE_OK(fit(&wd, &change, &cpu));
        for (int64_t i = 0; i < cpu.weight_count; i++)
            CHECK_NEAR(cuda.weights[i], cpu.weights[i], NEAR_CPU);
    }
}

/* In 16 bits: graph equals eager, resident equals staged, and a few steps follow the CPU's. */
static void check_half(quern_precision precision, bool stochastic, double tolerance) {
    run cuda, eager, cpu;
    world_desc wd = on_cuda;
    quern_trainer_desc change = {
        .step_limit = 5,
        .precision = precision,
        .stochastic_rounding = stochastic,
        .optimizer = {.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 0.01f}};
    REQUIRE_OK(fit(&wd, &change, &cuda));
    change.no_capture = true;
    change.resident = QUERN_RESIDENT_OFF;
    REQUIRE_OK(fit(&wd, &change, &eager));
    CHECK(memcmp(cuda.weights, eager.weights, sizeof cuda.weights) == 0);
    CHECK(cuda.result.step == 5 && cuda.result.valid_loss == eager.result.valid_loss);
    wd.cuda = false;
    REQUIRE_OK(fit(&wd, &change, &cpu));
    for (int64_t i = 0; i < cpu.weight_count; i++)
        CHECK_NEAR(cuda.weights[i], cpu.weights[i], tolerance);
    CHECK_NEAR(cuda.result.valid_loss, cpu.result.valid_loss, tolerance);
}

TEST_CASE(GpuTraining, in_16_bits_follows_the_cpu_and_graph_equals_eager) {
    NEEDS_DEVICE;
    check_half(QUERN_PRECISION_BF16, false, TOL_WINDOW_BF16);
    check_half(QUERN_PRECISION_BF16, true, TOL_WINDOW_BF16);
    check_half(QUERN_PRECISION_F16, false, TOL_WINDOW_F16);
    check_half(QUERN_PRECISION_TF32, false, TOL_WINDOW_F16);
}

TEST_CASE(GpuTraining, learns) {
    NEEDS_DEVICE;
    run r;
    world_desc wd = on_cuda;
    wd.dropout = false;
    REQUIRE_OK(fit(&wd, &defaults, &r));
    CHECK(r.result.valid_accuracy > 0.5);
}

TEST_CASE(GpuTraining, a_label_that_is_no_class_is_said_and_the_device_lives_on) {
    NEEDS_DEVICE;
    world w;
    quern_result r;
    REQUIRE_OK(world_open(&w, &on_cuda));
    w.train_label[20] = 77;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_INPUT);
    CHECK_ERROR_HAS("77");
    world_close(&w);
    check_same(&defaults);
}

TEST_CASE(GpuTraining, a_model_that_does_not_fit_is_device_memory) {
    NEEDS_DEVICE;
    world w;
    REQUIRE_OK(world_open(&w, &on_cuda));
    quern_tensor *h = quern_dense(
        w.graph, w.x, &(quern_dense_desc){.units = INT64_C(1) << 38, .name = "too large"});
    w.desc.outputs = &h;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_DEVICE_MEMORY);
    CHECK_ERROR_HAS("bytes");
    world_close(&w);
    check_same(&defaults);
}

/* Crops, flips, a mean and a deviation of bytes, over epochs that end unevenly. */
static quern_status fit_images(quern_resident resident, int64_t accumulate, run *out) {
    enum { SAMPLES = 29, SIDE = 4, PIXELS = SIDE * SIDE };
    static uint8_t images[SAMPLES][PIXELS];
    static int32_t labels[SAMPLES];
    world w;
    memset(out, 0, sizeof *out);
    quern_status s = world_open(&w, &(world_desc){.cuda = true, .valid_length = -1});
    if (s != QUERN_OK) return s;
    for (int i = 0; i < SAMPLES * PIXELS; i++) images[i / PIXELS][i % PIXELS] = (uint8_t)(i * 37);
    for (int i = 0; i < SAMPLES; i++) labels[i] = i % WORLD_CLASSES;
    quern_dataset *set = NULL;
    quern_graph *g = NULL;
    s = quern_dataset_arrays(
        &set, w.device,
        &(quern_arrays_desc){
            .length = SAMPLES,
            .field_count = 2,
            .fields = {{.name = "image", .dtype = QUERN_U8, .rank = 3, .dim = {1, SIDE, SIDE}},
                       {.name = "label", .dtype = QUERN_I32}},
            .data = {images, labels}});
    if (s == QUERN_OK) s = quern_graph_create(&g, w.device, NULL);
    quern_tensor *image =
        quern_input(g, &(quern_input_desc){.name = "image", .rank = 2, .dim = {QUERN_B, PIXELS}});
    quern_tensor *z = quern_dense(g, image, &(quern_dense_desc){.units = WORLD_CLASSES});
    const quern_transform transform = {.field = "image",
                                       .scale = 1 / 255.0f,
                                       .channel_count = 1,
                                       .mean = {0.1307f},
                                       .deviation = {0.3081f},
                                       .crop_padding = 1,
                                       .horizontal_flip = true};
    const quern_trainer_desc desc = {
        .graph = g,
        .loss = quern_softmax_cross_entropy(g, z, quern_labels(g, "label"), NULL),
        .train = set,
        .valid = set,
        .transforms = &transform,
        .transform_count = 1,
        .batch_size = 4,
        .accumulate = accumulate,
        .tail = accumulate > 1 ? QUERN_TAIL_CARRY : QUERN_TAIL_FLUSH,
        .epoch_count = 5,
        .resident = resident,
        .optimizer = {.learning_rate = 0.05f}};
    quern_trainer *trainer = NULL;
    if (s == QUERN_OK) s = quern_trainer_create(&trainer, &desc);
    if (s == QUERN_OK) CHECK(quern_trainer_resolved(trainer)->resident == resident);
    if (s == QUERN_OK) s = quern_trainer_fit(trainer, &out->result);
    const quern_tensor *weight = g ? quern_graph_parameter(g, 0) : NULL;
    if (s == QUERN_OK)
        s = quern_parameters_read(quern_trainer_parameters(trainer), weight, out->weights,
                                  WORLD_CLASSES * PIXELS * sizeof(float));
    quern_trainer_destroy(trainer);
    quern_graph_destroy(g);
    quern_dataset_destroy(set);
    world_close(&w);
    return s;
}

TEST_CASE(GpuTraining, a_resident_set_gives_the_hosts_bits) {
    NEEDS_DEVICE;
    for (int64_t accumulate = 1; accumulate <= 3; accumulate += 2) {
        run resident, host;
        REQUIRE_OK(fit_images(QUERN_RESIDENT_ON, accumulate, &resident));
        REQUIRE_OK(fit_images(QUERN_RESIDENT_OFF, accumulate, &host));
        CHECK(host.weights[0] != 0 && host.weights[0] == host.weights[0]);
        CHECK(memcmp(resident.weights, host.weights, sizeof host.weights) == 0);
        CHECK(resident.result.valid_loss == host.result.valid_loss);
        CHECK(resident.result.step == host.result.step && host.result.step > 10);
    }
}
