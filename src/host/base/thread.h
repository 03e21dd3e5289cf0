/* thread.h - the library's own threads: named, and with every signal blocked, so that signals
 * stay with the application's threads. */
#ifndef QUERN_BASE_THREAD_H
#define QUERN_BASE_THREAD_H

#include <pthread.h>
#include <quern/status.h>

/* HOST_MEMORY when the system refuses another thread. `name` is cut at 15 bytes. */
QUERN_MUST_CHECK quern_status thread_start(pthread_t *out, void *(*body)(void *context),
                                           void *context, const char *name);

/* How often to look again before going to sleep: about 3 microseconds, less than a wake-up. */
#define THREAD_SPINS 100

static inline void thread_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
