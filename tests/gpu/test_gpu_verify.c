/* quern_verify on a CUDA device: a step of whole models, tensor by tensor. */
#include "gpu_device.h"
#include "quern_test.h"
#include "verify/verify_models.h"

#include <stdio.h>

static void check_case(const verify_case *c) {
    quern_device *device = NULL;
    quern_dataset *data = NULL;
    quern_verify_result r;
    static char reason[1024];
    if (!gpu_has_device()) return;
    REQUIRE_OK(
        quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CUDA, .seed = 3}));
    REQUIRE_OK(c->open(&data, device));
    const quern_status status = quern_verify(
        &r, &(quern_verify_desc){
                .build = c->build, .device = device, .dataset = data, .batch_size = 8});
    snprintf(reason, sizeof reason, "%s", quern_error());
    quern_dataset_destroy(data);
    quern_device_destroy(device);
    CHECK_SAY(status == QUERN_OK, "%s: %s", c->name, reason);
    CHECK(r.bad == 0 && r.compared > 30 && r.samples == 8);
}

TEST_CASE(GpuVerify, an_mlp_is_in_tolerance) { check_case(&verify_cases[0]); }
TEST_CASE(GpuVerify, lenet_is_in_tolerance) { check_case(&verify_cases[1]); }
TEST_CASE(GpuVerify, batch_norm_and_dropout_are_in_tolerance) { check_case(&verify_cases[2]); }
TEST_CASE(GpuVerify, embedding_and_layer_norm_are_in_tolerance) { check_case(&verify_cases[3]); }
