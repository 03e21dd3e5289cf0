/* signals.c - while the data is opened and while results are written, SIGINT and SIGTERM set a
 * flag, a second one exits at once, and SIGHUP, which asks for a save, finds nothing to be saved.
 * During fit the library's handlers take their place; what came before is handed on to them. */
#include "train.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* A handler has no other way to reach it. */
static volatile sig_atomic_t received;

static void on_signal(int number) {
    if (number == SIGHUP) return;
    if (received) _exit(128 + number);
    received = number;
}

void signals_install(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
}

/* The library's handlers are there when fit begins. */
static quern_action hand_on(void *self, const quern_event *event) {
    (void)self;
    (void)event;
    if (received) raise(received);
    return QUERN_CONTINUE;
}

quern_callback signals_callback(void) {
    return (quern_callback){.name = "signals", .fit_begin = hand_on};
}

int signals_received(void) { return received; }

void signals_note(int number) {
    if (number) received = number;
}
