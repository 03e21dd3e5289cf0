/* A product that is wrong on the CUDA device alone is found by quern_verify, and named. */
#include "fake_products.h"
#include "quern_test.h"
#include "verify/verify_models.h"

static quern_status verify(quern_verify_result *r) {
    quern_device *device = NULL;
    quern_dataset *data = NULL;
    quern_status s =
        quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CUDA, .seed = 3});
    if (s == QUERN_OK) s = open_images(&data, device);
    if (s == QUERN_OK)
        s = quern_verify(
            r, &(quern_verify_desc){
                   .build = build_mlp, .device = device, .dataset = data, .batch_size = 8});
    quern_dataset_destroy(data);
    quern_device_destroy(device);
    return s;
}

static void check_named(const quern_verify_result *r, const char *role) {
    CHECK_ERROR_HAS("in F32 on the CUDA device is out of tolerance: element 0 is");
    CHECK_ERROR_HAS(role);
    CHECK(r->bad > 0);
}

/* The first product is a layer's own; which are of the backward pass is the model's to know. */
TEST_CASE(FakeVerify, a_fault_on_the_device_alone_is_named) {
    quern_verify_result r;
    bool gradient = false;
    fake_products_wrong = 1;
    CHECK_STATUS(verify(&r), QUERN_INTERNAL);
    CHECK(r.first.role == QUERN_VERIFY_ACTIVATION);
    check_named(&r, "activation of ");
    for (int64_t n = 2; n < 12 && !gradient; n++) {
        fake_products_wrong = n;
        gradient = verify(&r) == QUERN_INTERNAL && r.first.role >= QUERN_VERIFY_ACTIVATION_GRADIENT;
    }
    CHECK(gradient);
    check_named(&r, "gradient");
    fake_products_wrong = 0;
    CHECK_OK(verify(&r));
    CHECK(r.bad == 0);
}
