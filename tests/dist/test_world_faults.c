/* What ranks hear when one of them dies, leaves, hangs, calls something else, or lies; and the n-th
 * call of the network and the n-th allocation. */
#include "rank.h"

#include "fault_sockets.h"
#include "host/base/message.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { COUNT = 200000 }; /* several pieces */

static quern_status sum_up(rank *r, int64_t count) {
    static _Thread_local float x[COUNT];
    for (int64_t i = 0; i < count; i++) x[i] = 1;
    return rank_collect(r, COLLECTIVE_all_reduce, x, count, x, count, QUERN_F32,
                        (collective_call){.reduction = COLLECTIVE_SUM});
}

/* Long enough for a busy machine to bring the ranks together. */
static void shorten(rank *r) { r->desc.timeout_s = 2; }

static atomic_bool lost[RANK_MAX];

static void tell_when_lost(rank *r) {
    atomic_store(&lost[r->desc.place.rank], false);
    r->lost = &lost[r->desc.place.rank];
}

/* Rank 2 does something else in the second collective. */
static quern_status dies(rank *r) {
    quern_status s = sum_up(r, 10);
    if (s == QUERN_OK && r->desc.place.rank == 2) {
        world_abort(r->world);
        return QUERN_OK;
    }
    return s == QUERN_OK ? sum_up(r, COUNT) : s;
}

TEST_CASE(WorldFaults, every_rank_hears_which_one_died_and_in_which_call) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, 4, dies, NULL, NULL);
    CHECK_STATUS(ranks[0].status, QUERN_PEER_LOST);
    CHECK_HAS(ranks[0].sentence, "rank 0 of 4, all_reduce 2 (200000 F32, sum): rank 2 ");
    for (int i = 1; i < 4; i += 2) {
        CHECK_STATUS(ranks[i].status, QUERN_PEER_LOST);
        char start[64];
        snprintf(start, sizeof start, "rank %d of 4, all_reduce 2", i);
        CHECK_HAS(ranks[i].sentence, start);
        CHECK_HAS(ranks[i].sentence, "rank 0 says: rank 0 of 4, all_reduce 2 (200000 F32, sum): ");
        CHECK_HAS(ranks[i].sentence, "rank 2 ");
    }
}

static quern_status root_dies(rank *r) {
    if (r->desc.place.rank == 0) {
        world_abort(r->world);
        return QUERN_OK;
    }
    return sum_up(r, 10);
}

TEST_CASE(WorldFaults, a_root_that_dies_is_heard_by_all) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, 3, root_dies, NULL, NULL);
    for (int i = 1; i < 3; i++) {
        CHECK_STATUS(ranks[i].status, QUERN_PEER_LOST);
        CHECK_HAS(ranks[i].sentence, "all_reduce 1 (10 F32, sum): rank 0 ");
    }
}

static quern_status leaves(rank *r) { return r->desc.place.rank == 1 ? QUERN_OK : sum_up(r, 10); }

TEST_CASE(WorldFaults, a_rank_that_left_in_order_is_told_from_one_that_died) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, 3, leaves, NULL, NULL);
    CHECK_STATUS(ranks[0].status, QUERN_PEER_LOST);
    CHECK_HAS(ranks[0].sentence, "all_reduce 1 (10 F32, sum): rank 1 has left the world");
    CHECK_STATUS(ranks[2].status, QUERN_PEER_LOST);
    CHECK_HAS(ranks[2].sentence, "rank 1 has left the world");
}

static void rest(long ms) { nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL); }

static quern_status hangs(rank *r) {
    if (r->desc.place.rank == 1) {
        rest_until(&lost[0]);
        return QUERN_OK;
    }
    return sum_up(r, 10);
}

static void shorten_and_tell(rank *r) {
    shorten(r);
    tell_when_lost(r);
}

TEST_CASE(WorldFaults, a_rank_that_hangs_is_lost_after_the_limit) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, 2, hangs, NULL, shorten_and_tell);
    CHECK_STATUS(ranks[0].status, QUERN_PEER_LOST);
    CHECK_HAS(ranks[0].sentence, "rank 1 was silent for 2 s");
}

static quern_status calls_another(rank *r) {
    float x[3] = {0};
    if (r->desc.place.rank == 1)
        return rank_collect(r, COLLECTIVE_broadcast, x, 3, x, 3, QUERN_F32,
                            (collective_call){.root = 1});
    return rank_collect(r, COLLECTIVE_all_reduce, x, 3, x, 3, QUERN_F32,
                        (collective_call){.reduction = COLLECTIVE_MAX});
}

/* Nothing differs but the kind. */
static quern_status calls_another_kind(rank *r) {
    float x[3] = {0}, all[6];
    if (r->desc.place.rank == 1)
        return rank_collect(r, COLLECTIVE_all_gather, x, 3, all, 6, QUERN_F32,
                            (collective_call){0});
    return sum_up(r, 3);
}

