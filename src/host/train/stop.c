/* stop.c - what ends a fit from outside: quern_trainer_stop, a signal, the stop file. All are only
 * noted where they happen and looked at here, between two windows or two evaluation batches. */
#include "../base/file.h"
#include "trainer.h"

#include <signal.h>

enum { STOP_FILE_PERIOD_NS = 100000000 };

quern_status stop_start(quern_trainer *t) {
    t->signal = 0;
    t->at_once = false;
    t->stop_file_due_ns = 0;
    if (!t->desc.handle_signals) return QUERN_OK;
    QUERN_TRY(signals_enter());
    t->signals_entered = true;
    t->signals_seen = signals_read();
    return QUERN_OK;
}

void stop_finish(quern_trainer *t) {
    atomic_store_explicit(&t->stop_flag, 0, memory_order_relaxed);
    if (t->signals_entered) signals_leave();
    t->signals_entered = false;
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
    const signal_counts now = signals_read(), seen = t->signals_seen;
    const unsigned terminate = now.terminate - seen.terminate;
    const unsigned ending = terminate + (now.interrupt - seen.interrupt);
    t->signals_seen = now;
    if (now.hangup != seen.hangup) hangup(t);
    if (ending == 0) return QUERN_OK;
    if (t->signal != 0 || ending > 1) t->at_once = true;
    if (t->signal == 0) t->signal = terminate > 0 ? SIGTERM : SIGINT;
    return trainer_begin_stop(t, QUERN_STOPPED_SIGNAL);
}

static quern_status stop_file_look(quern_trainer *t, bool now) {
    if (!t->desc.stop_file || t->stopping) return QUERN_OK;
    const quern_files *files = &t->host->files;
    const int64_t clock = trainer_now(t);
    if (!now && clock < t->stop_file_due_ns) return QUERN_OK;
    quern_file_info info;
    t->stop_file_due_ns = clock + STOP_FILE_PERIOD_NS;
    if (files->info(files->self, t->desc.stop_file, &info) < 0) return QUERN_OK;
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

bool trainer_at_once(quern_trainer *t) {
    const signal_counts now = signals_read(), seen = t->signals_seen;
    const bool again = now.interrupt != seen.interrupt || now.terminate != seen.terminate;
    if (t->signals_entered && t->signal != 0 && again) t->at_once = true;
    return t->at_once;
}

/* A lock-free store: a signal handler may call this. */
void quern_trainer_stop(quern_trainer *t) {
    if (t) atomic_store_explicit(&t->stop_flag, 1, memory_order_relaxed);
}
