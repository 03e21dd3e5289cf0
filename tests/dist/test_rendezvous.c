/* How ranks find each other, and what is said when a peer hangs, dies, lies or is a stranger. */
#include "fault_sockets.h"
#include "rank.h"

#include "host/base/message.h"
#include "host/base/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static quern_status do_nothing(rank *r) { return (void)r, QUERN_OK; }

static void rest(long ms) { nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL); }

/* Somebody at rank 0's port who is not rank 0, or somebody who comes to it. */
typedef struct stranger {
    sockets net;
    quern_host host;
    uint16_t port;
    int64_t listener;
    const void *says; /* at once */
    size_t bytes;
    bool slowly; /* a byte every 100 ms */
    bool leaves; /* closes then; else it stays until the test is done with it */
    atomic_bool done;
    pthread_t thread;
} stranger;

static void say(const stranger *s, int64_t link) {
    const char *at = s->says;
    for (size_t i = 0; i < s->bytes && !atomic_load(&s->done); i += s->slowly ? 1 : s->bytes) {
        if (s->net.send(s->net.self, link, at + i, s->slowly ? 1 : s->bytes, 1000000000) <= 0)
            break;
        if (s->slowly) rest(100);
    }
    if (!s->leaves) rest_until(&s->done);
    (void)s->net.close(s->net.self, link);
}

static void *sit_at_port(void *context) {
    stranger *s = context;
    char from[80];
    const int64_t link =
        s->net.accept(s->net.self, s->listener, from, sizeof from, INT64_C(20000000000));
    CHECK(link >= 0);
    CHECK_HAS(from, "127.0.0.1:");
    say(s, link);
    return NULL;
}

static void stranger_begin(stranger *s, const void *says, size_t bytes, bool leaves, bool slowly) {
    *s = (stranger){.net = sockets_posix(), .says = says, .bytes = bytes};
    s->leaves = leaves, s->slowly = slowly;
    s->listener = s->net.listen(s->net.self, "127.0.0.1", 0, &s->port);
    CHECK(s->listener >= 0);
    CHECK(pthread_create(&s->thread, NULL, sit_at_port, s) == 0);
}

static void stranger_end(stranger *s) {
    atomic_store(&s->done, true);
    CHECK(pthread_join(s->thread, NULL) == 0);
    (void)s->net.close(s->net.self, s->listener);
}

static quern_status join_at(uint16_t port, int32_t number, int32_t size, double timeout_s) {
    static _Thread_local fault_host faults;
    world *w = NULL;
    backend_device *device;
    fault_host_begin(&faults, NULL);
    const backend_open_desc open = {.thread_count = 1, .host = &faults.host};
    if (quern_backend_cpu.open(&device, &open) != QUERN_OK) return QUERN_INTERNAL;
    const quern_status status = world_create(
        &w,
        &(world_desc){.host = &faults.host,
                      .backend = &quern_backend_cpu,
                      .device = device,
                      .place = {.rank = number, .size = size, .address = "127.0.0.1", .port = port},
                      .timeout_s = timeout_s});
    CHECK((w != NULL) == (status == QUERN_OK));
    world_destroy(w);
    quern_backend_cpu.close(device);
    CHECK(fault_host_live(&faults) == 0);
    return status;
}

static void check_joining(const void *says, size_t bytes, bool leaves, bool slowly,
                          quern_status status, const char *words) {
    stranger s;
    stranger_begin(&s, says, bytes, leaves, slowly);
    const double limit_s = strstr(words, "silent") != NULL ? 0.25 : 20;
    CHECK_STATUS(join_at(s.port, 1, 2, limit_s), status);
    CHECK_ERROR_HAS("rank 1 of 2 joins");
    CHECK_ERROR_HAS(words);
    stranger_end(&s);
}

/* A header as message.c writes it. */
typedef struct spoken {
    unsigned char bytes[2048];
    size_t length;
} spoken;

static spoken speak(uint32_t kind, uint32_t number, uint32_t size, uint8_t code, uint32_t bytes,
                    uint64_t count, const char *payload) {
    spoken s = {{'Q', 'N', 'R', '1', (unsigned char)kind, 0, 0, 0, (unsigned char)number}, 40};
    s.bytes[12] = (unsigned char)size;
    s.bytes[19] = code;
    for (int i = 0; i < 4; i++) s.bytes[20 + i] = (unsigned char)(bytes >> (8 * i));
    for (int i = 0; i < 8; i++) s.bytes[32 + i] = (unsigned char)(count >> (8 * i));
    const size_t length = strlen(payload);
    memcpy(s.bytes + 40, payload, length);
    s.length += length;
    return s;
}

