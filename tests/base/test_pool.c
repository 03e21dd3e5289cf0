/* Every chunk runs exactly once, whatever the number of threads and whoever else is running. */
#include "quern_test.h"

#include "host/base/pool.h"
#include "support/fault_host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { CHUNKS = 1000 };

typedef struct tally {
    pool *pool;
    atomic_int runs[CHUNKS];
} tally;

static void count_chunk(void *context, int64_t chunk) {
    tally *t = context;
    atomic_fetch_add_explicit(&t->runs[chunk], 1, memory_order_relaxed);
}

static bool each_ran(tally *t, int64_t chunk_count, int times) {
    for (int64_t i = 0; i < CHUNKS; i++)
        if (atomic_load(&t->runs[i]) != (i < chunk_count ? times : 0)) return false;
    return true;
}

TEST_CASE(Pool, runs_each_chunk_once_with_1_2_and_4_threads) {
    const quern_host host = quern_host_default();
    static const int32_t threads[] = {1, 2, 4};
    static const int64_t counts[] = {0, 1, 2, 3, 17, CHUNKS};
    for (int i = 0; i < 3; i++) {
        pool *p;
        REQUIRE_OK(pool_create(&p, &host, threads[i]));
        CHECK(pool_thread_count(p) == threads[i]);
        for (int k = 0; k < 6; k++) {
            tally t = {.pool = p};
            for (int repeat = 1; repeat <= 20; repeat++) pool_run(p, counts[k], count_chunk, &t);
            CHECK_SAY(each_ran(&t, counts[k], 20), "%d threads, %d chunks", (int)threads[i],
                      (int)counts[k]);
        }
        pool_destroy(p);
    }
}

TEST_CASE(Pool, many_short_runs_in_a_row_lose_none) {
    const quern_host host = quern_host_default();
    pool *p;
    REQUIRE_OK(pool_create(&p, &host, 3));
    tally t = {.pool = p};
    for (int i = 0; i < 5000; i++) pool_run(p, 4, count_chunk, &t);
    CHECK(each_ran(&t, 4, 5000));
    pool_destroy(p);
}

/* Not atomic: only visible to the caller when the pool orders it. */
static void write_plain(void *context, int64_t chunk) { ((int64_t *)context)[chunk] += chunk; }

TEST_CASE(Pool, what_chunks_wrote_is_seen_by_the_caller_and_the_next_run) {
    const quern_host host = quern_host_default();
    pool *p;
    REQUIRE_OK(pool_create(&p, &host, 4));
    int64_t values[64] = {0};
    for (int i = 0; i < 500; i++) pool_run(p, 64, write_plain, values);
    for (int64_t i = 0; i < 64; i++) CHECK(values[i] == 500 * i);
    pool_destroy(p);
}

static void run_nested(void *context, int64_t chunk) {
    tally *t = context;
    (void)chunk;
    pool_run(t->pool, 10, count_chunk, t);
}

TEST_CASE(Pool, a_chunk_may_run_chunks_of_its_own) {
    const quern_host host = quern_host_default();
    pool *p;
    REQUIRE_OK(pool_create(&p, &host, 4));
    tally t = {.pool = p};
    pool_run(p, 25, run_nested, &t);
    CHECK(each_ran(&t, 10, 25));
    pool_destroy(p);
}

static void *run_often(void *context) {
    tally *t = context;
    for (int i = 0; i < 300; i++) pool_run(t->pool, 50, count_chunk, t);
    return NULL;
}

TEST_CASE(Pool, several_callers_at_once_each_get_all_their_chunks) {
    const quern_host host = quern_host_default();
    pool *p;
    REQUIRE_OK(pool_create(&p, &host, 3));
    tally tallies[3] = {{.pool = p}, {.pool = p}, {.pool = p}};
    pthread_t callers[3];
    for (int i = 0; i < 3; i++)
        REQUIRE(pthread_create(&callers[i], NULL, run_often, &tallies[i]) == 0);
    for (int i = 0; i < 3; i++) pthread_join(callers[i], NULL);
    for (int i = 0; i < 3; i++) CHECK(each_ran(&tallies[i], 50, 300));
    pool_destroy(p);
}

typedef struct straggle {
    pthread_t caller;
    atomic_int started, finished;
} straggle;

/* The worker's chunk outlasts the caller's by far. */
static void straggle_chunk(void *context, int64_t chunk) {
    straggle *s = context;
    (void)chunk;
    atomic_fetch_add(&s->started, 1);
    for (int ms = 0; ms < 2000 && atomic_load(&s->started) < 2; ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (!pthread_equal(pthread_self(), s->caller))
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    atomic_fetch_add(&s->finished, 1);
}

TEST_CASE(Pool, a_run_is_over_only_when_its_last_chunk_is) {
    const quern_host host = quern_host_default();
    pool *p;
    REQUIRE_OK(pool_create(&p, &host, 2));
    for (int i = 0; i < 5; i++) {
        straggle s = {.caller = pthread_self()};
        pool_run(p, 2, straggle_chunk, &s);
        CHECK(atomic_load(&s.finished) == 2);
    }
    pool_destroy(p);
}

TEST_CASE(Pool, needs_a_thread_and_survives_every_failing_allocation) {
    fault_host faults;
    pool *p = NULL;
    fault_host_begin(&faults, NULL);
    CHECK_STATUS(pool_create(&p, &faults.host, 0), QUERN_INVALID);
    CHECK(p == NULL);
    for (int64_t n = 1;; n++) {
        fault_host_begin(&faults, NULL);
        faults.fault[FAULT_ALLOCATE] = (fault){.at = n};
        const quern_status status = pool_create(&p, &faults.host, 3);
        pool_destroy(p);
        REQUIRE(fault_host_live(&faults) == 0);
        if (!fault_host_fired(&faults, FAULT_ALLOCATE)) {
            CHECK_OK(status);
            CHECK(n == 3); /* the pool and its list of threads */
            break;
        }
        CHECK_STATUS(status, QUERN_HOST_MEMORY);
    }
}

TEST_CASE(Pool, allocates_nothing_once_it_exists) {
    fault_host faults;
    fault_host_begin(&faults, NULL);
    pool *p;
    REQUIRE_OK(pool_create(&p, &faults.host, 3));
    const int64_t before = (int64_t)atomic_load(&faults.count[FAULT_ALLOCATE]);
    tally t = {.pool = p};
    for (int i = 0; i < 100; i++) pool_run(p, 100, count_chunk, &t);
    CHECK(atomic_load(&faults.count[FAULT_ALLOCATE]) == before);
    pool_destroy(p);
}
