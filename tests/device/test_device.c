/* Device objects: what is refused, how the backend is chosen, how the CUDA module is found. */
#include "quern_test.h"

#include "host/device/device.h"
#include "kernels/module.h"
#include "support/fault_host.h"
#include "support/temporary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TEST_CASE(Device, opens_with_all_defaults_and_describes_itself) {
    quern_device *device;
    REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU}));
    quern_device_info info;
    REQUIRE_OK(quern_device_info_get(device, &info));
    CHECK(info.kind == QUERN_DEVICE_CPU && info.index == 0);
    CHECK(info.thread_count >= 1 && info.thread_count <= sysconf(_SC_NPROCESSORS_ONLN));
    CHECK(strlen(info.name) > 1);
    CHECK(info.memory_bytes > (INT64_C(1) << 26));
    CHECK(info.memory_free_bytes > 0 && info.memory_free_bytes <= info.memory_bytes);
    quern_device_destroy(device);
    quern_device_destroy(NULL);
    CHECK_STATUS(quern_device_info_get(NULL, &info), QUERN_INVALID);
    CHECK(quern_device_count(QUERN_DEVICE_CPU, NULL, 0) == 1);
}

static void check_refused(const quern_device_desc *desc, quern_status status, const char *words) {
    quern_device *device = (quern_device *)(uintptr_t)desc;
    CHECK_STATUS(quern_device_create(&device, desc), status);
    CHECK_ERROR_HAS(words);
    CHECK(device == NULL);
}

TEST_CASE(Device, what_does_not_exist_or_makes_no_sense_is_refused_by_name) {
    const quern_device_kind cpu = QUERN_DEVICE_CPU;
    check_refused(&(quern_device_desc){.kind = cpu, .index = 3}, QUERN_NO_DEVICE, "device 3");
    check_refused(&(quern_device_desc){.kind = cpu, .index = -1}, QUERN_NO_DEVICE, "index -1");
    check_refused(&(quern_device_desc){.kind = cpu, .thread_count = -2}, QUERN_INVALID, "-2");
    check_refused(&(quern_device_desc){.kind = cpu, .thread_count = 1025}, QUERN_INVALID, "1025");
    check_refused(&(quern_device_desc){.kind = (quern_device_kind)9}, QUERN_INVALID, "kind 9");
    check_refused(&(quern_device_desc){.kind = QUERN_DEVICE_CUDA, .thread_count = 2}, QUERN_INVALID,
                  "CUDA does not read thread_count");
    quern_device_desc half = {.kind = cpu};
    half.host.clock.wall_ns = quern_host_default().clock.wall_ns;
    check_refused(&half, QUERN_INVALID, "host.clock");
    CHECK_STATUS(quern_device_create(NULL, NULL), QUERN_INVALID);
}

TEST_CASE(Device, two_live_side_by_side_with_their_own_threads_and_seeds) {
    quern_device *one, *two;
    REQUIRE_OK(quern_device_create(
        &one, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 1, .seed = 5}));
    REQUIRE_OK(quern_device_create(
        &two, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 3, .seed = 6}));
    CHECK(one->info.thread_count == 1 && two->info.thread_count == 3);
    CHECK(one->seed == 5 && two->seed == 6);
    int64_t from = 1, a = 0, b = 0;
    for (int i = 0; i < 100; i++) {
        REQUIRE_OK(one->backend->copy(one->stream, &a, &from, sizeof a));
        REQUIRE_OK(two->backend->copy(two->stream, &b, &from, sizeof b));
    }
    CHECK_OK(one->backend->stream_wait(one->stream));
    quern_device_destroy(one);
    CHECK_OK(two->backend->stream_wait(two->stream));
    quern_device_destroy(two);
    CHECK(a == 1 && b == 1);
}