static const char http[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n";

TEST_CASE(Rendezvous, a_rank_says_what_is_wrong_with_who_answers) {
    check_joining("", 0, false, false, QUERN_PEER_LOST, "rank 0 was silent for 0.25 s");
    check_joining("", 0, true, false, QUERN_PEER_LOST, "rank 0 ");
    check_joining(http, sizeof http - 1, true, false, QUERN_PEER_LOST,
                  "does not speak Quern's protocol (its first bytes: 48 54 54 50)");
    check_joining(http, 5, false, false, QUERN_PEER_LOST, "rank 0 was silent");
    /* a byte now and then is silence too */
    check_joining(http, sizeof http - 1, false, true, QUERN_PEER_LOST, "rank 0 was silent");
}

TEST_CASE(Rendezvous, a_rank_believes_no_lie) {
    spoken s = speak(MESSAGE_WELCOME, 0, 2, 0, 4000000000U, 0, "");
    check_joining(s.bytes, s.length, false, false, QUERN_PEER_LOST,
                  "announces 4000000000 bytes where at most 900 belong");
    s = speak(MESSAGE_WELCOME, 0, 2, 0, 5, 0, "short");
    check_joining(s.bytes, s.length, false, false, QUERN_PEER_LOST,
                  "5 bytes in a message of kind 2");
    s = speak(MESSAGE_WELCOME, 0, 2, 0, 128, 0, "not all of it");
    check_joining(s.bytes, s.length, false, false, QUERN_PEER_LOST, "silent");
    s = speak(77, 0, 2, 0, 0, 0, "");
    check_joining(s.bytes, s.length, false, false, QUERN_PEER_LOST, "a message of kind 77");
    s = speak(MESSAGE_REFUSED, 0, 2, 200, 2, 0, "no");
    check_joining(s.bytes, s.length, false, false, QUERN_PEER_LOST, "a message of kind 3");
    s = speak(MESSAGE_REFUSED, 0, 2, QUERN_INVALID, 8, 0, "no\n\x1b[2J%");
    check_joining(s.bytes, s.length, false, false, QUERN_INVALID, "rank 0 refuses: no??[2J%");
}

TEST_CASE(Rendezvous, nobody_at_the_port_is_a_rank_that_was_not_reached) {
    CHECK_STATUS(join_at(free_port(), 1, 2, 0.2), QUERN_PEER_LOST);
    CHECK_ERROR_HAS("rank 1 of 2: rank 0 was not reached at 127.0.0.1:");
    CHECK_ERROR_HAS("in 0.2 s: Connection refused");
}

/* No name may have an empty part: it is known without asking a server, which may be far. */
TEST_CASE(Rendezvous, a_host_that_nobody_knows_is_named) {
    fault_host faults;
    fault_host_begin(&faults, NULL);
    world *w;
    const world_desc desc = {.host = &faults.host,
                             .backend = &quern_backend_cpu,
                             .place = {.rank = 1, .size = 2, .address = "no..name", .port = 9},
                             .timeout_s = 0.05};
    CHECK_STATUS(world_create(&w, &desc), QUERN_PEER_LOST);
    CHECK_ERROR_HAS("no..name:9");
    CHECK(fault_host_live(&faults) == 0);
}

TEST_CASE(Rendezvous, rank_0_names_the_ranks_that_did_not_come) {
    CHECK_STATUS(join_at(free_port(), 0, 4, 0.2), QUERN_PEER_LOST);
    CHECK_ERROR_HAS("rank 0 waited 0.2 s at 127.0.0.1:");
    CHECK_ERROR_HAS("1 of 4 ranks are there, not rank 1, 2, 3");
}

TEST_CASE(Rendezvous, a_port_that_is_taken_is_invalid) {
    const sockets net = sockets_posix();
    uint16_t port;
    const int64_t taken = net.listen(net.self, "127.0.0.1", 0, &port);
    REQUIRE(taken >= 0);
    CHECK_STATUS(join_at(port, 0, 2, 0.2), QUERN_INVALID);
    CHECK_ERROR_HAS("Address already in use");
    (void)net.close(net.self, taken);
}

/* Comes to rank 0, which is started by then. */
static int64_t visit(const sockets *net, uint16_t port) {
    int64_t link = -1;
    for (int i = 0; i < 2000 && link < 0; i++) {
        link = net->connect(net->self, "127.0.0.1", port, 1000000000);
        if (link < 0) rest(10);
    }
    CHECK(link >= 0);
    return link;
}

typedef struct host_run {
    uint16_t port;
    int32_t size;
    double timeout_s;
    quern_status status;
    char sentence[1024];
    pthread_t thread;
} host_run;

static void *host_main(void *context) {
    host_run *h = context;
    h->status = join_at(h->port, 0, h->size, h->timeout_s);
    snprintf(h->sentence, sizeof h->sentence, "%s", quern_error());
    return NULL;
}

/* What rank 0 of `size` says to one visitor that says `s`, and the visitor hears. Rank 0 waits for
 * its missing rank unless the visitor ends that. */
static void check_hosting(int32_t size, const spoken *s, quern_status status, const char *words,
                          const char *heard) {
    host_run h = {.port = free_port(), .size = size, .timeout_s = heard != NULL ? 20 : 2};
    const sockets net = sockets_posix();
    char answer[1024] = "";
    REQUIRE(pthread_create(&h.thread, NULL, host_main, &h) == 0);
    const int64_t link = visit(&net, h.port);
    CHECK(net.send(net.self, link, s->bytes, s->length, 1000000000) == (int64_t)s->length);
    size_t length = 0;
    for (;;) {
        const int64_t got =
            net.receive(net.self, link, answer + length, sizeof answer - 1 - length, 20000000000);
        if (got <= 0 || length + (size_t)got >= sizeof answer - 1) break;
        length += (size_t)got;
    }
    (void)net.close(net.self, link);
    REQUIRE(pthread_join(h.thread, NULL) == 0);
    CHECK_STATUS(h.status, status);
    CHECK_HAS(h.sentence, words);
    if (heard != NULL) CHECK_HAS(answer + MESSAGE_HEADER_BYTES, heard);
}

TEST_CASE(Rendezvous, a_rank_of_another_world_is_refused_on_both_sides) {
    const uint8_t cuda = QUERN_BACKEND_CUDA;
    spoken s = speak(MESSAGE_HELLO, 1, 3, 0, 0, MESSAGE_VERSION, "");
    const char *words = "is of a world of 3 ranks, rank 0 of one of 2";
    check_hosting(2, &s, QUERN_INVALID, words, words);
    s = speak(MESSAGE_HELLO, 2, 2, 0, 0, MESSAGE_VERSION, "");
    check_hosting(2, &s, QUERN_INVALID, "says that it is rank 2 of 2", "rank 2 of 2");
    s = speak(MESSAGE_HELLO, 0, 2, 0, 0, MESSAGE_VERSION, "");
    check_hosting(2, &s, QUERN_INVALID, "says that it is rank 0 of 2", "rank 0 of 2");
    s = speak(MESSAGE_HELLO, 1, 2, cuda, 0, MESSAGE_VERSION, "");
    check_hosting(2, &s, QUERN_INVALID, "another kind of device", "another kind of device");
    s = speak(MESSAGE_HELLO, 1, 2, 0, 0, 9, "");
    check_hosting(2, &s, QUERN_INVALID, "speaks version 9", "speaks version 9");
}

TEST_CASE(Rendezvous, a_stranger_is_turned_away_and_told_of_at_the_end) {
    spoken s = {.length = sizeof http - 1};
    memcpy(s.bytes, http, sizeof http - 1);
    check_hosting(2, &s, QUERN_PEER_LOST, "not rank 1; turned away", NULL);
    s = speak(MESSAGE_HELLO, 1, 2, 0, 77, MESSAGE_VERSION, "");
    check_hosting(2, &s, QUERN_PEER_LOST, "announces 77 bytes where at most 0 belong", NULL);
    s = speak(MESSAGE_CALL, 1, 2, 0, 0, 0, "");
    check_hosting(2, &s, QUERN_PEER_LOST, "a message of kind 4", NULL);
    s.length = 3; /* and silence: bounded by what is left of the time */
    check_hosting(2, &s, QUERN_PEER_LOST, "was silent", NULL);
}

/* A rank that is there is told when another does not come. */
TEST_CASE(Rendezvous, who_came_hears_why_there_is_no_world) {
    host_run h = {.port = free_port(), .size = 3, .timeout_s = 2};
    REQUIRE(pthread_create(&h.thread, NULL, host_main, &h) == 0);
    CHECK_STATUS(join_at(h.port, 1, 3, 20), QUERN_PEER_LOST);
    CHECK_ERROR_HAS("rank 0 refuses: rank 0 waited");
    CHECK_ERROR_HAS("2 of 3 ranks are there, not rank 2");
    REQUIRE(pthread_join(h.thread, NULL) == 0);
    CHECK_STATUS(h.status, QUERN_PEER_LOST);
}

static void second_says_it_is_first(rank *r) {
    if (r->desc.place.rank == 2) r->desc.place.rank = 1;
}

TEST_CASE(Rendezvous, two_of_one_number_are_refused) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, 3, do_nothing, NULL, second_says_it_is_first);
    CHECK_STATUS(ranks[0].status, QUERN_INVALID);
    CHECK_HAS(ranks[0].sentence, "says that it is rank 1, which is there already");
    for (int i = 1; i < 3; i++) {
        CHECK_STATUS(ranks[i].status, QUERN_INVALID);
        CHECK_HAS(ranks[i].sentence, "rank 0 refuses: ");
        CHECK_HAS(ranks[i].sentence, "which is there already");
    }
}

