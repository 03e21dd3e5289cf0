#include "library_report.h"

#include "shared_library.h"

#include <cublasLt.h>
#include <cudnn.h>
#include <nccl.h>
#include <stdio.h>
#include <string.h>

static int64_t cublaslt_version(shared_function function) {
    return (int64_t)((__typeof__(cublasLtGetVersion) *)function)();
}

static int64_t cudnn_version(shared_function function) {
    return (int64_t)((__typeof__(cudnnGetVersion) *)function)();
}

static int64_t nccl_version(shared_function function) {
    int version = 0;
    return ((__typeof__(ncclGetVersion) *)function)(&version) == ncclSuccess ? version : 0;
}

static const struct {
    const char *name, *file, *root_variable, *function;
    int64_t (*version)(shared_function function);
} libraries[QUERN_CUDA_LIBRARY_COUNT] = {
    {"cuBLASLt", CUBLASLT_FILE, "CUBLAS_ROOT", "cublasLtGetVersion", cublaslt_version},
    {"cuDNN", CUDNN_FILE, "CUDNN_ROOT", "cudnnGetVersion", cudnn_version},
    {"NCCL", NCCL_FILE, "NCCL_ROOT", "ncclGetVersion", nccl_version},
};

void library_version(char *to, size_t bytes, int64_t version) {
    snprintf(to, bytes, "%d.%d.%d", (int)(version / 10000), (int)(version / 100 % 100),
             (int)(version % 100));
}

quern_status library_require(void) {
    void *library;
    return shared_library_open(&library, libraries[0].file, libraries[0].root_variable);
}

static quern_status look(quern_library_info *out, int i) {
    void *library;
    shared_function function;
    QUERN_TRY(shared_library_open(&library, libraries[i].file, libraries[i].root_variable));
    QUERN_TRY(shared_library_find(&function, library, libraries[i].file, libraries[i].function));
    shared_library_path(library, out->path, sizeof out->path);
    library_version(out->version, sizeof out->version, libraries[i].version(function));
    return QUERN_OK;
}

/* That one is missing is a finding, no failure: this thread's sentence stays. */
void library_report(quern_library_info out[QUERN_CUDA_LIBRARY_COUNT]) {
    char before[1024];
    snprintf(before, sizeof before, "%s", cuda_services()->error());
    for (int i = 0; i < QUERN_CUDA_LIBRARY_COUNT; i++) {
        memset(&out[i], 0, sizeof out[i]);
        snprintf(out[i].name, sizeof out[i].name, "%s", libraries[i].name);
        if (look(&out[i], i) != QUERN_OK)
            snprintf(out[i].reason, sizeof out[i].reason, "%s", cuda_services()->error());
    }
    (void)cuda_fail(QUERN_OK, "%s", before);
}
