/* posix_sockets.c - TCP sockets: non-blocking inside, so that every wait has its bound. A handle is
 * a file descriptor, closed on exec; a peer that is gone is an error and no SIGPIPE. */
#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 128 };

static int64_t result(int64_t returned) { return returned < 0 ? -(int64_t)errno : returned; }

static int64_t close_with(int handle, int64_t error) {
    (void)close(handle);
    return error;
}

/* 0 when the handle is ready, or broken: the call that follows says which. */
static int64_t wait_for(int64_t handle, short events, int64_t timeout_ns) {
    struct pollfd p = {.fd = (int)handle, .events = events};
    const int64_t up = timeout_ns / 1000000 + (timeout_ns % 1000000 > 0);
    const int ready = poll(&p, 1, up > INT32_MAX ? INT32_MAX : (int)up);
    if (ready < 0) return -(int64_t)errno;
    return ready == 0 ? -(int64_t)ETIMEDOUT : 0;
}

/* Small messages go out at once: each is waited for. */
static int64_t prepare(int handle) {
    const int on = 1;
    if (fcntl(handle, F_SETFD, FD_CLOEXEC) < 0 || fcntl(handle, F_SETFL, O_NONBLOCK) < 0)
        return -(int64_t)errno;
    (void)setsockopt(handle, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(handle, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return handle;
}

static int64_t open_socket(const struct addrinfo *a) {
    const int handle = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
    if (handle < 0) return -(int64_t)errno;
    const int64_t prepared = prepare(handle);
    return prepared < 0 ? close_with(handle, prepared) : handle;
}

static int64_t look_up(struct addrinfo **out, const char *host, uint16_t port, int flags) {
    char service[8];
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    snprintf(service, sizeof service, "%u", (unsigned)port);
    const int code = getaddrinfo(host, service, &hints, out);
    if (code == 0) return 0;
    *out = NULL;
    return code == EAI_MEMORY ? -(int64_t)ENOMEM : -(int64_t)EHOSTUNREACH;
}

static int64_t listen_at(const struct addrinfo *a, uint16_t *out_port) {
    const int on = 1, off = 0;
    struct sockaddr_storage bound;
    socklen_t bytes = sizeof bound;
    const int64_t handle = open_socket(a);
    if (handle < 0) return handle;
    (void)setsockopt((int)handle, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->ai_family == AF_INET6 &&
        setsockopt((int)handle, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0)
        return close_with((int)handle, -(int64_t)errno);
    if (bind((int)handle, a->ai_addr, a->ai_addrlen) != 0 || listen((int)handle, BACKLOG) != 0 ||
        getsockname((int)handle, (struct sockaddr *)&bound, &bytes) != 0)
        return close_with((int)handle, -(int64_t)errno);
    const bool six = bound.ss_family == AF_INET6;
    *out_port = ntohs(six ? ((struct sockaddr_in6 *)&bound)->sin6_port
                          : ((struct sockaddr_in *)&bound)->sin_port);
    return handle;
}

static int64_t listen_first(const struct addrinfo *a, int family, uint16_t *out_port) {
    int64_t handle = -(int64_t)EADDRNOTAVAIL;
    for (; a != NULL && handle < 0; a = a->ai_next)
        if (family == AF_UNSPEC || family == a->ai_family) handle = listen_at(a, out_port);
    return handle;
}

/* Every interface: a socket of IPv6 that takes IPv4 too, where the system has IPv6. */
static int64_t posix_listen(void *self, const char *host, uint16_t port, uint16_t *out_port) {
    struct addrinfo *found;
    (void)self;
    int64_t handle = look_up(&found, host, port, AI_PASSIVE);
    if (handle < 0) return handle;
    handle = listen_first(found, host == NULL ? AF_INET6 : AF_UNSPEC, out_port);
    if (handle < 0 && host == NULL) handle = listen_first(found, AF_INET, out_port);
    freeaddrinfo(found);
    return handle;
}

static void write_address(char *to, size_t bytes, const struct sockaddr_storage *address,
                          socklen_t length) {
    char host[64], service[8];
    const int code = getnameinfo((const struct sockaddr *)address, length, host, sizeof host,
                                 service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV);
    const char *mapped = "::ffff:"; /* IPv4 at a socket of IPv6 */
    const bool four = code == 0 && strncmp(host, mapped, strlen(mapped)) == 0;
    snprintf(to, bytes, code == 0 ? "%s:%s" : "an unknown address",
             four ? host + strlen(mapped) : host, service);
}

static int64_t posix_accept(void *self, int64_t listener, char *from, size_t from_bytes,
                            int64_t timeout_ns) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    (void)self;
    const int64_t ready = wait_for(listener, POLLIN, timeout_ns);
    if (ready < 0) return ready;
    const int handle = accept((int)listener, (struct sockaddr *)&address, &length);
    if (handle < 0) return -(int64_t)errno;
    write_address(from, from_bytes, &address, length);
    const int64_t prepared = prepare(handle);
    return prepared < 0 ? close_with(handle, prepared) : handle;
}

/* Where nobody listens at a port of the range that the system draws from, a socket may be given
 * that port for its own and meet itself. */
static bool is_own_peer(int handle) {
    struct sockaddr_storage own, other;
    socklen_t own_bytes = sizeof own, other_bytes = sizeof other;
    memset(&own, 0, sizeof own);
    memset(&other, 0, sizeof other);
    return getsockname(handle, (struct sockaddr *)&own, &own_bytes) == 0 &&
           getpeername(handle, (struct sockaddr *)&other, &other_bytes) == 0 &&
           own_bytes == other_bytes && memcmp(&own, &other, own_bytes) == 0;
}

static int64_t finish_connecting(int64_t handle, int64_t timeout_ns) {
    int error = 0;
    socklen_t bytes = sizeof error;
    const int64_t ready = wait_for(handle, POLLOUT, timeout_ns);
    if (ready < 0) return ready;
    if (getsockopt((int)handle, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0) error = errno;
    return -(int64_t)error;
}

static int64_t connect_to(const struct addrinfo *a, int64_t timeout_ns) {
    int64_t error = 0;
    const int64_t handle = open_socket(a);
    if (handle < 0) return handle;
    if (connect((int)handle, a->ai_addr, a->ai_addrlen) != 0)
        error = errno == EINPROGRESS ? finish_connecting(handle, timeout_ns) : -(int64_t)errno;
    if (error == 0 && is_own_peer((int)handle)) error = -(int64_t)ECONNREFUSED;
    return error != 0 ? close_with((int)handle, error) : handle;
}

static int64_t posix_connect(void *self, const char *host, uint16_t port, int64_t timeout_ns) {
    struct addrinfo *found;
    (void)self;
    int64_t handle = look_up(&found, host, port, 0);
    if (handle < 0) return handle;
    handle = -(int64_t)EHOSTUNREACH;
    for (const struct addrinfo *a = found; a != NULL && handle < 0; a = a->ai_next)
        handle = connect_to(a, timeout_ns);
    freeaddrinfo(found);
    return handle;
}

static bool would_block(int64_t returned) {
    return returned == -(int64_t)EAGAIN || returned == -(int64_t)EWOULDBLOCK;
}

static int64_t posix_send(void *self, int64_t link, const void *from, size_t bytes,
                          int64_t timeout_ns) {
    (void)self;
    int64_t done = result(send((int)link, from, bytes, MSG_NOSIGNAL));
    if (!would_block(done)) return done;
    const int64_t ready = wait_for(link, POLLOUT, timeout_ns);
    if (ready < 0) return ready;
    done = result(send((int)link, from, bytes, MSG_NOSIGNAL));
    return would_block(done) ? -(int64_t)EINTR : done;
}

static int64_t posix_receive(void *self, int64_t link, void *to, size_t bytes, int64_t timeout_ns) {
    (void)self;
    int64_t done = result(recv((int)link, to, bytes, 0));
    if (!would_block(done)) return done;
    const int64_t ready = wait_for(link, POLLIN, timeout_ns);
    if (ready < 0) return ready;
    done = result(recv((int)link, to, bytes, 0));
    return would_block(done) ? -(int64_t)EINTR : done;
}

static int64_t posix_stop(void *self, int64_t link) {
    return (void)self, result(shutdown((int)link, SHUT_RDWR));
}

static int64_t posix_close(void *self, int64_t handle) {
    return (void)self, result(close((int)handle));
}

sockets sockets_posix(void) {
    return (sockets){
        .listen = posix_listen,
        .accept = posix_accept,
        .connect = posix_connect,
        .send = posix_send,
        .receive = posix_receive,
        .stop = posix_stop,
        .close = posix_close,
    };
}
