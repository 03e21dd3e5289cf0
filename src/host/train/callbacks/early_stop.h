/* early_stop.h - what of early stop the rest of the trainer sees. */
#ifndef QUERN_TRAIN_CALLBACKS_EARLY_STOP_H
#define QUERN_TRAIN_CALLBACKS_EARLY_STOP_H

#include <quern/event.h>

/* Whether it is one of quern_early_stop_callback's, under whatever name, and nothing was put into
 * it since. */
bool is_early_stop(const quern_callback *callback);

#endif
