/* stop.c - what ends a fit from outside: quern_trainer_stop, a signal, the stop file. All are only
 * noted where they happen and looked at here, between two windows or two evaluation batches. */
#include "../../base/file.h"
#include "../trainer.h"

#include <signal.h>

enum { STOP_FILE_PERIOD_NS = 100000000 };

quern_status stop_start(quern_trainer *t) {
    t->signal = 0;
    t->at_once = false;
    t->stop_file_due_ns = 0;
    if (!t->desc.handle_signals) return QUERN_OK;
    t->signals_begun = t->signals_seen = signals_read(); /* one may come while they are put in */
    QUERN_TRY(signals_enter());
    t->signals_entered = true;
    return QUERN_OK;
}

/* Those that say that the run is to end. */
static unsigned ending_between(signal_counts before, signal_counts now) {
    return (now.terminate - before.terminate) + (now.interrupt - before.interrupt);
}

/* How many new ones say that the run is to end. */
static unsigned signals_note(quern_trainer *t) {
    const signal_counts now = signals_read(), seen = t->signals_seen;
    const unsigned terminate = now.terminate - seen.terminate;
    const unsigned ending = ending_between(seen, now);
    t->signals_seen = now;
    if (ending > 0 && t->signal == 0) t->signal = terminate > 0 ? SIGTERM : SIGINT;
    return ending;
}

void stop_finish(quern_trainer *t) {
    atomic_store_explicit(&t->stop_flag, 0, memory_order_relaxed);
    if (!t->signals_entered) return;
    t->signals_entered = false;
    signals_leave();
    (void)signals_note(t); /* one that came during the last save ends nothing, but is told */
    t->at_once = ending_between(t->signals_begun, t->signals_seen) >= 2;
}

bool stop_was_asked(const quern_trainer *t) {
    return t->stopping && (t->reason == QUERN_STOPPED_REQUEST || t->reason == QUERN_STOPPED_FILE ||
                           t->reason == QUERN_STOPPED_SIGNAL);
}

bool stop_cut_evaluation(const quern_trainer *t) {
    return stop_was_asked(t) && t->evaluated_attempts != t->attempts;
}

static void hangup(quern_trainer *t) {
    if (t->desc.save.directory)
        t->due |= QUERN_REQUEST_SAVE;
    else
        log_write(t->host, QUERN_LOG_WARNING,
                  "SIGHUP: nothing is saved, because there is no directory to save to");
}

/* The first SIGINT or SIGTERM ends the run in order, the second one at once. */
static quern_status signals_look(quern_trainer *t) {
    if (!t->signals_entered) return QUERN_OK;
    const unsigned hangups = t->signals_seen.hangup;
    const unsigned ending = signals_note(t);
    if (t->signals_seen.hangup != hangups) hangup(t);
    return ending > 0 ? trainer_begin_stop(t, QUERN_STOPPED_SIGNAL) : QUERN_OK;
}

/* Once: a path that cannot be looked at would be told ten times a second. */
static void stop_file_complain(quern_trainer *t) {
    if (!t->stop_file_told)
        log_write(t->host, QUERN_LOG_WARNING, "the stop file cannot end the run: %s",
                  quern_error());
    t->stop_file_told = true;
}

static quern_status stop_file_look(quern_trainer *t, bool now) {
    if (!t->desc.stop_file || t->stopping) return QUERN_OK;
    const int64_t clock = trainer_now(t);
    bool found = false;
    if (!now && clock < t->stop_file_due_ns) return QUERN_OK;
    t->stop_file_due_ns = clock + STOP_FILE_PERIOD_NS;
    if (file_find(t->host, t->desc.stop_file, &found) != QUERN_OK) stop_file_complain(t);
    if (!found) return QUERN_OK;
    if (file_remove(t->host, t->desc.stop_file) != QUERN_OK)
        log_write(t->host, QUERN_LOG_WARNING, "the stop file stays: %s", quern_error());
    return trainer_begin_stop(t, QUERN_STOPPED_FILE);
}

static quern_status look(quern_trainer *t, bool file_now) {
    QUERN_TRY(signals_look(t));
    if (atomic_load_explicit(&t->stop_flag, memory_order_relaxed) != 0)
        QUERN_TRY(trainer_begin_stop(t, QUERN_STOPPED_REQUEST));
    return stop_file_look(t, file_now);
}

quern_status trainer_poll_stop(quern_trainer *t) { return look(t, false); }
quern_status trainer_poll_stop_now(quern_trainer *t) { return look(t, true); }

quern_status trainer_poll_stop_own_loop(quern_trainer *t) {
    if (atomic_load_explicit(&t->stop_flag, memory_order_relaxed) == 0) return QUERN_OK;
    atomic_store_explicit(&t->stop_flag, 0, memory_order_relaxed);
    return trainer_begin_stop(t, QUERN_STOPPED_REQUEST);
}

bool trainer_at_once(const quern_trainer *t) {
    return t->signals_entered && ending_between(t->signals_begun, signals_read()) >= 2;
}

/* A lock-free store: a signal handler may call this. */
void quern_trainer_stop(quern_trainer *t) {
    if (t) atomic_store_explicit(&t->stop_flag, 1, memory_order_relaxed);
}
