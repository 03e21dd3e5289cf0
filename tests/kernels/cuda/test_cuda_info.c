/* What the module says of itself and of the machine: versions, libraries, architectures. */
#include "quern_test.h"

#include "fake_core.h"
#include "nvtx_seen.h"
#include "kernels/cuda/device/architecture.h"
#include "kernels/cuda/device/driver_release.h"
#include "support/temporary.h"

#include <stdio.h>
#include <string.h>

TEST_CASE(CudaInfo, kernels_run_where_their_machine_code_or_their_ptx_does) {
    static const struct {
        const char *built;
        int capability;
        bool covered, from_ptx;
    } cases[] = {
        {"90", 90, true, false},
        {"90", 89, false, false},
        {"90", 75, false, false},
        {"90", 100, true, true},
        {"80", 86, true, false},
        {"80", 90, true, true},
        {"86", 80, false, false},
        {"90-real", 100, false, false},
        {"90-real", 90, true, false},
        {"90-virtual", 90, true, true},
        {"90-virtual", 89, false, false},
        {"90a", 90, true, false},
        {"90a", 100, false, false},
        {"90a-real", 90, true, false},
        {"80-real,90-real,100-real,90-virtual", 75, false, false},
        {"80-real,90-real,100-real,90-virtual", 89, true, false},
        {"80-real,90-real,100-real,90-virtual", 103, true, false},
        {"80-real,90-real,100-real,90-virtual", 120, true, true},
        {"80-real,90-real,100-real", 120, false, false},
        {"native", 75, true, false},
        {"", 90, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool from_ptx = !cases[i].from_ptx;
        const bool covered = architecture_covers(cases[i].built, cases[i].capability, &from_ptx);
        CHECK_SAY(covered == cases[i].covered && from_ptx == cases[i].from_ptx,
                  "built for \"%s\", on %d: %d, %d", cases[i].built, cases[i].capability,
                  (int)covered, (int)from_ptx);
    }
}

TEST_CASE(CudaInfo, the_profiler_is_started_and_stopped_and_a_refusal_is_told) {
    const module_tools *tools =
        quern_cuda_tools(MODULE_ABI, module_op_table_hash(), fake_core_services());
    REQUIRE(tools != NULL);
    fake_begin();
    CHECK_OK(tools->profiler(true));
    CHECK(fake.count[FAKE_cudaProfilerStart] == 1 && fake.count[FAKE_cudaProfilerStop] == 0);
    CHECK_OK(tools->profiler(false));
    CHECK(fake.count[FAKE_cudaProfilerStart] == 1 && fake.count[FAKE_cudaProfilerStop] == 1);
    fake.fault[FAKE_cudaProfilerStart].at = fake.fault[FAKE_cudaProfilerStop].at = 2;
    fake.fault[FAKE_cudaProfilerStart].code = cudaErrorNotSupported;
    fake.fault[FAKE_cudaProfilerStop].code = cudaErrorInvalidValue;
    CHECK_STATUS(tools->profiler(true), QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("cudaProfilerStart failed with 801 (cudaErrorNotSupported");
    CHECK_STATUS(tools->profiler(false), QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("cudaProfilerStop failed with 1 (cudaErrorInvalidValue");
    fake_begin();
}

/* The injected profiler is attached to this executable. */
TEST_CASE(CudaInfo, streams_have_the_names_that_they_were_made_with) {
    const quern_backend *cuda = fake_core_open();
    const quern_host host = quern_host_default();
    const backend_open_desc desc = {.host = &host};
    backend_device *device;
    quern_stream *streams[2];
    fake_begin();
    REQUIRE_OK(cuda->open(&device, &desc));
    REQUIRE_OK(cuda->stream_create(device, &streams[0], "quern"));
    REQUIRE_OK(cuda->stream_create(device, &streams[1], "quern-copy"));
    CHECK(nvtx_seen_count("stream quern\n") == 1);
    CHECK(nvtx_seen_count("stream quern-copy\n") == 1);
    for (int i = 0; i < 2; i++) cuda->stream_destroy(streams[i]);
    cuda->close(device);
}

TEST_CASE(CudaInfo, the_drivers_release_is_read_from_what_it_writes) {
    static const struct {
        const char *text, *release;
    } cases[] = {
        {"NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
         "GCC version:  gcc version 12.2.0\n",
         "550.54.15"},
        {"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n",
         "580.65.06"},
        {"no release in here 12 . .5 5. a.b", ""},
        {"12345678901234567890.12345 is too long for one", ""},
        {"", ""},
    };
    temporary t;
    REQUIRE(temporary_begin(&t));
    char release[24] = "stale";
    driver_release_read(temporary_join(&t, "version"), release, sizeof release);
    CHECK_TEXT(release, "");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        REQUIRE(temporary_write(&t, "version", cases[i].text, strlen(cases[i].text)));
        driver_release_read(temporary_join(&t, "version"), release, sizeof release);
        CHECK_TEXT(release, cases[i].release);
    }
    temporary_end(&t);
}

static const module_tools *open_tools(void) {
    const module_tools *quern_cuda_tools(uint32_t abi, uint64_t op_table_hash,
                                         const quern_services *services);
    return quern_cuda_tools(MODULE_ABI, module_op_table_hash(), fake_core_services());
}

TEST_CASE(CudaInfo, tells_versions_and_libraries_also_without_a_driver) {
    quern_cuda_info info;
    fake_begin();
    REQUIRE_OK(open_tools()->info(&info));
    CHECK(info.driver_version == 13000 && info.runtime_version == CUDART_VERSION);
    CHECK(info.architectures[0] != 0);
    CHECK_TEXT(info.libraries[1].name, "cuDNN");
    CHECK_TEXT(info.libraries[1].version, "9.19.0");
    CHECK_TEXT(info.libraries[2].reason, "libnccl.so.2 cannot be loaded");
    fake.driver_version = 0;
    REQUIRE_OK(open_tools()->info(&info));
    CHECK(info.driver_version == 0 && info.runtime_version == CUDART_VERSION);
    fake.fault[FAKE_cudaDriverGetVersion] = (fake_fault){1, cudaErrorSystemDriverMismatch, true};
    fake.fault[FAKE_cudaRuntimeGetVersion] = (fake_fault){1, cudaErrorInitializationError, true};
    REQUIRE_OK(open_tools()->info(&info));
    CHECK(info.driver_version == 0 && info.runtime_version == 0);
    fake_begin();
}

static void keep_line(void *self, quern_log_level level, const char *sentence) {
    snprintf(self, 300, "%d %s", (int)level, sentence);
}

static quern_status open_device(const quern_host *host) {
    backend_device *device = NULL;
    const quern_backend *cuda = fake_core_open();
    const backend_open_desc desc = {.host = host};
    quern_device_info info;
    quern_status status = cuda->open(&device, &desc);
    if (status == QUERN_OK) status = cuda->info(device, &info);
    cuda->close(device);
    return status;
}

TEST_CASE(CudaInfo, a_device_that_needs_ptx_is_used_and_told_of) {
    char line[300] = "";
    quern_host host = quern_host_default();
    host.log = (quern_log_sink){keep_line, line};
    fake_begin();
    CHECK_OK(open_device(&host));
    CHECK_TEXT(line, "");
    fake.capability = 120;
    CHECK_OK(open_device(&host));
    CHECK_HAS(line, "2 CUDA device 0 (Fake H200) has compute capability 12.0; this module was "
                    "built for ");
    CHECK_HAS(line, "from PTX");
    fake.capability = 75;
    CHECK_STATUS(open_device(&host), QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("has compute capability 7.5; this module was built for ");
    CHECK_ERROR_HAS("(QUERN_CUDA_ARCH)");
}

TEST_CASE(CudaInfo, a_device_whose_memory_another_process_holds_says_so) {
    const quern_host host = quern_host_default();
    fake_begin();
    fake.fault[FAKE_cudaMemGetInfo] = (fake_fault){1, cudaErrorMemoryAllocation, true};
    CHECK_STATUS(open_device(&host), QUERN_DEVICE_MEMORY);
    CHECK_ERROR_HAS("cudaMemGetInfo failed with 2");
    CHECK_ERROR_HAS("on CUDA device 0 (Fake H200): another process may hold its memory");
    fake_begin();
}