static void root_is_late(rank *r) {
    if (r->desc.place.rank == 0) rest(120); /* rank 0 is started first: hold it back */
}

TEST_CASE(Rendezvous, ranks_may_come_in_any_order) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, 4, do_nothing, NULL, root_is_late);
    for (int i = 0; i < 4; i++) CHECK_SAY(ranks[i].status == QUERN_OK, "%s", ranks[i].sentence);
}

static void by_name(rank *r) { memcpy(r->desc.place.address, "localhost", 10); }

TEST_CASE(Rendezvous, a_name_is_as_good_as_an_address) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, 2, do_nothing, NULL, by_name);
    for (int i = 0; i < 2; i++) CHECK_SAY(ranks[i].status == QUERN_OK, "%s", ranks[i].sentence);
}

static fault_sockets root_net;

static void root_cannot_accept(rank *r) {
    if (r->desc.place.rank == 0) r->desc.net = &root_net.net;
    r->desc.timeout_s = 5;
}

/* Rank 0's second call of the network is its first accept. */
static void meet_after(rank *ranks, int error) {
    fault_sockets_begin(&root_net);
    root_net.at = 2, root_net.error = -(int64_t)error;
    ranks_run(ranks, 2, do_nothing, NULL, root_cannot_accept);
    CHECK(atomic_load(&root_net.fired) == 1);
}

