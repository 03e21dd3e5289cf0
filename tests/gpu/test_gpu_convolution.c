/* Networks of convolutions on a CUDA device: LeNet, and one with batch norm and dropout. */
#include "gpu_device.h"
#include "image_run.h"
#include "quern_test.h"

static const struct {
    const char *name;
    quern_status (*build)(void *self, quern_graph *g, quern_verify_model *out);
} models[] = {{"lenet", build_lenet}, {"normalised", build_normalised}};
enum { MODELS = 2 };

/* After three steps of SGD at 0.01 with F32 sums in another order: a gradient is wrong by 1e-3 of
 * the largest at most (verify.h), gradients are of order 1. */
static const double NEAR_CPU = 3e-5;

static void check_captured(int model, int64_t accumulate, quern_precision precision) {
    image_run captured, eager;
    image_run_desc d = {.build = models[model].build,
                        .kind = QUERN_DEVICE_CUDA,
                        .accumulate = accumulate,
                        .precision = precision};
    REQUIRE_OK(image_run_fit(&captured, &d));
    d.no_capture = true;
    REQUIRE_OK(image_run_fit(&eager, &d));
    CHECK_TEXT(captured.digest, eager.digest);
    CHECK(captured.result.step == 3 && captured.value_count > 1000);
    image_run_release(&captured);
    image_run_release(&eager);
}

TEST_CASE(GpuConvolution, a_captured_step_is_the_eager_step_bit_for_bit) {
    if (!gpu_has_device()) return;
    for (int i = 0; i < MODELS; i++) check_captured(i, 1, QUERN_PRECISION_F32);
    check_captured(1, 2, QUERN_PRECISION_F32);
}

/* There the images between convolutions have their channels innermost. */
TEST_CASE(GpuConvolution, and_with_images_channels_last) {
    if (!gpu_has_device()) return;
    check_captured(0, 1, QUERN_PRECISION_BF16);
    check_captured(1, 1, QUERN_PRECISION_F16);
    check_captured(1, 2, QUERN_PRECISION_TF32);
}

static void check_near(int model, int64_t accumulate) {
    image_run cuda, cpu;
    image_run_desc d = {
        .build = models[model].build, .kind = QUERN_DEVICE_CUDA, .accumulate = accumulate};
    REQUIRE_OK(image_run_fit(&cuda, &d));
    d.kind = QUERN_DEVICE_CPU;
    REQUIRE_OK(image_run_fit(&cpu, &d));
    const double distance = image_run_distance(&cuda, &cpu);
    CHECK_SAY(distance <= NEAR_CPU, "%s: weights differ by %g", models[model].name, distance);
    CHECK_NEAR(cuda.result.train_loss, cpu.result.train_loss, NEAR_CPU);
    image_run_release(&cuda);
    image_run_release(&cpu);
}

TEST_CASE(GpuConvolution, the_first_steps_follow_the_cpu) {
    if (!gpu_has_device()) return;
    for (int i = 0; i < MODELS; i++) check_near(i, 1);
    check_near(1, 2);
}
