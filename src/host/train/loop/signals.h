/* signals.h - SIGINT, SIGTERM and SIGHUP, caught for as long as somebody asks.
 *
 * The handlers only count: what a signal means is decided where the counts are read, by everyone
 * who reads them. Any thread may call these functions. */
#ifndef QUERN_TRAIN_SIGNALS_H
#define QUERN_TRAIN_SIGNALS_H

#include <quern/status.h>

/* How often each has come since the process began. */
typedef struct signal_counts {
    unsigned interrupt, terminate, hangup;
} signal_counts;

/* Installs the handlers when nobody had; each one that returned OK takes a signals_leave. */
QUERN_MUST_CHECK quern_status signals_enter(void);
/* The last one puts the handlers back that were there before; one that the application has
 * installed in the meantime stays. */
void signals_leave(void);
signal_counts signals_read(void);

#endif