TEST_CASE(Rendezvous, an_error_of_who_came_is_no_reason_to_give_up) {
    static const int errors[] = {EINTR,       EAGAIN,       ECONNABORTED, EPROTO,
                                 ENOPROTOOPT, EOPNOTSUPP,   ENETDOWN,     ENETUNREACH,
                                 EHOSTDOWN,   EHOSTUNREACH, ENONET};
    static rank ranks[RANK_MAX];
    for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++) {
        meet_after(ranks, errors[e]);
        for (int i = 0; i < 2; i++) CHECK_SAY(ranks[i].status == QUERN_OK, "%s", ranks[i].sentence);
    }
}

TEST_CASE(Rendezvous, no_handles_left_is_an_error_that_says_so) {
    static rank ranks[RANK_MAX];
    meet_after(ranks, EMFILE);
    CHECK_STATUS(ranks[0].status, QUERN_PEER_LOST);
    CHECK_HAS(ranks[0].sentence, "rank 0 cannot take connections at 127.0.0.1:");
    CHECK_HAS(ranks[0].sentence, "Too many open files");
}

static void check_visit(const sockets *net, int64_t listener, uint16_t port, const char *address,
                        const char *seen_as) {
    char from[80] = "";
    const int64_t link = net->connect(net->self, address, port, 1000000000);
    CHECK_SAY(link >= 0, "%s: %s", address, strerror((int)-link));
    if (link < 0) return;
    const int64_t other = net->accept(net->self, listener, from, sizeof from, 1000000000);
    CHECK(other >= 0);
    CHECK_SAY(strncmp(from, seen_as, strlen(seen_as)) == 0, "%s is seen as %s", address, from);
    (void)net->close(net->self, link);
    (void)net->close(net->self, other);
}

TEST_CASE(Rendezvous, every_interface_is_those_of_ipv6_too) {
    const sockets net = sockets_posix();
    uint16_t port, any;
    const int64_t six = net.listen(net.self, "::1", 0, &any);
    const int64_t listener = net.listen(net.self, NULL, 0, &port);
    REQUIRE(listener >= 0);
    check_visit(&net, listener, port, "127.0.0.1", "127.0.0.1:");
    if (six >= 0) { /* this machine has IPv6 */
        check_visit(&net, listener, port, "::1", "::1:");
        (void)net.close(net.self, six);
    }
    (void)net.close(net.self, listener);
}

/* The system draws the ports of those who connect from the even ones first, one after the other:
 * all of them are drawn in so many tries. */
TEST_CASE(Rendezvous, nobody_connects_to_itself) {
    const sockets net = sockets_posix();
    const uint16_t port = (free_port() - 1U) & 0xfffeU; /* not the one that is held */
    for (int i = 0; i < 30000; i++) {
        const int64_t link = net.connect(net.self, "127.0.0.1", port, 1000000000);
        CHECK_SAY(link == -(int64_t)ECONNREFUSED, "try %d: %lld", i, (long long)link);
        if (link >= 0) (void)net.close(net.self, link);
        if (link != -(int64_t)ECONNREFUSED) break;
    }
}