static quern_status calls_with_another_count(rank *r) {
    return sum_up(r, r->desc.place.rank == 1 ? 4 : 3);
}

TEST_CASE(WorldFaults, ranks_that_call_different_things_are_told_what_each_called) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, 3, calls_another, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(ranks[i].status, QUERN_INVALID);
        CHECK_HAS(ranks[i].sentence, "rank 0 of 3, all_reduce 1 (3 F32, max): rank 1 calls "
                                     "broadcast 1 (3 F32, from rank 1)");
    }
    ranks_run(ranks, 2, calls_another_kind, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(ranks[i].status, QUERN_INVALID);
        CHECK_HAS(ranks[i].sentence, "rank 1 calls all_gather 1 (3 F32)");
    }
    ranks_run(ranks, 2, calls_with_another_count, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(ranks[i].status, QUERN_INVALID);
        CHECK_HAS(ranks[i].sentence, "rank 1 calls all_reduce 1 (4 F32, sum)");
    }
}

/* A failed group stays failed, with the first sentence, and can be left. */
static quern_status goes_on(rank *r) {
    const quern_status first = dies(r);
    if (first == QUERN_OK) return QUERN_OK;
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", quern_error());
    CHECK_STATUS(sum_up(r, 3), first);
    CHECK_TEXT(quern_error(), sentence);
    CHECK_STATUS(world_status(r->world), first);
    CHECK_TEXT(quern_error(), sentence);
    return first;
}

TEST_CASE(WorldFaults, a_failed_group_stays_failed) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, 4, goes_on, NULL, NULL);
    CHECK_STATUS(ranks[3].status, QUERN_PEER_LOST);
}

/* An abort from another thread ends a wait. */
static void *abort_soon(void *context) {
    rest(100);
    world_abort(context);
    return NULL;
}

static quern_status is_aborted(rank *r) {
    if (r->desc.place.rank == 1) {
        rest_until(&lost[0]);
        return QUERN_OK;
    }
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, abort_soon, r->world) == 0);
    const quern_status s = sum_up(r, 10);
    CHECK(pthread_join(thread, NULL) == 0);
    return s;
}

TEST_CASE(WorldFaults, an_abort_ends_what_waits) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, 2, is_aborted, NULL, tell_when_lost);
    CHECK_STATUS(ranks[0].status, QUERN_PEER_LOST);
    CHECK_SAY(!strstr(ranks[0].sentence, "silent") && !strstr(ranks[0].sentence, "left"), "%s",
              ranks[0].sentence);
}

/* Rank 1 speaks the protocol by hand. */
typedef struct liar {
    unsigned char says[96];
    size_t bytes;
    const char *words;
} liar;

static void wait_for_silence(rank *r) {
    const liar *l = r->context;
    if (strstr(l->words, "silent") != NULL) shorten(r);
}

static quern_status listens(rank *r) { return sum_up(r, 10); }

static int64_t join_by_hand(const sockets *net, uint16_t port) {
    unsigned char hello[MESSAGE_HEADER_BYTES] = {'Q', 'N', 'R', '1', MESSAGE_HELLO, 0, 0, 0, 1};
    unsigned char welcome[MESSAGE_HEADER_BYTES + 128];
    int64_t link = -1;
    hello[12] = 2, hello[32] = MESSAGE_VERSION;
    for (int i = 0; i < 2000 && link < 0; i++) {
        link = net->connect(net->self, "127.0.0.1", port, 1000000000);
        if (link < 0) rest(10);
    }
    CHECK(link >= 0);
    CHECK(net->send(net->self, link, hello, sizeof hello, 1000000000) == sizeof hello);
    for (size_t got = 0; got < sizeof welcome;) {
        const int64_t n =
            net->receive(net->self, link, welcome + got, sizeof welcome - got, 20000000000);
        CHECK(n > 0);
        if (n <= 0) break;
        got += (size_t)n;
    }
    CHECK(welcome[4] == MESSAGE_WELCOME && welcome[20] == 128);
    return link;
}

static void check_lie(const liar *l) {
    const sockets net = sockets_posix();
    static rank one;
    rank *r = &one;
    rank_start(r, 0, 2, free_port(), listens, l, wait_for_silence);
    const int64_t link = join_by_hand(&net, r->desc.place.port);
    CHECK(net.send(net.self, link, l->says, l->bytes, 1000000000) == (int64_t)l->bytes);
    rank_join(r);
    (void)net.close(net.self, link);
    CHECK_STATUS(r->status, QUERN_PEER_LOST);
    CHECK_HAS(r->sentence, l->words);
}

