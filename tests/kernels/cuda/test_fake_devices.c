/* Several devices in one process: `quern devices` tells them apart, and what a library holds on one
 * is given back while that one is current. */
#include "fake_device.h"
#include "fake_parts.h"
#include "quern_test.h"

#include "../../../tools/quern/commands.h"

#include <quern/quern.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int command_fail(quern_status status) { return quern_status_exit_code(status); }

/* What the command writes to standard output. */
static char *listing_of(const options *o) {
    static char text[8192];
    FILE *file = tmpfile();
    if (file == NULL) abort();
    fflush(stdout);
    const int before = dup(STDOUT_FILENO);
    if (before < 0 || dup2(fileno(file), STDOUT_FILENO) < 0) abort();
    CHECK(command_devices(o) == 0);
    if (dup2(before, STDOUT_FILENO) < 0) abort();
    close(before);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return text;
}

TEST_CASE(FakeDevices, are_listed_with_uuid_address_and_capability) {
    const int count = fake.device_count;
    fake.device_count = 2;
    const char *json = listing_of(&(options){.json = true});
    CHECK_HAS(json, "\"kind\": \"cuda\", \"index\": 0, \"name\": \"Fake H200\"");
    CHECK_HAS(json, "\"kind\": \"cuda\", \"index\": 1, \"name\": \"Fake H200\"");
    CHECK_HAS(json, "\"threads\": 132, \"capability\": 90, "
                    "\"uuid\": \"GPU-00112233-4455-6677-8899-aabbccddeeff\", "
                    "\"pci\": \"00000000:3b:00.0\"");
    CHECK_HAS(json, "\"uuid\": \"GPU-00112233-4455-6677-8899-aabbccddeefe\", "
                    "\"pci\": \"00000000:3c:00.0\"");
    CHECK_HAS(json, "\"memory_bytes\": 1073741824");
    const char *text = listing_of(&(options){0});
    CHECK_HAS(text, "cuda:1  Fake H200, 132 multiprocessors, ");
    CHECK_HAS(text, "capability 9.0, GPU-00112233-4455-6677-8899-aabbccddeefe");
    fake.device_count = count;
}

static void keep_line(void *self, quern_log_level level, const char *sentence) {
    snprintf(self, 400, "%d %s", (int)level, sentence);
}

/* A driver without a toolkit. */
TEST_CASE(FakeDevices, without_cublaslt_none_is_used_and_the_best_is_the_cpu) {
    char line[400] = "";
    quern_device *device = NULL;
    quern_device_info info;
    fake.no_blas = true;
    CHECK_STATUS(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CUDA}),
                 QUERN_NO_DEVICE);
    CHECK_ERROR_HAS("CUDA device 0 (Fake H200) cannot be used without cuBLASLt: libcublasLt.so.13");
    REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.host.log = {keep_line, line}}));
    CHECK_OK(quern_device_info_get(device, &info));
    CHECK(info.kind == QUERN_DEVICE_CPU);
    CHECK_HAS(line, "2 using the CPU: CUDA device 0 (Fake H200) cannot be used without cuBLASLt");
    quern_device_destroy(device);
    fake.no_blas = false;
}

/* A dense layer and a convolution, so that both libraries have a handle. */
static void build_and_drop(int32_t index) {
    quern_device *device = NULL;
    quern_graph *g = NULL;
    quern_parameters *values = NULL;
    quern_program *program = NULL;
    REQUIRE_OK(quern_device_create(
        &device, &(quern_device_desc){.kind = QUERN_DEVICE_CUDA, .index = index}));
    REQUIRE_OK(quern_graph_create(&g, device, NULL));
    quern_tensor *x =
        quern_input(g, &(quern_input_desc){.name = "x", .rank = 4, .dim = {QUERN_B, 2, 5, 5}});
    quern_tensor *y = quern_conv(g, x, &(quern_conv_desc){.channels = 3, .window = {3, 3}});
    y = quern_dense(g, quern_flatten(g, y), &(quern_dense_desc){.units = 2});
    CHECK_OK(quern_parameters_create(&values, g, NULL));
    CHECK_OK(quern_program_create(
        &program,
        &(quern_program_desc){
            .graph = g, .parameters = values, .batch_size = 2, .outputs = &y, .output_count = 1}));
    quern_program_destroy(program);
    quern_parameters_destroy(values);
    quern_graph_destroy(g);
    quern_device_destroy(device);
}

/* The doubles of the libraries call it a misuse when another device is current. */
TEST_CASE(FakeDevices, give_back_what_libraries_hold_while_they_are_current) {
    const int count = fake.device_count;
    fake.device_count = 3;
    for (int32_t index = 0; index < 3; index++) {
        int current = -1;
        CHECK(cuda_driver.cudaSetDevice(1) == cudaSuccess);
        build_and_drop(index);
        CHECK(cuda_driver.cudaGetDevice(&current) == cudaSuccess && current == 1);
    }
    CHECK(cuda_driver.cudaSetDevice(0) == cudaSuccess);
    CHECK_TEXT(fake.misuse, "");
    fake.device_count = count;
}
