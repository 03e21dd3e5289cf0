/* sockets.h - what the library asks of the network: one table, like the file operations of host.h,
 * so that a test can fail any call of it or stand in for a peer.
 *
 * A handle is >= 0. Every function returns 0, a handle or a count on success and a negated errno on
 * failure; -ETIMEDOUT when nothing happened within timeout_ns (0: looks, and does not wait). None
 * retries; the callers do, with what is left of their time. Every function may be called from any
 * thread. */
#ifndef QUERN_BASE_SOCKETS_H
#define QUERN_BASE_SOCKETS_H

#include <quern/status.h>

typedef struct sockets {
    /* `host` NULL: on every interface. Port 0: any free one. Returns the listener, and its port. */
    int64_t (*listen)(void *self, const char *host, uint16_t port, uint16_t *out_port);
    /* Returns a connection; `from` receives who it is, "10.0.0.7:51334", for sentences. */
    int64_t (*accept)(void *self, int64_t listener, char *from, size_t from_bytes,
                      int64_t timeout_ns);
    /* -EHOSTUNREACH also for a name that no address is known for. Looking a name up may take as
     * long as the system's resolver takes. */
    int64_t (*connect)(void *self, const char *host, uint16_t port, int64_t timeout_ns);
    /* At least one byte, at most `bytes`, which is > 0. receive returns 0 when the other side has
     * closed. */
    int64_t (*send)(void *self, int64_t link, const void *from, size_t bytes, int64_t timeout_ns);
    int64_t (*receive)(void *self, int64_t link, void *to, size_t bytes, int64_t timeout_ns);
    /* Both directions end; who waits in send or receive returns. The handle stays. */
    int64_t (*stop)(void *self, int64_t link);
    int64_t (*close)(void *self, int64_t handle);
    void *self;
} sockets;

/* TCP through the system's sockets. */
sockets sockets_posix(void);

#endif
