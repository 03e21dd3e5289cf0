/* What only a double of cuDNN can show on the fake device: that the convolutions above are its, and
 * that the same networks train the same way where it is absent, too old or without an engine. */
#include "quern_test.h"

#include "fake_cudnn.h"
#include "gpu/image_run.h"

#include <string.h>

static const double NEAR_CPU = 3e-5; /* as in test_gpu_convolution.c */

typedef struct lines {
    int direct;
    char sentence[1024];
} lines;

static void count_lines(void *self, quern_log_level level, const char *sentence) {
    lines *l = self;
    (void)level;
    l->direct += strstr(sentence, "computed directly") != NULL;
    if (strstr(sentence, "cuDNN") != NULL)
        memcpy(l->sentence, sentence, strnlen(sentence, sizeof l->sentence - 1) + 1);
}

static void fit(image_run *out, lines *said, quern_device_kind kind, quern_precision precision,
                quern_status (*build)(void *, quern_graph *, quern_verify_model *)) {
    image_run_desc d = {
        .build = build, .kind = kind, .precision = precision, .host = quern_host_default()};
    *said = (lines){0};
    d.host.log = (quern_log_sink){count_lines, said};
    REQUIRE_OK(image_run_fit(out, &d));
}

TEST_CASE(FakeConvolution, the_convolutions_are_graphs_of_cudnn) {
    image_run r;
    lines said;
    fake_cudnn_begin();
    fit(&r, &said, QUERN_DEVICE_CUDA, QUERN_PRECISION_F32, build_lenet);
    /* two layers, forward and the filter's gradient, and the data's of the second */
    CHECK(fake_cudnn.executed == 3 * 5 && fake_cudnn.last_engine == 3);
    CHECK(fake_cudnn.channels_last == 0);
    CHECK(said.direct == 0);
    image_run_release(&r);
}

static void check_near(const image_run *cuda,
                       quern_status (*build)(void *, quern_graph *, quern_verify_model *)) {
    image_run cpu;
    lines said;
    fit(&cpu, &said, QUERN_DEVICE_CPU, QUERN_PRECISION_F32, build);
    const double distance = image_run_distance(cuda, &cpu);
    CHECK_SAY(distance <= NEAR_CPU, "weights differ by %g", distance);
    image_run_release(&cpu);
}

/* TF32 of the double and of the fall-back is F32. */
TEST_CASE(FakeConvolution, what_tensor_cores_compute_has_its_images_channels_last) {
    image_run r;
    lines said;
    fake_cudnn_begin();
    fit(&r, &said, QUERN_DEVICE_CUDA, QUERN_PRECISION_TF32, build_lenet);
    CHECK(fake_cudnn.executed == 3 * 5 && fake_cudnn.channels_last == 3 * 5);
    check_near(&r, build_lenet);
    image_run_release(&r);
    fake_cudnn_begin();
    fit(&r, &said, QUERN_DEVICE_CUDA, QUERN_PRECISION_TF32, build_normalised);
    CHECK(fake_cudnn.executed == 3 * 2 && fake_cudnn.channels_last == 3 * 2);
    check_near(&r, build_normalised);
    image_run_release(&r);
    fake_cudnn_begin();
}

static void check_directly(quern_precision precision,
                           quern_status (*build)(void *, quern_graph *, quern_verify_model *),
                           const char *why) {
    image_run cuda;
    lines said;
    fit(&cuda, &said, QUERN_DEVICE_CUDA, precision, build);
    CHECK(fake_cudnn.executed == 0);
    CHECK_SAY(said.direct == 1, "said %d times", said.direct);
    CHECK_HAS(said.sentence, why);
    check_near(&cuda, build);
    image_run_release(&cuda);
}

TEST_CASE(FakeConvolution, without_cudnn_they_are_computed_directly_and_that_is_said_once) {
    fake_cudnn_begin();
    fake_cudnn.absent = true;
    check_directly(QUERN_PRECISION_F32, build_lenet, "it is absent");
    check_directly(QUERN_PRECISION_F32, build_normalised, "it is absent");
    check_directly(QUERN_PRECISION_TF32, build_normalised, "it is absent");
    fake_cudnn_begin();
}

TEST_CASE(FakeConvolution, with_a_cudnn_that_is_too_old_as_well) {
    fake_cudnn_begin();
    fake_cudnn.version = 8905;
    check_directly(QUERN_PRECISION_F32, build_normalised,
                   "it has version number 8905, the least is 90000");
    fake_cudnn_begin();
}

TEST_CASE(FakeConvolution, with_a_cudnn_that_has_no_engine_as_well) {
    fake_cudnn_begin();
    fake_cudnn.refused = UINT32_MAX;
    check_directly(QUERN_PRECISION_F32, build_normalised,
                   "it has no engine that may be used for conv2d; tensor");
    fake_cudnn_begin();
}
