/* boundary.c - between two windows of a fit: the evaluation, then the save, that an update made due
 * or that a callback requested. */
#include "trainer.h"

/* Requests of the callbacks that fire here wait for the next boundary. */
quern_status boundary_run(quern_trainer *t) {
    if (t->due == 0) return QUERN_OK;
    QUERN_TRY(records_drain(t)); /* a request may have come with attempts issued */
    const unsigned due = t->due;
    t->due = 0;
    if (due & QUERN_REQUEST_EVALUATION && t->desc.valid && !t->stopping)
        QUERN_TRY(trainer_validate(t));
    return QUERN_OK;
}
