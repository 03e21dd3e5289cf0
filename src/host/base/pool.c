/* pool.c - chunks handed out by one atomic counter to the caller and the workers.
 *
 * A run is open or closed. A worker may enter only an open run, and the caller leaves only when
 * the run is closed and nobody is inside: so a late worker can never see a run that is over, and
 * no run waits for a worker that is still asleep. Both live in `gate`: bit 0 is "open", the rest
 * counts who is inside. Workers and caller look a few microseconds before they sleep, so that the
 * kernels of a step, which follow each other at once, cost no wake-up. */
#include "pool.h"

#include "memory.h"
#include "thread.h"

#include <stdatomic.h>
#include <stdio.h>

struct pool {
    const quern_host *host;
    int32_t worker_count; /* without the caller */
    pthread_t *workers;
    atomic_bool busy; /* taken by a caller */

    void (*body)(void *context, int64_t chunk); /* the run: written only while the gate is shut */
    void *context;
    int64_t chunk_count;
    atomic_int_fast64_t next;
    atomic_int_fast64_t gate;

    atomic_uint_fast64_t generation; /* one more for each run, and for quit */
    atomic_bool quit;
    atomic_int_fast32_t sleepers;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
};

static void run_chunks(pool *p) {
    for (;;) {
        const int64_t chunk = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (chunk >= p->chunk_count) return;
        p->body(p->context, chunk);
    }
}

static bool gate_enter(pool *p) {
    int_fast64_t seen = atomic_load(&p->gate);
    while ((seen & 1) != 0)
        if (atomic_compare_exchange_weak(&p->gate, &seen, seen + 2)) return true;
    return false;
}

static void gate_leave(pool *p) {
    if (atomic_fetch_sub(&p->gate, 2) != 2) return; /* still open, or others are inside */
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

/* Returns the next generation. */
static uint_fast64_t wait_for_work(pool *p, uint_fast64_t seen) {
    for (int i = 0; i < THREAD_SPINS; i++) {
        const uint_fast64_t now = atomic_load(&p->generation);
        if (now != seen) return now;
        thread_pause();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    uint_fast64_t now;
    while ((now = atomic_load(&p->generation)) == seen) pthread_cond_wait(&p->work, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
    return now;
}

static void *worker_main(void *context) {
    pool *p = context;
    uint_fast64_t seen = 0;
    for (;;) {
        seen = wait_for_work(p, seen);
        if (atomic_load(&p->quit)) return NULL;
        if (!gate_enter(p)) continue;
        run_chunks(p);
        gate_leave(p);
    }
}

/* A worker counts itself as a sleeper before it looks at the generation for the last time, and
 * the generation changes before the sleepers are read here: one of the two sees the other. */
static void wake_workers(pool *p, int64_t wanted) {
    atomic_fetch_add(&p->generation, 1);
    if (atomic_load(&p->sleepers) == 0) return;
    pthread_mutex_lock(&p->lock);
    if (wanted >= p->worker_count) {
        pthread_cond_broadcast(&p->work);
    } else {
        for (int64_t i = 0; i < wanted; i++) pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
}

static void wait_until_left(pool *p) {
    for (int i = 0; i < THREAD_SPINS; i++) {
        if (atomic_load(&p->gate) == 0) return;
        thread_pause();
    }
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->gate) != 0) pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void pool_run(pool *p, int64_t chunk_count, void (*body)(void *context, int64_t chunk),
              void *context) {
    if (chunk_count <= 1 || p->worker_count == 0 || atomic_exchange(&p->busy, true)) {
        for (int64_t i = 0; i < chunk_count; i++) body(context, i);
        return;
    }
    p->body = body;
    p->context = context;
    p->chunk_count = chunk_count;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_fetch_or(&p->gate, 1);
    wake_workers(p, chunk_count - 1);
    run_chunks(p);
    atomic_fetch_and(&p->gate, ~(int_fast64_t)1);
    wait_until_left(p);
    atomic_store(&p->busy, false);
}

int32_t pool_thread_count(const pool *p) { return p->worker_count + 1; }

static quern_status start_workers(pool *p, int32_t count) {
    for (; p->worker_count < count; p->worker_count++) {
        char name[24];
        snprintf(name, sizeof name, "quern-pool-%d", p->worker_count + 1);
        const quern_status status =
            thread_start(&p->workers[p->worker_count], worker_main, p, name);
        if (status != QUERN_OK) return status;
    }
    return QUERN_OK;
}

static void stop_workers(pool *p) {
    atomic_store(&p->quit, true);
    wake_workers(p, p->worker_count);
    for (int32_t i = 0; i < p->worker_count; i++) pthread_join(p->workers[i], NULL);
}

static void pool_free(pool *p, int32_t worker_slots) {
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->lock);
    const quern_host *host = p->host;
    memory_release(host, p->workers, worker_slots, sizeof *p->workers);
    memory_release(host, p, 1, sizeof *p);
}

quern_status pool_create(pool **out, const quern_host *host, int32_t thread_count) {
    *out = NULL;
    if (thread_count < 1)
        return quern_fail(QUERN_INVALID, "a pool of %d threads; at least 1", thread_count);
    const int32_t workers = thread_count - 1;
    pool *p;
    quern_status status = memory_allocate(host, &p, 1, sizeof *p, "a thread pool");
    if (status != QUERN_OK) return status;
    p->host = host;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    status = memory_allocate(host, &p->workers, workers, sizeof *p->workers, "a thread pool");
    if (status == QUERN_OK) status = start_workers(p, workers);
    if (status != QUERN_OK) {
        stop_workers(p);
        pool_free(p, workers);
        return status;
    }
    *out = p;
    return QUERN_OK;
}

void pool_destroy(pool *p) {
    if (p == NULL) return;
    stop_workers(p);
    pool_free(p, p->worker_count);
}