TEST_CASE(WorldFaults, a_rank_that_lies_is_found_out) {
    liar l = {{'Q', 'N', 'R', '1', MESSAGE_PIECE}, 40, "rank 1 sends a message of kind 5"};
    check_lie(&l);
    l = (liar){{'G', 'E', 'T', ' ', '/'}, 40, "rank 1 does not speak Quern's protocol"};
    check_lie(&l);
    l = (liar){{'Q', 'N', 'R', '1', MESSAGE_CALL}, 40, "rank 1 announces 16777216 bytes"};
    l.says[23] = 1;
    check_lie(&l);
    l = (liar){{'Q', 'N', 'R', '1', MESSAGE_CALL}, 12, "rank 1 was silent for 2 s"};
    check_lie(&l);
    /* the right call, and too little of the data */
    l = (liar){{'Q', 'N', 'R', '1', MESSAGE_CALL}, 60, "rank 1 was silent for 2 s"};
    l.says[24] = 1, l.says[32] = 10;
    check_lie(&l);
}

/* Two ranks; the n-th call that rank `victim` makes of the network fails. What one of them waits
 * for once the other is lost never comes: it hurries. */
typedef struct network_fault {
    int32_t victim;
    fault_sockets sockets[2];
} network_fault;
static network_fault network;

static quern_status work(rank *r) {
    quern_status s = sum_up(r, 70000);
    if (s == QUERN_OK) s = sum_up(r, 3);
    return s;
}

static void give_network(rank *r) {
    fault_sockets *f = &network.sockets[r->desc.place.rank];
    f->hurry = &lost[1 - r->desc.place.rank];
    r->lost = &lost[r->desc.place.rank];
    r->desc.net = &f->net;
    if (f->for_ever && f->at == 1) r->desc.timeout_s = 1; /* it never reaches anybody */
    r->faults.host.clock = f->clock;
}

static void begin_network(void) {
    for (int i = 0; i < 2; i++) fault_sockets_begin(&network.sockets[i]);
    for (int i = 0; i < 2; i++) atomic_store(&lost[i], false);
}

static bool fail_call(int32_t victim, int64_t n, bool for_ever, int64_t error) {
    static rank ranks[RANK_MAX];
    begin_network();
    fault_sockets *f = &network.sockets[victim];
    f->at = n, f->for_ever = for_ever, f->error = error;
    ranks_run(ranks, 2, work, NULL, give_network);
    for (int i = 0; i < 2; i++) {
        CHECK(atomic_load(&network.sockets[i].open) == 0);
        if (ranks[i].status == QUERN_OK) continue;
        CHECK_SAY(atomic_load(&f->fired) > 0, "rank %d: %s", i, ranks[i].sentence);
        CHECK_SAY(ranks[i].status == QUERN_PEER_LOST || ranks[i].status == QUERN_INVALID,
                  "call %d: rank %d: %s", (int)n, i, ranks[i].sentence);
        CHECK_HAS(ranks[i].sentence, "rank ");
    }
    return atomic_load(&f->fired) > 0;
}

TEST_CASE(WorldFaults, any_call_of_the_network_may_fail) {
    for (int32_t victim = 0; victim < 2; victim++)
        for (int how = 0; how < 3; how++) {
            int64_t n = 1;
            while (n < 200 && !quern_test_failed() &&
                   fail_call(victim, n, how == 1, how == 2 ? 0 : -(int64_t)EPIPE))
                n++;
            CHECK_SAY(n > 8 && n < 200, "rank %d made %d calls", (int)victim, (int)n);
        }
}

/* Interrupted calls and short transfers are no failures. */
static void cut_short(rank *r) {
    fault_sockets *f = &network.sockets[r->desc.place.rank];
    f->at_most = 1009;
    f->at = 2, f->error = -(int64_t)EINTR;
    give_network(r);
}

TEST_CASE(WorldFaults, an_interrupted_call_and_a_short_one_are_continued) {
    static rank ranks[RANK_MAX];
    begin_network();
    ranks_run(ranks, 2, work, NULL, cut_short);
    for (int i = 0; i < 2; i++) {
        CHECK_SAY(ranks[i].status == QUERN_OK, "%s", ranks[i].sentence);
        CHECK(atomic_load(&network.sockets[i].fired) == 1);
    }
}

static int64_t allocation;
static void fail_allocation(rank *r) {
    if (r->desc.place.rank == 0) r->faults.fault[FAULT_ALLOCATE] = (fault){.at = allocation};
    give_network(r);
}

TEST_CASE(WorldFaults, any_allocation_may_fail) {
    static rank ranks[RANK_MAX];
    for (allocation = 1; allocation < 50; allocation++) {
        begin_network();
        ranks_run(ranks, 2, work, NULL, fail_allocation);
        if (!fault_host_fired(&ranks[0].faults, FAULT_ALLOCATE)) break;
        CHECK_STATUS(ranks[0].status, QUERN_HOST_MEMORY);
        CHECK_STATUS(ranks[1].status, QUERN_PEER_LOST);
    }
    CHECK(allocation > 6 && allocation < 50);
    for (int i = 0; i < 2; i++) CHECK_OK(ranks[i].status);
}
