/* state.h - a callback's state carried from one object to another, as a checkpoint does it: read
 * from the one, written into the other before its load_end. */
#ifndef QUERN_TESTS_CALLBACKS_STATE_H
#define QUERN_TESTS_CALLBACKS_STATE_H

#include <quern/quern.h>

#include <string.h>

/* Both after init. False: they do not keep the same amount. */
static inline bool state_move(quern_callback from, quern_callback to) {
    const quern_callback_state a = from.state(from.self), b = to.state(to.self);
    if (a.bytes != b.bytes || a.block_bytes != b.block_bytes) return false;
    if (a.bytes > 0) memcpy(b.data, a.data, a.bytes);
    if (a.block_bytes > 0) memcpy(b.block, a.block, a.block_bytes);
    return true;
}

/* What `callback` answers to the load_end of a trainer. */
static inline quern_action state_loaded(quern_callback callback, quern_trainer *trainer) {
    const quern_event event = {
        .kind = QUERN_EVENT_load_end, .trainer = trainer, .checkpoint = "run/step-1"};
    return callback.load_end ? callback.load_end(callback.self, &event) : QUERN_CONTINUE;
}

#endif
