/* quern_verify on the CPU: whole models pass, planted faults are named where they are. */
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
