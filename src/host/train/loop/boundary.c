/* boundary.c - between two windows of a fit: the evaluation, then the save, that an update made due
 * or that a callback requested. */
#include "../trainer.h"

quern_status quern_event_request(const quern_event *event, quern_request request) {
    if (!event) return quern_fail(QUERN_INVALID, "request: event is NULL");
    quern_trainer *t = event->trainer;
    if (request != QUERN_REQUEST_EVALUATION && request != QUERN_REQUEST_SAVE)
        return quern_fail(QUERN_INVALID, "request: %d is none", (int)request);
    if (!t->fitting || event->kind < QUERN_EVENT_fit_begin || event->kind > QUERN_EVENT_epoch_end)
        return quern_fail(QUERN_INVALID,
                          "request: %s is not between fit_begin and epoch_end of a fit",
                          quern_event_name(event->kind));
    if (request == QUERN_REQUEST_EVALUATION && t->set_count == 0)
        return quern_fail(QUERN_INVALID, "request: there is no set to evaluate");
    if (request == QUERN_REQUEST_SAVE && !t->desc.save.directory)
        return quern_fail(QUERN_INVALID, "request: there is no directory to save to");
    t->due |= (int64_t)request;
    return QUERN_OK;
}

/* A run that is ending saves at its end. */
static quern_status save_due(quern_trainer *t, int64_t due) {
    if (!(due & QUERN_REQUEST_SAVE) || t->stopping) return QUERN_OK;
    return save_run(t);
}

/* Requests of the callbacks that fire here wait for the next boundary. */
quern_status boundary_run(quern_trainer *t) {
    QUERN_TRY(save_poll(t));
    if (t->due == 0) return QUERN_OK;
    QUERN_TRY(records_drain(t)); /* a request may have come with attempts issued */
    const int64_t due = t->due;
    t->due = 0;
    if ((due & QUERN_REQUEST_EVALUATION) && !t->stopping) QUERN_TRY(trainer_validate(t));
    if (stop_cut_evaluation(t)) t->due = due & QUERN_REQUEST_EVALUATION;
    return save_due(t, due);
}

quern_status boundary_epoch_end(quern_trainer *t) {
    const bool every_epoch = t->desc.save.directory && t->desc.save.every == 0;
    const int64_t due = t->due | (every_epoch ? QUERN_REQUEST_SAVE : 0);
    t->due &= ~QUERN_REQUEST_SAVE;
    return save_due(t, due);
}
