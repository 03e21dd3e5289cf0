/* signals.c - the handler sets a flag and asks the trainer to stop, nothing else. The signal that
 * comes before there is a trainer is seen through signals_received(). */
#include "train.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* A handler has no other way to reach them. */
static volatile sig_atomic_t received;
static quern_trainer *_Atomic watched;

static void on_signal(int number) {
    if (received) _exit(128 + number);
    received = number;
    quern_trainer *trainer = atomic_load(&watched);
    if (trainer) quern_trainer_stop(trainer);
}

void signals_install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void signals_watch(quern_trainer *trainer) { atomic_store(&watched, trainer); }

int signals_received(void) { return received; }