TEST_CASE(Device, every_failing_allocation_is_reported_and_leaks_nothing) {
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        for (int64_t n = 1;; n++) {
            fault_host faults;
            fault_host_begin(&faults, NULL);
            faults.fault[FAULT_ALLOCATE] = (fault){.at = n, .for_ever = for_ever};
            quern_device *device;
            const quern_status status = quern_device_create(
                &device, &(quern_device_desc){
                             .kind = QUERN_DEVICE_CPU, .thread_count = 2, .host = faults.host});
            quern_device_destroy(device);
            REQUIRE(fault_host_live(&faults) == 0);
            const bool fired = fault_host_fired(&faults, FAULT_ALLOCATE);
            CHECK_STATUS(status, fired ? QUERN_HOST_MEMORY : QUERN_OK);
            if (!fired) {
                CHECK(n == 6); /* device, backend device, pool, its threads, stream */
                break;
            }
        }
    }
}

TEST_CASE(Device, memory_that_is_not_there_is_a_sentence_with_the_bytes) {
    fault_host faults;
    fault_host_begin(&faults, NULL);
    quern_device *d;
    REQUIRE_OK(quern_device_create(
        &d, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .host = faults.host}));
    void *p = d;
    CHECK_STATUS(d->backend->allocate(d->memory, &p, SIZE_MAX - 100), QUERN_HOST_MEMORY);
    CHECK_ERROR_HAS("18446744073709551515 bytes");
    CHECK(p == NULL);
    CHECK_OK(d->backend->allocate(d->memory, &p, 0));
    CHECK(p == NULL);
    d->backend->release(d->memory, NULL, 0);
    quern_device_destroy(d);
    CHECK(fault_host_live(&faults) == 0);
}

TEST_CASE(Device, the_version_is_the_headers_numbers) {
    CHECK_TEXT(quern_version(), "0.1.0");
    CHECK(QUERN_VERSION_MAJOR == 0 && QUERN_VERSION_MINOR == 1 && QUERN_VERSION_PATCH == 0);
}

static void use_module(const char *variant) {
    char folder[1024];
    strcpy(folder, QUERN_TEST_MODULES);
    strcat(strcat(folder, "/"), variant);
    setenv("QUERN_BACKEND_PATH", folder, 1);
}

static const quern_device_desc cuda = {.kind = QUERN_DEVICE_CUDA};

TEST_CASE(Module, that_is_nowhere_is_no_device_with_the_loaders_words) {
    temporary folder;
    REQUIRE(temporary_begin(&folder));
    setenv("QUERN_BACKEND_PATH", folder.path, 1);
    check_refused(&cuda, QUERN_NO_DEVICE, "No such file");
    CHECK_ERROR_HAS(temporary_join(&folder, "libquern-cuda.so"));
    CHECK_ERROR_HAS("; the preset cuda builds it");
    char reason[300];
    CHECK(quern_device_count(QUERN_DEVICE_CUDA, reason, sizeof reason) == 0);
    CHECK_HAS(reason, "the CUDA module cannot be loaded");
    REQUIRE(temporary_write(&folder, "libquern-cuda.so", "no library", 10));
    check_refused(&cuda, QUERN_NO_DEVICE, "libquern-cuda.so");
    CHECK(strstr(quern_error(), folder.path) != NULL);
    temporary_end(&folder);
}

TEST_CASE(Module, of_another_abi_or_op_table_is_unsupported_and_names_both) {
    use_module("wrong_abi");
    check_refused(&cuda, QUERN_UNSUPPORTED, "built for abi 4000");
    char own[64];
    snprintf(own, sizeof own, "the library has abi %u", (unsigned)MODULE_ABI);
    CHECK_ERROR_HAS(own);
    use_module("wrong_hash");
    check_refused(&cuda, QUERN_UNSUPPORTED, "op table");
    use_module("no_entry");
    check_refused(&cuda, QUERN_UNSUPPORTED, "quern_cuda_open");
}

