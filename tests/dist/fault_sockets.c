#include "fault_sockets.h"

#include <errno.h>

#define SLICE_NS INT64_C(5000000)
#define AHEAD_NS INT64_C(10000000000)

static bool fails(fault_sockets *f) {
    const int64_t n = atomic_fetch_add(&f->calls, 1) + 1;
    const bool now = f->at > 0 && (n == f->at || (f->for_ever && n > f->at));
    if (now) atomic_fetch_add(&f->fired, 1);
    return now;
}

static int64_t opened(fault_sockets *f, int64_t handle) {
    if (handle >= 0) atomic_fetch_add(&f->open, 1);
    return handle;
}

/* Only what is read can be closed by the other side. */
static int64_t error_of(const fault_sockets *f) {
    return f->error != 0 ? f->error : -(int64_t)ECONNRESET;
}

static size_t cut(const fault_sockets *f, size_t bytes) {
    return f->at_most > 0 && bytes > f->at_most ? f->at_most : bytes;
}

static bool is_hurried(const fault_sockets *f) { return f->hurry != NULL && atomic_load(f->hurry); }

/* How long to wait before the next look whether there is hurry. */
static int64_t slice(const fault_sockets *f, int64_t left_ns) {
    return f->hurry != NULL && left_ns > SLICE_NS ? SLICE_NS : left_ns;
}

static bool goes_on(const fault_sockets *f, int64_t returned, int64_t *left_ns) {
    *left_ns -= SLICE_NS;
    return returned == -(int64_t)ETIMEDOUT && f->hurry != NULL && *left_ns > 0 && !is_hurried(f);
}

static int64_t clock_ns(void *self) {
    fault_sockets *f = self;
    const quern_clock clock = quern_host_default().clock;
    if (is_hurried(f)) atomic_fetch_add(&f->ahead_ns, AHEAD_NS);
    return clock.monotonic_ns(clock.self) + atomic_load(&f->ahead_ns);
}

static int64_t fault_listen(void *self, const char *host, uint16_t port, uint16_t *out_port) {
    fault_sockets *f = self;
    if (fails(f)) return error_of(f);
    return opened(f, f->inner.listen(f->inner.self, host, port, out_port));
}

static int64_t fault_accept(void *self, int64_t listener, char *from, size_t from_bytes,
                            int64_t timeout_ns) {
    fault_sockets *f = self;
    int64_t handle;
    if (fails(f)) return error_of(f);
    do handle = f->inner.accept(f->inner.self, listener, from, from_bytes, slice(f, timeout_ns));
    while (goes_on(f, handle, &timeout_ns));
    return opened(f, handle);
}

static int64_t fault_connect(void *self, const char *host, uint16_t port, int64_t timeout_ns) {
    fault_sockets *f = self;
    if (fails(f)) return error_of(f);
    return opened(f, f->inner.connect(f->inner.self, host, port, timeout_ns));
}

static int64_t fault_send(void *self, int64_t link, const void *from, size_t bytes,
                          int64_t timeout_ns) {
    fault_sockets *f = self;
    int64_t sent;
    if (fails(f)) return error_of(f);
    do sent = f->inner.send(f->inner.self, link, from, cut(f, bytes), slice(f, timeout_ns));
    while (goes_on(f, sent, &timeout_ns));
    return sent;
}

static int64_t fault_receive(void *self, int64_t link, void *to, size_t bytes, int64_t timeout_ns) {
    fault_sockets *f = self;
    int64_t got;
    if (fails(f)) return f->error;
    do got = f->inner.receive(f->inner.self, link, to, cut(f, bytes), slice(f, timeout_ns));
    while (goes_on(f, got, &timeout_ns));
    return got;
}

static int64_t fault_stop(void *self, int64_t link) {
    fault_sockets *f = self;
    return f->inner.stop(f->inner.self, link);
}

static int64_t fault_close(void *self, int64_t handle) {
    fault_sockets *f = self;
    atomic_fetch_sub(&f->open, 1);
    return f->inner.close(f->inner.self, handle);
}

void fault_sockets_begin(fault_sockets *f) {
    *f = (fault_sockets){.inner = sockets_posix(), .error = -(int64_t)ECONNRESET};
    f->net = (sockets){
        .listen = fault_listen,
        .accept = fault_accept,
        .connect = fault_connect,
        .send = fault_send,
        .receive = fault_receive,
        .stop = fault_stop,
        .close = fault_close,
        .self = f,
    };
    f->clock = quern_host_default().clock;
    f->clock.monotonic_ns = clock_ns, f->clock.self = f;
}
