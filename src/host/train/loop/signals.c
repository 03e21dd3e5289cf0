/* signals.c - the process has one set of signal handlers, so the state here is the process's. */
#include "signals.h"

#include "../../base/report.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

enum { SIGNAL_COUNT = 3 };
static const int numbers[SIGNAL_COUNT] = {SIGINT, SIGTERM, SIGHUP};

#if ATOMIC_INT_LOCK_FREE != 2
#error "a signal handler needs atomic integers without a lock"
#endif

/* Exceptions to "nothing is global": handlers belong to the process and get no argument. `counts`
 * is all that a handler touches; the lock guards the rest. */
static atomic_uint counts[SIGNAL_COUNT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int users;
static struct sigaction before[SIGNAL_COUNT];

static void count_signal(int number) {
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (numbers[i] == number) atomic_fetch_add_explicit(&counts[i], 1, memory_order_relaxed);
}

static void restore(int installed) {
    for (int i = installed; i-- > 0;) {
        struct sigaction now;
        if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler == count_signal)
            (void)sigaction(numbers[i], &before[i], NULL);
    }
}

static quern_status install(void) {
    struct sigaction ours;
    memset(&ours, 0, sizeof ours);
    ours.sa_handler = count_signal;
    ours.sa_flags = SA_RESTART;
    sigemptyset(&ours.sa_mask);
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        if (sigaction(numbers[i], &ours, &before[i]) == 0) continue;
        restore(i);
        return quern_fail(QUERN_INTERNAL, "signal %d cannot be caught", numbers[i]);
    }
    return QUERN_OK;
}

quern_status signals_enter(void) {
    pthread_mutex_lock(&lock);
    const quern_status status = users == 0 ? install() : QUERN_OK;
    if (status == QUERN_OK) users++;
    pthread_mutex_unlock(&lock);
    return status;
}

void signals_leave(void) {
    pthread_mutex_lock(&lock);
    if (--users == 0) restore(SIGNAL_COUNT);
    pthread_mutex_unlock(&lock);
}

signal_counts signals_read(void) {
    unsigned now[SIGNAL_COUNT];
    for (int i = 0; i < SIGNAL_COUNT; i++)
        now[i] = atomic_load_explicit(&counts[i], memory_order_relaxed);
    return (signal_counts){.interrupt = now[0], .terminate = now[1], .hangup = now[2]};
}
