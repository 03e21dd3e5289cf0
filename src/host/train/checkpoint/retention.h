/* retention.h - which checkpoints stay: the last n, the best k by a metric, every m steps for ever.
 * A table of bounded size; it names what goes, and touches no file.
 *
 * Only what is whole makes others go: written by this process, or read and found to be. */
#ifndef QUERN_CHECKPOINT_RETENTION_H
#define QUERN_CHECKPOINT_RETENTION_H

#include <quern/host.h>

#define RETENTION_KEEP_MAX 10000

typedef struct retention_policy {
    int64_t keep_last;    /* at least 2: with one, there would be none while it is replaced */
    int64_t keep_best;    /* 0: none because of its metric */
    bool best_is_largest; /* default: the smallest */
    int64_t keep_every;   /* steps; what falls on a multiple stays for ever; 0: none */
} retention_policy;

typedef struct retention_row {
    int64_t step;
    double metric; /* NaN: never best */
    bool whole;    /* known to be */
} retention_row;

typedef struct retention {
    retention_policy policy;
    retention_row *rows;
    int64_t count, capacity;
} retention;

/* INVALID: what is wrong with a policy. */
QUERN_MUST_CHECK quern_status retention_check(const retention_policy *policy);
/* With room for `existing` rows and for what stays of any number of saves. */
QUERN_MUST_CHECK quern_status retention_create(retention *out, const quern_host *host,
                                               const retention_policy *policy, int64_t existing);
void retention_release(retention *r, const quern_host *host);

/* A checkpoint that is on the disk; one of the same step is replaced. INTERNAL when full. */
QUERN_MUST_CHECK quern_status retention_add(retention *r, const retention_row *row);
/* One that is among the last or the best of the table, and not known to be whole; false: there is
 * none. To be believed or forgotten, then the next one asked for. */
bool retention_doubtful(const retention *r, int64_t *step);
void retention_believe(retention *r, int64_t step); /* it is whole */
void retention_forget(retention *r, int64_t step);  /* it leaves the table */
/* Takes one that is to be removed out of the table; false: there is none. The one of step
 * `written` always stays. */
bool retention_take(retention *r, int64_t written, int64_t *step);

#endif
