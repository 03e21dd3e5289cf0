#include "rendezvous.h"

#include "../base/report.h"
#include "../base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A stranger at rank 0's port may be silent for so long before it is turned away; and a rank looks
 * again so often whether rank 0 is there. */
#define HELLO_NS INT64_C(5000000000)
#define RETRY_NS 50000000L
/* A port that nobody has looked at answers in well under this. */
#define CONNECT_NS INT64_C(5000000000)

static int64_t now_of(const rendezvous *r) {
    return r->host->clock.monotonic_ns(r->host->clock.self);
}

static int64_t shorter(int64_t a, int64_t b) { return a < b ? a : b; }

/* Rank 0's side. */
typedef struct hall {
    const rendezvous *r;
    peer *peers;
    int64_t listener, deadline;
    int32_t there;      /* ranks, this one included */
    char stranger[400]; /* the last that was turned away, and why; "": none */
} hall;

static quern_status check_hello(const hall *h, const peer *p, const message *m) {
    const world_place *own = h->r->place;
    if (m->count != MESSAGE_VERSION)
        return quern_fail(QUERN_INVALID, "%s speaks version %llu of Quern's protocol, rank 0 %d",
                          p->name, (unsigned long long)m->count, MESSAGE_VERSION);
    if (m->size != (uint32_t)own->size)
        return quern_fail(QUERN_INVALID, "%s is of a world of %u ranks, rank 0 of one of %d",
                          p->name, (unsigned)m->size, (int)own->size);
    if (m->rank == 0 || m->rank >= (uint32_t)own->size)
        return quern_fail(QUERN_INVALID, "%s says that it is rank %u of %d", p->name,
                          (unsigned)m->rank, (int)own->size);
    if (h->peers[m->rank].handle >= 0)
        return quern_fail(QUERN_INVALID, "%s says that it is rank %u, which is there already",
                          p->name, (unsigned)m->rank);
    if (m->code != h->r->backend)
        return quern_fail(QUERN_INVALID, "rank %u computes on another kind of device than rank 0",
                          (unsigned)m->rank);
    return QUERN_OK;
}

/* Who does not say hello is a stranger: told of, and no reason to give up. */
static void turn_away(hall *h, peer *p) {
    snprintf(h->stranger, sizeof h->stranger, "; turned away: %.380s", quern_error());
    log_write(h->r->host, QUERN_LOG_WARNING, "%s", quern_error());
    peer_close(p);
}

/* A rank that does not fit the world fails the meeting: nothing will come right by waiting. */
static quern_status welcome(hall *h, peer *p) {
    message m;
    quern_status status = message_receive(p, &m, 0, "waiting for ranks");
    if (status == QUERN_OK && m.kind != MESSAGE_HELLO)
        status = quern_fail(QUERN_PEER_LOST, "waiting for ranks: %s sends a message of kind %u",
                            p->name, (unsigned)m.kind);
    if (status != QUERN_OK) {
        turn_away(h, p);
        return QUERN_OK;
    }
    status = check_hello(h, p, &m);
    if (status != QUERN_OK) {
        message_part(p, MESSAGE_REFUSED, status, quern_error());
        peer_close(p);
        return status;
    }
    p->timeout_ns = h->r->timeout_ns;
    snprintf(p->name, sizeof p->name, "rank %u", (unsigned)m.rank);
    h->peers[m.rank] = *p;
    h->there++;
    return QUERN_OK;
}

static quern_status say_missing(const hall *h) {
    char names[200];
    text t = text_over(names, sizeof names);
    for (int32_t i = 1; i < h->r->place->size; i++)
        if (h->peers[i].handle < 0 && t.length < sizeof names - 20)
            text_add(&t, "%s%d", t.length > 0 ? ", " : "", (int)i);
    return quern_fail(
        QUERN_PEER_LOST, "rank 0 waited %.3g s at %s:%u: %d of %d ranks are there, not rank %s%s",
        (double)h->r->timeout_ns / 1e9, h->r->place->address, (unsigned)h->r->place->port,
        (int)h->there, (int)h->r->place->size, names, h->stranger);
}

/* What befell the one who came, not the listener: Linux hands a connection's own network errors to
 * accept, and says to take them as EAGAIN. */
static bool is_of_visitor(int64_t error) {
    switch (-error) {
    case EINTR:
    case EAGAIN:
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET: return true;
    default: return false;
    }
}

static quern_status accept_one(hall *h) {
    const sockets *net = h->r->net;
    const int64_t left = h->deadline - now_of(h->r);
    if (left <= 0) return say_missing(h);
    peer p = {.net = net, .clock = &h->r->host->clock, .timeout_ns = shorter(left, HELLO_NS)};
    p.handle = net->accept(net->self, h->listener, p.name, sizeof p.name, left);
    if (p.handle == -(int64_t)ETIMEDOUT) return say_missing(h);
    if (is_of_visitor(p.handle)) return QUERN_OK;
    if (p.handle < 0)
        return quern_fail(QUERN_PEER_LOST, "rank 0 cannot take connections at %s:%u: %s",
                          h->r->place->address, (unsigned)h->r->place->port,
                          error_cause_of(p.handle).text);
    return welcome(h, &p);
}

