/* nvtx.c - the trace of a run as NVTX ranges, for Nsight: domain `quern`, one category per trace
 * category, registered strings as names, and the step (or batch, or bytes) as payload.
 *
 * Without a tool in the process NVTX answers NULL for the domain, and a range costs a call and a
 * comparison. With one, names are registered at their first use and found again by their text:
 * a table of fixed size, because nothing may be allocated during training; what does not fit any
 * more is handed over as plain text. Threads are named at their first ranges. */
#define _GNU_SOURCE /* pthread_getname_np */
#include "nvtx.h"

#include <nvtx3/nvToolsExt.h>
#include <nvtx3/nvToolsExtCudaRt.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NAME_SLOTS = 2048, NAMES_MAX = 1536, NAME_BYTES = 64, CATEGORIES_MAX = 31 };

typedef struct entry {
    char text[NAME_BYTES];
    nvtxStringHandle_t handle;
} entry;

/* One per process, as the domain is. */
static struct nvtx_state {
    pthread_once_t once;
    pthread_mutex_t lock;
    nvtxDomainHandle_t domain; /* NULL: no tool is attached */
    entry names[NAME_SLOTS];
    int32_t name_count;
    char categories[CATEGORIES_MAX][NAME_BYTES];
    uint32_t category_count;
} nvtx = {.once = PTHREAD_ONCE_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};

static void begin_domain(void) { nvtx.domain = nvtxDomainCreateA("quern"); }

static uint64_t hash_of(const char *text) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *text != 0; text++) hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return hash;
}

/* NULL: it is too long, or the table is full. With the lock held. */
static nvtxStringHandle_t registered(const char *text) {
    if (strlen(text) >= NAME_BYTES) return NULL;
    uint64_t at = hash_of(text) % NAME_SLOTS;
    while (nvtx.names[at].text[0] != 0 && strcmp(nvtx.names[at].text, text) != 0)
        at = (at + 1) % NAME_SLOTS;
    entry *e = &nvtx.names[at];
    if (e->text[0] != 0) return e->handle;
    if (nvtx.name_count >= NAMES_MAX || text[0] == 0) return NULL;
    nvtx.name_count++;
    memcpy(e->text, text, strlen(text) + 1);
    e->handle = nvtxDomainRegisterStringA(nvtx.domain, text);
    return e->handle;
}

/* From 1; 0, which has no name, once there are too many. With the lock held. */
static uint32_t category_of(const char *text) {
    for (uint32_t i = 0; i < nvtx.category_count; i++)
        if (strcmp(nvtx.categories[i], text) == 0) return i + 1;
    if (nvtx.category_count == CATEGORIES_MAX || strlen(text) >= NAME_BYTES) return 0;
    memcpy(nvtx.categories[nvtx.category_count++], text, strlen(text) + 1);
    nvtxDomainNameCategoryA(nvtx.domain, nvtx.category_count, text);
    return nvtx.category_count;
}

/* A thread has the name that the core gave it, which may come just after its first range: so the
 * first few look. The thread of the process itself has the program's, which says nothing. */
static void name_thread(void) {
    static _Thread_local int looks = 8;
    static _Thread_local char known[16];
    char name[16] = "main";
    if (looks == 0) return;
    looks--;
    const pid_t thread = (pid_t)syscall(SYS_gettid);
    if (thread != getpid() && pthread_getname_np(pthread_self(), name, sizeof name) != 0) return;
    if (strcmp(name, known) == 0) return;
    memcpy(known, name, sizeof known);
    nvtxNameOsThreadA((uint32_t)thread, name);
}

static void begin_range(void *self, const char *category, const char *name, int64_t value) {
    (void)self;
    if (nvtx.domain == NULL) return;
    nvtxEventAttributes_t range = {.version = NVTX_VERSION, .size = NVTX_EVENT_ATTRIB_STRUCT_SIZE};
    name_thread();
    pthread_mutex_lock(&nvtx.lock);
    range.category = category_of(category);
    range.message.registered = registered(name);
    pthread_mutex_unlock(&nvtx.lock);
    range.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    if (range.message.registered == NULL) {
        range.messageType = NVTX_MESSAGE_TYPE_ASCII;
        range.message.ascii = name;
    }
    range.payloadType = NVTX_PAYLOAD_TYPE_INT64;
    range.payload.llValue = value;
    (void)nvtxDomainRangePushEx(nvtx.domain, &range);
}

static void end_range(void *self) {
    (void)self;
    if (nvtx.domain != NULL) (void)nvtxDomainRangePop(nvtx.domain);
}

quern_trace_sink nvtx_sink(void) {
    pthread_once(&nvtx.once, begin_domain);
    return (quern_trace_sink){.begin = begin_range, .end = end_range};
}

void nvtx_name_stream(cudaStream_t stream, const char *name) { nvtxNameCudaStreamA(stream, name); }
