#include "rank.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Bound and not listened at: with SO_REUSEADDR a rank may still listen there. */
uint16_t free_port(void) {
    static int held = -1;
    const int on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t bytes = sizeof at;
    if (held >= 0) close(held);
    held = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(held >= 0 && setsockopt(held, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
    CHECK(bind(held, (const struct sockaddr *)&at, sizeof at) == 0);
    CHECK(getsockname(held, (struct sockaddr *)&at, &bytes) == 0 && at.sin_port != 0);
    return ntohs(at.sin_port);
}

void rest_until(const atomic_bool *set) {
    for (int ms = 0; ms < 60000 && !atomic_load(set); ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static quern_status rank_begin(rank *r) {
    const backend_open_desc open = {.thread_count = 1, .host = &r->faults.host};
    r->desc.backend = r->backend != NULL ? r->backend : &quern_backend_cpu;
    r->desc.host = &r->faults.host;
    quern_status status = quern_backend_cpu.open(&r->device, &open);
    if (status == QUERN_OK) status = quern_backend_cpu.stream_create(r->device, &r->stream, "test");
    r->desc.device = r->device;
    return status == QUERN_OK ? world_create(&r->world, &r->desc) : status;
}

static void *rank_main(void *context) {
    rank *r = context;
    r->status = rank_begin(r);
    if (r->status == QUERN_OK) r->status = r->body(r);
    snprintf(r->sentence, sizeof r->sentence, "%s", r->status == QUERN_OK ? "" : quern_error());
    world_destroy(r->world);
    if (r->stream != NULL) quern_backend_cpu.stream_destroy(r->stream);
    quern_backend_cpu.close(r->device);
    CHECK(fault_host_live(&r->faults) == 0);
    if (r->status != QUERN_OK && r->lost != NULL) atomic_store(r->lost, true);
    return NULL;
}

void rank_start(rank *r, int32_t number, int32_t size, uint16_t port, quern_status (*body)(rank *r),
                const void *context, void (*change)(rank *r)) {
    memset(r, 0, sizeof *r);
    fault_host_begin(&r->faults, NULL);
    r->desc.place = (world_place){.rank = number, .size = size, .address = "127.0.0.1"};
    r->desc.place.port = port;
    r->desc.timeout_s = 20;
    r->body = body, r->context = context;
    if (change != NULL) change(r);
    CHECK(pthread_create(&r->thread, NULL, rank_main, r) == 0);
}

void rank_join(rank *r) { CHECK(pthread_join(r->thread, NULL) == 0); }

void ranks_run(rank *ranks, int32_t size, quern_status (*body)(rank *r), const void *context,
               void (*change)(rank *r)) {
    const uint16_t port = free_port();
    for (int32_t i = 0; i < size; i++) rank_start(&ranks[i], i, size, port, body, context, change);
    for (int32_t i = 0; i < size; i++) rank_join(&ranks[i]);
}

static quern_view flat(const void *data, int64_t count, quern_dtype dtype) {
    return (quern_view){.data = (void *)(uintptr_t)data,
                        .dim = {count},
                        .stride = {1},
                        .count = count,
                        .rank = 1,
                        .dtype = dtype};
}

quern_status rank_collect(rank *r, collective what, const void *in, int64_t in_count, void *out,
                          int64_t out_count, quern_dtype dtype, collective_call call) {
    const quern_backend *b = &quern_backend_cpu;
    const quern_view from = flat(in, in_count, dtype), to = flat(out, out_count, dtype);
    backend_event *event;
    call.group = world_group(r->world);
    const quern_kernel_args args = {.attributes = &call,
                                    .in = &from,
                                    .out = &to,
                                    .input_count = 1,
                                    .output_count = 1,
                                    .stream = r->stream};
    quern_status status = b->event_create(r->device, &event);
    if (status != QUERN_OK) return status;
    status = world_issue(r->world, r->stream, what, &args);
    if (status == QUERN_OK) status = b->event_record(event, r->stream);
    if (status == QUERN_OK) status = world_watch(r->world, event);
    if (status == QUERN_OK) status = b->event_wait(event);
    b->event_destroy(event);
    return status;
}
