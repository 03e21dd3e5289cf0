/* nvtx_injection.c - a profiler as NVTX meets it: a library named by NVTX_INJECTION64_PATH. It
 * writes down every call of interest, a line each, for test_nvtx.c to read. */
#include "nvtx_injection.h"

#include "nvtx3/nvToolsExt.h"
#include "nvtx3/nvToolsExtCudaRt.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char written[NVTX_NOTES_BYTES];
static size_t length;

EXPORTED const char *nvtx_notes(void);
const char *nvtx_notes(void) { return written; }

static void note(const char *format, ...) {
    va_list list;
    pthread_mutex_lock(&lock);
    va_start(list, format);
    const int more = vsnprintf(written + length, sizeof written - length, format, list);
    va_end(list);
    if (more > 0 && length + (size_t)more < sizeof written) length += (size_t)more;
    pthread_mutex_unlock(&lock);
}

static nvtxDomainHandle_t domain_create(const char *name) {
    note("domain %s\n", name);
    return (nvtxDomainHandle_t)(void *)written;
}

/* A handle is a copy of its text that stays for ever. */
static nvtxStringHandle_t string_register(nvtxDomainHandle_t domain, const char *text) {
    (void)domain;
    note("string %s\n", text);
    return (nvtxStringHandle_t)(void *)strdup(text);
}

static void category_name(nvtxDomainHandle_t domain, uint32_t category, const char *name) {
    (void)domain;
    note("category %u %s\n", category, name);
}

static int range_push(nvtxDomainHandle_t domain, const nvtxEventAttributes_t *range) {
    (void)domain;
    const bool registered = range->messageType == NVTX_MESSAGE_TYPE_REGISTERED;
    note("push %u %s %s %lld\n", range->category, registered ? "registered" : "text",
         registered ? (const char *)(const void *)range->message.registered : range->message.ascii,
         range->payloadType == NVTX_PAYLOAD_TYPE_INT64 ? (long long)range->payload.llValue : -1);
    return 0;
}

static int range_pop(nvtxDomainHandle_t domain) {
    (void)domain;
    note("pop\n");
    return 0;
}

static void stream_name(cudaStream_t stream, const char *name) {
    (void)stream;
    note("stream %s\n", name);
}

static void thread_name(uint32_t thread, const char *name) {
    (void)thread;
    note("thread %s\n", name);
}

static void put(const NvtxExportTableCallbacks *callbacks, NvtxCallbackModule module, unsigned slot,
                void (*function)(void)) {
    NvtxFunctionTable table;
    unsigned size;
    if (callbacks->GetModuleFunctionTable(module, &table, &size) && slot < size)
        *table[slot] = (NvtxFunctionPointer)function;
}

EXPORTED int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_export_table);
int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_export_table) {
    const NvtxExportTableCallbacks *callbacks = get_export_table(NVTX_ETID_CALLBACKS);
    if (callbacks == NULL || callbacks->struct_size < sizeof *callbacks) return 0;
    const NvtxCallbackModule core = NVTX_CB_MODULE_CORE2;
#define PUT(id, function) put(callbacks, core, NVTX_CBID_CORE2_##id, (void (*)(void))function)
    PUT(DomainCreateA, domain_create);
    PUT(DomainRegisterStringA, string_register);
    PUT(DomainNameCategoryA, category_name);
    PUT(DomainRangePushEx, range_push);
    PUT(DomainRangePop, range_pop);
#undef PUT
    put(callbacks, NVTX_CB_MODULE_CORE, NVTX_CBID_CORE_NameOsThreadA, (void (*)(void))thread_name);
    put(callbacks, NVTX_CB_MODULE_CUDART, NVTX_CBID_CUDART_NameCudaStreamA,
        (void (*)(void))stream_name);
    return 1;
}
