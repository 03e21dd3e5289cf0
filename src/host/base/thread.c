/* thread.c - starts the library's threads. _GNU_SOURCE: pthread_setname_np, so that a profiler
 * shows which thread is whose. */
#define _GNU_SOURCE
#include "thread.h"

#include "report.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

quern_status thread_start(pthread_t *out, void *(*body)(void *context), void *context,
                          const char *name) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int refused = pthread_create(out, NULL, body, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (refused != 0)
        return quern_fail(QUERN_HOST_MEMORY, "the system refused thread \"%s\": %s", name,
                          error_cause_of(-refused).text);
    char cut[16];
    snprintf(cut, sizeof cut, "%.15s", name);
    pthread_setname_np(*out, cut); /* a name is a courtesy: its failure is none */
    return QUERN_OK;
}