TEST_CASE(Module, whose_driver_finds_nothing_is_no_device_in_the_drivers_words) {
    use_module("no_device");
    check_refused(&cuda, QUERN_NO_DEVICE, "the driver is too old");
    char reason[300];
    CHECK(quern_device_count(QUERN_DEVICE_CUDA, reason, sizeof reason) == 0);
    CHECK_TEXT(reason, "the driver is too old");
}

TEST_CASE(Module, that_fits_is_used) {
    use_module("right");
    char reason[300] = "stale";
    CHECK(quern_device_count(QUERN_DEVICE_CUDA, reason, sizeof reason) == 1);
    CHECK_TEXT(reason, "");
    quern_device *device;
    REQUIRE_OK(quern_device_create(&device, &cuda));
    CHECK_TEXT(device->backend->name, "fake");
    int64_t from = 3, to = 0;
    CHECK_OK(device->backend->copy(device->stream, &to, &from, sizeof to));
    CHECK_OK(device->backend->stream_wait(device->stream));
    CHECK(to == 3);
    quern_device_destroy(device);
}

TEST_CASE(Module, is_never_taken_from_the_working_directory) {
    char before[1024];
    REQUIRE(getcwd(before, sizeof before) != NULL);
    use_module("right");
    REQUIRE(chdir(getenv("QUERN_BACKEND_PATH")) == 0);
    setenv("QUERN_BACKEND_PATH", ".", 1);
    check_refused(&cuda, QUERN_NO_DEVICE, "not an absolute path");
    setenv("QUERN_BACKEND_PATH", "", 1);
    check_refused(&cuda, QUERN_NO_DEVICE, "cannot be loaded");
    CHECK(chdir(before) == 0);
}

/* A log line behind its level's digit. */
static void keep_line(void *self, quern_log_level level, const char *sentence) {
    const size_t length = strlen(self);
    snprintf((char *)self + length, 400 - length, "%d %s\n", (int)level, sentence);
}

static void check_best(const char *backend, const char *words) {
    char line[400] = "";
    quern_device_desc desc = {.host.log = {keep_line, line}};
    quern_device *device;
    CHECK_STATUS(quern_fail(QUERN_INVALID, "an older failure"), QUERN_INVALID);
    REQUIRE_OK(quern_device_create(&device, &desc));
    CHECK_TEXT(device->backend->name, backend);
    CHECK_HAS(line, words);
    CHECK_TEXT(quern_error(), "an older failure");
    quern_device_destroy(device);
}

TEST_CASE(Device, the_best_is_cuda_when_usable_and_the_log_says_which_and_why) {
    use_module("right");
    check_best("fake", "1 using CUDA");
    use_module("no_device"); /* a module that is installed is meant to be used: a warning */
    check_best("cpu", "2 using the CPU: no usable CUDA device: the driver is too old");
    use_module("wrong_abi");
    check_best("cpu", "2 using the CPU: the CUDA module: built for abi 4000");
    use_module("second_of_two");
    check_best("fake", "2 a GPU is not used: fake 0 has compute capability 1.0");
    use_module("none_of_two");
    check_best("cpu", "2 using the CPU: another process holds the memory of the fake");
    use_module("nothing here");
    check_best("cpu", "1 using the CPU: the CUDA module cannot be loaded");
}

TEST_CASE(Device, a_module_that_does_not_load_is_a_warning) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(temporary_write(&t, "libquern-cuda.so", "no library", 10));
    CHECK(setenv("QUERN_BACKEND_PATH", t.path, 1) == 0);
    check_best("cpu", "2 using the CPU: the CUDA module cannot be loaded: ");
    temporary_end(&t);
}

/* The index is one of GPUs. */
TEST_CASE(Device, the_best_is_the_cpu_where_no_gpu_has_the_index) {
    quern_device *device;
    use_module("nothing here");
    REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.index = 3}));
    CHECK_TEXT(device->backend->name, "cpu");
    quern_device_destroy(device);
}
