/* fake_device.c - the plan of failures, the list of what is alive, and what no caller may do. */
#include "fake_parts.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fake_device fake;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static fake_object *objects;
static uint64_t random_state;

const char *fake_call_name(fake_call call) {
    static const char *const names[FAKE_CALL_COUNT] = {
#define X(name, parameters) #name,
        CUDA_DRIVER_LIST(X)
#undef X
    };
    return names[call];
}

static void free_everything(void) {
    while (objects != NULL) {
        fake_object *o = objects;
        if (o->kind == FAKE_BLOCK || o->kind == FAKE_PINNED)
            (void)fake_memory_release(((fake_block *)(void *)o)->data, o->kind);
        else
            fake_object_destroy(o);
    }
}

void fake_begin(void) {
    free_everything();
    fake = (fake_device){
        .device_count = 1,
        .driver_version = 13000,
        .capability = 90,
        .memory_bytes = (size_t)1 << 30,
    };
    random_state = 1;
}

int64_t fake_live(void) {
    int64_t count = 0;
    for (const fake_object *o = objects; o != NULL; o = o->next) count++;
    return count;
}

bool fake_fired(void) {
    for (int i = 0; i < FAKE_CALL_COUNT; i++)
        if (fake.fired[i] > 0) return true;
    return false;
}

void fake_misuse(const char *what) {
    if (fake.misuse[0] == 0) snprintf(fake.misuse, sizeof fake.misuse, "%s", what);
}

/* xorshift, seeded by the plan */
uint64_t fake_random(void) {
    if (random_state == 1) random_state = fake.seed * 2 + 0x9e3779b97f4a7c15u;
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* After one of these CUDA refuses all further work of the process. */
static bool is_sticky(cudaError_t code) {
    return code == cudaErrorIllegalAddress || code == cudaErrorLaunchFailure ||
           code == cudaErrorLaunchTimeout || code == cudaErrorECCUncorrectable ||
           code == cudaErrorMisalignedAddress || code == cudaErrorAssert;
}

/* What tears down or only looks may still be called then. */
static bool is_teardown(fake_call call) {
    return call == FAKE_cudaFree || call == FAKE_cudaFreeHost || call == FAKE_cudaStreamDestroy ||
           call == FAKE_cudaEventDestroy || call == FAKE_cudaGraphDestroy ||
           call == FAKE_cudaGraphExecDestroy || call == FAKE_cudaGetLastError ||
           call == FAKE_cudaSetDevice || call == FAKE_cudaDriverGetVersion ||
           call == FAKE_cudaRuntimeGetVersion;
}

bool fake_enter(fake_call call, cudaError_t *out) {
    pthread_mutex_lock(&lock);
    const int64_t n = ++fake.count[call];
    const fake_fault *f = &fake.fault[call];
    const bool asks = call == FAKE_cudaMemGetInfo && !fake.sticky_asked;
    if (fake.sticky != cudaSuccess && asks) fake.sticky_asked = true;
    if (fake.sticky != cudaSuccess && !is_teardown(call) && !asks) {
        char what[128];
        snprintf(what, sizeof what, "%s after a sticky error", fake_call_name(call));
        fake_misuse(what);
    }
    if (fake.sticky == cudaSuccess) fake_advance();
    *out = is_teardown(call) ? cudaSuccess : fake.sticky;
    if (f->at > 0 && (n == f->at || (f->for_ever && n > f->at))) {
        fake.fired[call]++;
        *out = f->code;
        if (is_sticky(f->code) && !is_teardown(call)) fake.sticky = f->code;
    }
    return *out == cudaSuccess;
}

cudaError_t fake_leave(cudaError_t code) {
    pthread_mutex_unlock(&lock);
    return code;
}

void *fake_object_create(fake_kind kind, size_t bytes) {
    fake_object *o = calloc(1, bytes);
    if (o == NULL) abort();
    o->kind = kind;
    o->next = objects;
    objects = o;
    return o;
}

void fake_object_destroy(void *object) {
    for (fake_object **at = &objects; *at != NULL; at = &(*at)->next) {
        if (*at != object) continue;
        *at = (*at)->next;
        fake_object *o = object;
        if (o->kind == FAKE_STREAM) fake_ops_free(&((fake_stream *)object)->queue);
        if (o->kind == FAKE_GRAPH) fake_ops_free(&((fake_graph *)object)->ops);
        if (o->kind == FAKE_EXECUTABLE) fake_ops_free(&((fake_executable *)object)->ops);
        free(object);
        return;
    }
}

void *fake_object_find(const void *handle, fake_kind kind) {
    for (fake_object *o = objects; o != NULL; o = o->next)
        if (o == handle && o->kind == kind) return o;
    fake_misuse("a handle that is not alive");
    return NULL;
}

fake_object *fake_objects(void) { return objects; }

void fake_read(void *to, const void *device_pointer, size_t bytes) {
    pthread_mutex_lock(&lock);
    fake_memory_open();
    memcpy(to, device_pointer, bytes);
    fake_memory_close();
    pthread_mutex_unlock(&lock);
}
