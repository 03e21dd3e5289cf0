/* retention.c - ranks each checkpoint among those in the table by counting; the table holds a few
 * dozen rows at most. */
#include "retention.h"
#include "../../base/memory.h"
#include "../../base/report.h"

#include <inttypes.h>
#include <math.h>

quern_status retention_check(const retention_policy *p) {
    if (p->keep_last < 2)
        return quern_fail(QUERN_INVALID,
                          "keeping the last %" PRId64 " checkpoints: at least 2 have to stay, so "
                          "that one is whole whatever happens to the other",
                          p->keep_last);
    if (p->keep_last > RETENTION_KEEP_MAX || p->keep_best > RETENTION_KEEP_MAX)
        return quern_fail(QUERN_INVALID, "at most %d checkpoints can be kept", RETENTION_KEEP_MAX);
    if (p->keep_best < 0 || p->keep_every < 0)
        return quern_fail(QUERN_INVALID, "the number of checkpoints to keep is negative");
    return QUERN_OK;
}

quern_status retention_create(retention *out, const quern_host *host,
                              const retention_policy *policy, int64_t existing) {
    *out = (retention){.policy = *policy,
                       .capacity = existing + policy->keep_last + policy->keep_best + 2};
    return memory_allocate(host, &out->rows, out->capacity, sizeof *out->rows,
                           "the table of kept checkpoints");
}

void retention_release(retention *r, const quern_host *host) {
    memory_release(host, r->rows, r->capacity, sizeof *r->rows);
    *r = (retention){0};
}

static int64_t find(const retention *r, int64_t step) {
    int64_t i = 0;
    while (i < r->count && r->rows[i].step != step) i++;
    return i;
}

quern_status retention_add(retention *r, const retention_row *row) {
    const int64_t i = find(r, row->step);
    QUERN_ENSURE(i < r->capacity);
    if (i == r->count) r->count++;
    r->rows[i] = *row;
    return QUERN_OK;
}

static void drop(retention *r, int64_t i) { r->rows[i] = r->rows[--r->count]; }

/* Equal metrics: the newer one is better. */
static bool is_better(const retention *r, const retention_row *a, const retention_row *b) {
    if (isnan(a->metric)) return false;
    if (isnan(b->metric)) return true;
    if (a->metric < b->metric) return !r->policy.best_is_largest;
    if (a->metric > b->metric) return r->policy.best_is_largest;
    return a->step > b->step;
}

/* Among the last or the best, where so many others count that are known to be whole, or all. */
static bool is_kept(const retention *r, const retention_row *row, bool all) {
    int64_t newer = 0, better = 0;
    for (int64_t i = 0; i < r->count; i++) {
        if (!all && !r->rows[i].whole) continue;
        newer += r->rows[i].step > row->step;
        better += is_better(r, &r->rows[i], row);
    }
    return newer < r->policy.keep_last || (better < r->policy.keep_best && !isnan(row->metric));
}

bool retention_doubtful(const retention *r, int64_t *step) {
    for (int64_t i = 0; i < r->count; i++) {
        *step = r->rows[i].step;
        if (!r->rows[i].whole && is_kept(r, &r->rows[i], true)) return true;
    }
    return false;
}

void retention_believe(retention *r, int64_t step) {
    const int64_t i = find(r, step);
    if (i < r->count) r->rows[i].whole = true;
}

void retention_forget(retention *r, int64_t step) {
    const int64_t i = find(r, step);
    if (i < r->count) drop(r, i);
}

/* One that stays for ever needs no row once it is neither among the last nor the best: nothing
 * will make it go, and it makes none of the others go. */
bool retention_take(retention *r, int64_t written, int64_t *step) {
    for (int64_t i = 0; i < r->count;) {
        const retention_row row = r->rows[i];
        if (row.step == written || is_kept(r, &row, false)) {
            i++;
            continue;
        }
        drop(r, i);
        if (r->policy.keep_every > 0 && row.step % r->policy.keep_every == 0) continue;
        *step = row.step;
        return true;
    }
    return false;
}