static quern_status give_id(const hall *h, const collective_id *id) {
    const message m = {
        .kind = MESSAGE_WELCOME, .size = (uint32_t)h->r->place->size, .bytes = sizeof id->bytes};
    for (int32_t i = 1; i < h->r->place->size; i++)
        QUERN_TRY(message_send(&h->peers[i], &m, id->bytes, "handing out the group's id"));
    return QUERN_OK;
}

/* The others are told why there will be no world. */
static void call_off(const hall *h, quern_status status) {
    for (int32_t i = 1; i < h->r->place->size; i++)
        if (h->peers[i].handle >= 0)
            message_part(&h->peers[i], MESSAGE_REFUSED, status, quern_error());
}

/* Listens where the name says when that is a plain address; a host's name may stand for the
 * loopback on the host itself, so that every interface is listened at. */
static const char *interface_of(const char *address) {
    if (strcmp(address, "localhost") == 0 || strchr(address, ':') != NULL) return address;
    return address[strspn(address, "0123456789.")] == 0 ? address : NULL;
}

static quern_status meet_at_home(const rendezvous *r, peer *peers, const collective_id *id) {
    const world_place *place = r->place;
    uint16_t port;
    hall h = {.r = r, .peers = peers, .there = 1, .deadline = now_of(r) + r->timeout_ns};
    h.listener = r->net->listen(r->net->self, interface_of(place->address), place->port, &port);
    if (h.listener < 0)
        return quern_fail(QUERN_INVALID, "rank 0 cannot listen at %s:%u: %s", place->address,
                          (unsigned)place->port, error_cause_of(h.listener).text);
    quern_status status = QUERN_OK;
    while (status == QUERN_OK && h.there < place->size) status = accept_one(&h);
    if (status == QUERN_OK) status = give_id(&h, id);
    if (status != QUERN_OK) call_off(&h, status);
    (void)r->net->close(r->net->self, h.listener);
    return status;
}

/* Rank 0 may start later than this rank. */
static quern_status reach_root(const rendezvous *r, peer *p, int64_t deadline) {
    const world_place *place = r->place;
    int64_t left = r->timeout_ns, found = -(int64_t)ETIMEDOUT;
    while (left > 0) {
        found =
            r->net->connect(r->net->self, place->address, place->port, shorter(left, CONNECT_NS));
        if (found >= 0) {
            p->handle = found;
            return QUERN_OK;
        }
        nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
        left = deadline - now_of(r);
    }
    return quern_fail(QUERN_PEER_LOST,
                      "rank %d of %d: rank 0 was not reached at %s:%u in %.3g s: %s",
                      (int)place->rank, (int)place->size, place->address, (unsigned)place->port,
                      (double)r->timeout_ns / 1e9, error_cause_of(found).text);
}

/* `doing` names this rank. */
static quern_status take_id(const peer *p, collective_id *id, const char *doing) {
    message m;
    char words[MESSAGE_WORDS_MAX];
    QUERN_TRY(message_receive(p, &m, MESSAGE_WORDS_MAX, doing));
    if (m.kind == MESSAGE_WELCOME && m.bytes == sizeof id->bytes)
        return peer_receive(p, id->bytes, sizeof id->bytes, doing);
    if (m.kind != MESSAGE_REFUSED || m.code == QUERN_OK || m.code >= QUERN_STATUS_COUNT)
        return quern_fail(QUERN_PEER_LOST, "%s: rank 0 sends %u bytes in a message of kind %u",
                          doing, (unsigned)m.bytes, (unsigned)m.kind);
    QUERN_TRY(message_words(p, &m, words, sizeof words, doing));
    return quern_fail((quern_status)m.code, "%s: rank 0 refuses: %s", doing, words);
}

static quern_status go_to_root(const rendezvous *r, peer *p, collective_id *id) {
    const world_place *place = r->place;
    const int64_t deadline = now_of(r) + r->timeout_ns;
    char doing[64];
    snprintf(doing, sizeof doing, "rank %d of %d joins", (int)place->rank, (int)place->size);
    *p = (peer){.net = r->net,
                .clock = &r->host->clock,
                .handle = -1,
                .timeout_ns = r->timeout_ns,
                .name = "rank 0"};
    QUERN_TRY(reach_root(r, p, deadline));
    const message hello = {.kind = MESSAGE_HELLO,
                           .rank = (uint32_t)place->rank,
                           .size = (uint32_t)place->size,
                           .code = r->backend,
                           .count = MESSAGE_VERSION};
    QUERN_TRY(message_send(p, &hello, NULL, doing));
    return take_id(p, id, doing);
}

quern_status rendezvous_meet(const rendezvous *r, peer *peers, collective_id *id) {
    for (int32_t i = 0; i < r->place->size; i++) peers[i] = (peer){.handle = -1};
    if (r->place->size == 1) return QUERN_OK;
    return r->place->rank == 0 ? meet_at_home(r, peers, id) : go_to_root(r, &peers[0], id);
}
