/* Waiting for a library that never says that a peer is gone, as a GPU's collectives do: here it is
 * work that hangs on the stream until it is aborted. */
#include "rank.h"

#include "host/base/report.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

static void rest(long ms) { nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL); }

struct collective_group {
    atomic_bool aborted, failed;
    int32_t rank;
};
static struct collective_group groups[RANK_MAX];

static quern_status quiet_identify(backend_device *device, collective_id *out) {
    (void)device;
    for (int i = 0; i < 128; i++) out->bytes[i] = (unsigned char)(i * 3);
    return QUERN_OK;
}

static quern_status quiet_join(collective_group **out, backend_device *device,
                               const collective_join *desc) {
    (void)device;
    collective_group *g = &groups[desc->rank];
    memset(g, 0, sizeof *g);
    g->rank = desc->rank;
    for (int i = 0; i < 128; i++) CHECK(desc->id.bytes[i] == (unsigned char)(i * 3));
    *out = g;
    return QUERN_OK;
}

static void quiet_leave(collective_group *g) { (void)g; }
static quern_status quiet_status(collective_group *g) {
    if (!atomic_load(&g->failed)) return QUERN_OK;
    return quern_fail(QUERN_PEER_LOST, "the library says so");
}
static void quiet_abort(collective_group *g) { atomic_store(&g->aborted, true); }

/* Never ends by itself. */
static quern_status hang(const quern_kernel_args *args) {
    const collective_call *c = args->attributes;
    while (!atomic_load(&c->group->aborted)) rest(1);
    return QUERN_OK;
}
/* Ends. */
static quern_status pass(const quern_kernel_args *args) { return (void)args, QUERN_OK; }

static const collectives quiet = {
    .name = "quiet",
    .identify = quiet_identify,
    .join = quiet_join,
    .leave = quiet_leave,
    .status = quiet_status,
    .abort = quiet_abort,
    .run = {[COLLECTIVE_all_reduce] = hang, [COLLECTIVE_broadcast] = pass},
};
static quern_backend backend;

static void use_quiet(rank *r) { r->backend = &backend; }
static void use_quiet_shortly(rank *r) { r->backend = &backend, r->desc.timeout_s = 2; }
static void begin(void) {
    backend = quern_backend_cpu;
    backend.collectives = &quiet;
}

static quern_status sum_up(rank *r) {
    float x[2] = {1, 2};
    return rank_collect(r, COLLECTIVE_all_reduce, x, 2, x, 2, QUERN_F32,
                        (collective_call){.reduction = COLLECTIVE_SUM});
}

/* Rank 2 dies: its connection ends without a word. */
static quern_status dies(rank *r) {
    if (r->desc.place.rank != 2) return sum_up(r);
    rest(50);
    world_abort(r->world);
    return QUERN_OK;
}

TEST_CASE(Watch, every_rank_hears_which_one_died_and_its_own_work_is_aborted) {
    static rank ranks[RANK_MAX];
    begin();
    ranks_run(ranks, 4, dies, NULL, use_quiet);
    CHECK_STATUS(ranks[0].status, QUERN_PEER_LOST);
    CHECK_HAS(ranks[0].sentence, "rank 0 of 4, collective 1 (all_reduce): rank 2 ");
    for (int i = 1; i < 4; i += 2) {
        CHECK_STATUS(ranks[i].status, QUERN_PEER_LOST);
        CHECK_HAS(ranks[i].sentence, "rank 0 says: rank 0 of 4, collective 1 (all_reduce): rank 2");
    }
    for (int i = 0; i < 4; i++) CHECK(atomic_load(&groups[i].aborted));
}

TEST_CASE(Watch, work_that_does_not_end_is_aborted_after_the_limit) {
    static rank ranks[RANK_MAX];
    begin();
    ranks_run(ranks, 2, sum_up, NULL, use_quiet_shortly);
    int timed_out = 0;
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(ranks[i].status, QUERN_PEER_LOST);
        CHECK(atomic_load(&groups[i].aborted));
        timed_out += strstr(ranks[i].sentence, "nothing happened for 2 s") != NULL;
    }
    CHECK(timed_out >= 1);
}

/* A rank that left in order has done its part: the others are not disturbed by it. */
static quern_status leaves(rank *r) {
    float x[2] = {1, 2};
    if (r->desc.place.rank == 1) return QUERN_OK;
    rest(100);
    CHECK_OK(world_status(r->world));
    const quern_status s =
        rank_collect(r, COLLECTIVE_broadcast, x, 2, x, 2, QUERN_F32, (collective_call){0});
    return s == QUERN_OK ? world_status(r->world) : s;
}

TEST_CASE(Watch, a_rank_that_left_in_order_is_no_failure) {
    static rank ranks[RANK_MAX];
    begin();
    ranks_run(ranks, 3, leaves, NULL, use_quiet);
    CHECK_OK(ranks[0].status);
}

/* What the library itself says counts too, and stays said. */
static quern_status fails(rank *r) {
    if (r->desc.place.rank == 1) return sum_up(r);
    rest(50);
    atomic_store(&groups[0].failed, true);
    CHECK_STATUS(sum_up(r), QUERN_PEER_LOST);
    atomic_store(&groups[0].failed, false);
    CHECK_STATUS(world_status(r->world), QUERN_PEER_LOST);
    CHECK_ERROR_HAS("the library says so");
    return QUERN_PEER_LOST;
}

TEST_CASE(Watch, a_failure_of_the_library_is_heard_by_all) {
    static rank ranks[RANK_MAX];
    begin();
    ranks_run(ranks, 2, fails, NULL, use_quiet);
    CHECK_STATUS(ranks[1].status, QUERN_PEER_LOST);
    CHECK_HAS(ranks[1].sentence,
              "rank 1 of 2, collective 1 (all_reduce): rank 0 says: the library");
}
