/* quern_verify on the CPU: whole models pass, planted faults are named where they are. */
#include "host/train/verify/kinks.h"
#include "quern_test.h"
#include "verify_models.h"

#include <math.h>
#include <string.h>

static quern_device *cpu(uint64_t seed) {
    quern_device *device = NULL;
    CHECK_OK(quern_device_create(
        &device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 1, .seed = seed}));
    return device;
}

TEST_CASE(Verify, whole_models_are_in_tolerance_with_every_optimizer) {
    for (int m = 0; m < verify_case_count; m++)
        for (int kind = 0; kind < QUERN_OPTIMIZER_COUNT; kind++) {
            quern_device *device = cpu(3);
            quern_dataset *data = NULL;
            quern_verify_result r;
            REQUIRE_OK(verify_cases[m].open(&data, device));
            const quern_status status = quern_verify(
                &r, &(quern_verify_desc){.build = verify_cases[m].build,
                                         .device = device,
                                         .dataset = data,
                                         .batch_size = 16,
                                         .optimizer = {.kind = (quern_optimizer_kind)kind}});
            CHECK_SAY(status == QUERN_OK, "%s, optimizer %d: %s", verify_cases[m].name, kind,
                      quern_error());
            CHECK(r.bad == 0 && r.compared > 15 && r.samples == 16);
            CHECK_TEXT(r.first.name, "");
            CHECK(r.worst.error > 0 && r.worst.error <= r.worst.tolerance);
            quern_dataset_destroy(data);
            quern_device_destroy(device);
        }
}

static quern_status count_statistics(void *self, const quern_verify_tensor *t) {
    *(int *)self += t->role == QUERN_VERIFY_STATISTIC;
    return QUERN_OK;
}

TEST_CASE(Verify, running_statistics_have_a_tolerance_of_their_own) {
    int statistics = 0;
    quern_device *device = cpu(3);
    quern_dataset *data = NULL;
    quern_verify_result r;
    REQUIRE_OK(open_images(&data, device));
    const quern_status status =
        quern_verify(&r, &(quern_verify_desc){.build = build_normalised,
                                              .device = device,
                                              .dataset = data,
                                              .visit = count_statistics,
                                              .visit_self = &statistics,
                                              .tolerance = {.statistic = 1e-15}});
    CHECK_STATUS(status, QUERN_INTERNAL);
    CHECK(r.first.role == QUERN_VERIFY_STATISTIC && r.samples == 40 && statistics == 2);
    CHECK_TEXT(r.first.name, "batch_norm1.running_mean");
    CHECK(r.first.reference != 0 && r.first.found != 0);
    CHECK_ERROR_HAS("running statistic of batch_norm1.running_mean");
    quern_dataset_destroy(data);
    quern_device_destroy(device);
}

TEST_CASE(Verify, windows_of_a_pool_that_choose_another_element_are_counted) {
    enum { COUNT = 2 * 4 * 4 };
    double a[COUNT], b[COUNT];
    quern_device *device = cpu(0);
    quern_graph *graph = NULL;
    REQUIRE_OK(quern_graph_create(&graph, device, NULL));
    quern_tensor *x =
        quern_input(graph, &(quern_input_desc){.name = "x", .rank = 4, .dim = {QUERN_B, 1, 4, 4}});
    quern_max_pool2d(graph, x, &(quern_max_pool2d_desc){.window = {2, 2}});
    REQUIRE_OK(quern_graph_status(graph));
    for (int i = 0; i < COUNT; i++) a[i] = b[i] = i;
    CHECK(kinks_count(x, 2, a, b) == 0);
    b[4] = 5.5; /* was 4, beside 5 in the first window */
    CHECK(kinks_count(x, 2, a, b) == 1);
    b[31] = 0; /* the last of the second sample */
    CHECK(kinks_count(x, 2, a, b) == 2);
    b[8] = 8.5; /* no window's largest: 13 is */
    CHECK(kinks_count(x, 2, a, b) == 2);
    CHECK(kinks_count(x, 0, a, b) == 0);
    quern_graph_destroy(graph);
    quern_device_destroy(device);
}
