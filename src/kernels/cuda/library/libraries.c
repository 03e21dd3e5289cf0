#include "libraries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* $QUERN_CACHE, or quern below the user's cache folder. $QUERN_CACHE set to nothing: no folder. */
static void find_folder(char *out, size_t bytes) {
    const char *own = getenv("QUERN_CACHE"), *root = getenv("XDG_CACHE_HOME"), *below = "/quern";
    if (own != NULL)
        root = own, below = "";
    else if (root == NULL || root[0] != '/')
        root = getenv("HOME"), below = "/.cache/quern";
    if (root == NULL || root[0] != '/') root = below = "";
    const int length = snprintf(out, bytes, "%s%s", root, below);
    if (length < 0 || (size_t)length >= bytes) out[0] = 0;
}

static void drop(backend_device *device, void *value) {
    cuda_libraries *l = value;
    (void)device;
    if (l->blas_handle != NULL) TORN_DOWN_BLAS(l, cublasLtDestroy, (l->blas_handle));
    if (l->dnn_handle != NULL) TORN_DOWN_DNN(l, cudnnDestroy, (l->dnn_handle));
    if (l->dnn_device != NULL) TORN_DOWN_DNN(l, cudnnBackendDestroyDescriptor, (l->dnn_device));
    algorithm_cache_clear(&l->algorithms, l->host);
    cuda_record_destroy(l->counted);
    cuda_services()->release(l->host, l, 1, sizeof *l);
}

static size_t dnn_limit_of(const backend_device *device) {
    const size_t share = (size_t)cuda_device_memory_bytes(device) / LIBRARY_WORKSPACE_SHARE;
    return share > LIBRARY_WORKSPACE_LIMIT ? share : LIBRARY_WORKSPACE_LIMIT;
}

quern_status libraries_of(cuda_libraries **out, const quern_stream *stream) {
    backend_device *device = cuda_stream_device(stream);
    const quern_host *host = cuda_device_host(device);
    cuda_libraries *l = cuda_device_slot(device, CUDA_SLOT_LIBRARIES);
    *out = l;
    if (l != NULL) {
        l->record = cuda_device_record(device);
        return QUERN_OK;
    }
    QUERN_TRY(cuda_services()->allocate(host, &l, 1, sizeof *l, "the CUDA libraries"));
    l->host = host;
    l->owner = device;
    l->allow_tf32 = cuda_device_allows_tf32(device);
    l->tune = cuda_device_tunes(device);
    l->record = cuda_device_record(device);
    l->dnn_limit = dnn_limit_of(device);
    snprintf(l->device, sizeof l->device, "%.100s sm_%d", cuda_device_name(device),
             (int)cuda_device_capability(device));
    find_folder(l->folder, sizeof l->folder);
    cuda_device_slot_set(device, CUDA_SLOT_LIBRARIES, l, drop);
    *out = l;
    return QUERN_OK;
}

quern_status libraries_need_blas(cuda_libraries *l) {
    if (l->blas_handle != NULL) return QUERN_OK;
    QUERN_TRY(cublaslt_open(&l->blas));
    const cublasStatus_t code = l->blas.cublasLtCreate(&l->blas_handle);
    if (code == CUBLAS_STATUS_SUCCESS) return l->tune ? algorithm_cache_load(l) : QUERN_OK;
    l->blas_handle = NULL;
    return cublaslt_check(l->owner, &l->blas, code, "cublasLtCreate", NULL);
}

static quern_status open_dnn(cuda_libraries *l) {
    QUERN_TRY(cudnn_open(&l->dnn));
    const size_t version = l->dnn.cudnnGetVersion();
    if (version < LIBRARY_CUDNN_LEAST)
        return cuda_fail(QUERN_UNSUPPORTED, "it has version number %zu, the least is %d", version,
                         LIBRARY_CUDNN_LEAST);
    const cudnnStatus_t code = l->dnn.cudnnCreate(&l->dnn_handle);
    if (code == CUDNN_STATUS_SUCCESS) return QUERN_OK;
    l->dnn_handle = NULL;
    return cudnn_check(l->owner, &l->dnn, code, "cudnnCreate", NULL);
}

quern_status libraries_find_dnn(cuda_libraries *l, bool *there) {
    *there = l->dnn_handle != NULL || l->dnn_device != NULL;
    if (*there || l->dnn_absent) return QUERN_OK;
    const quern_status status = open_dnn(l);
    *there = status == QUERN_OK;
    if (status != QUERN_UNSUPPORTED) return status;
    l->dnn_absent = true;
    libraries_tell_direct(l, cuda_services()->error());
    return QUERN_OK;
}

void libraries_tell_direct(cuda_libraries *l, const char *why) {
    if (l->told_direct) return;
    l->told_direct = true;
    cuda_services()->log(l->host, QUERN_LOG_WARNING,
                         "cuDNN is not used: %s; convolutions are computed directly, which is slow",
                         why);
}

void libraries_tell_unusable(cuda_libraries *l, const char *path, const char *why) {
    if (l->told) return;
    l->told = true;
    cuda_services()->log(l->host, QUERN_LOG_WARNING,
                         "%s is not used (%s); what it remembered is found anew", path, why);
}
