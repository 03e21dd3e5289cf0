/* test_faults.c - every allocation of a whole create, update, destroy fails once, and from then
 * on: always a status, never a leak, and the memory nobody cleared (filled with NaN) is not read.
 */
#include "host/graph/parameters.h"
#include "quern_test.h"
#include "support/fault_host.h"

#include <quern/models.h>
#include <quern/nn.h>
#include <quern/optim.h>

static quern_status build(const quern_host *host, quern_device **device, quern_graph **graph,
                          quern_parameters **parameters, quern_optimizer **optimizer) {
    QUERN_TRY(quern_device_create(
        device, &(quern_device_desc){
                    .kind = QUERN_DEVICE_CPU, .thread_count = 2, .seed = 1, .host = *host}));
    QUERN_TRY(quern_graph_create(graph, *device, NULL));
    quern_tensor *x =
        quern_input(*graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 5}});
    x = quern_mlp(*graph, x, &(quern_mlp_desc){.hidden = {4}, .class_count = 3});
    quern_batch_normalize(*graph, x, NULL);
    QUERN_TRY(
        quern_parameters_create(parameters, *graph, &(quern_parameters_desc){.gradients = true}));
    QUERN_TRY(quern_optimizer_create(optimizer, *parameters,
                                     &(quern_optimizer_desc){.schedule = {.warmup = 3}}));
    QUERN_TRY(quern_optimizer_update(*optimizer));
    return quern_optimizer_wait(*optimizer);
}

static quern_status build_and_destroy(const quern_host *host) {
    quern_device *device = NULL;
    quern_graph *graph = NULL;
    quern_parameters *parameters = NULL;
    quern_optimizer *optimizer = NULL;
    const quern_status status = build(host, &device, &graph, &parameters, &optimizer);
    quern_optimizer_destroy(optimizer);
    quern_parameters_destroy(parameters);
    quern_graph_destroy(graph);
    quern_device_destroy(device);
    return status;
}

static void fail_each(bool for_ever) {
    fault_host faults;
    for (int64_t n = 1; n < 10000; n++) {
        fault_host_begin(&faults, NULL);
        faults.fault[FAULT_ALLOCATE] = (fault){.at = n, .for_ever = for_ever};
        const quern_status status = build_and_destroy(&faults.host);
        REQUIRE(fault_host_live(&faults) == 0);
        if (!fault_host_fired(&faults, FAULT_ALLOCATE)) {
            CHECK_OK(status);
            CHECK(n > 20);
            return;
        }
        REQUIRE_SAY(status == QUERN_HOST_MEMORY || status == QUERN_DEVICE_MEMORY,
                    "allocation %lld failed and the status is %s", (long long)n,
                    quern_status_name(status));
    }
    CHECK(false);
}

TEST_CASE(OptimizerFaults, an_allocation_that_fails_once_is_a_status_without_a_leak) {
    fail_each(false);
}

TEST_CASE(OptimizerFaults, allocations_that_fail_from_then_on_are_a_status_without_a_leak) {
    fail_each(true);
}

/* create allocates everything: the updates themselves take nothing. */
TEST_CASE(OptimizerFaults, updates_allocate_nothing) {
    fault_host faults;
    quern_device *device = NULL;
    quern_graph *graph = NULL;
    quern_parameters *parameters = NULL;
    quern_optimizer *optimizer = NULL;
    fault_host_begin(&faults, NULL);
    REQUIRE_OK(build(&faults.host, &device, &graph, &parameters, &optimizer));
    const int64_t before = faults.count[FAULT_ALLOCATE];
    for (int i = 0; i < 2000; i++) REQUIRE_OK(quern_optimizer_update(optimizer));
    CHECK_OK(quern_optimizer_wait(optimizer));
    CHECK(faults.count[FAULT_ALLOCATE] == before);
    quern_optimizer_destroy(optimizer);
    quern_parameters_destroy(parameters);
    quern_graph_destroy(graph);
    quern_device_destroy(device);
    CHECK(fault_host_live(&faults) == 0);
}
