/* schedule.c - --schedule and its options to the library's desc, refused before anything is opened.
 * A schedule of the application's own function is for C programs, not for a command line. */
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static quern_schedule_kind kind_of(const char *name) {
    for (int i = 0; i < QUERN_SCHEDULE_COUNT; i++)
        if (strcmp(quern_schedule_name((quern_schedule_kind)i), name) == 0)
            return (quern_schedule_kind)i;
    return QUERN_SCHEDULE_CONSTANT;
}

/* "30,80": ascending, above 0. */
static quern_status read_milestones(quern_schedule *out, const char *text) {
    const int32_t most = (int32_t)(sizeof out->milestones / sizeof *out->milestones);
    const char *at = text;
    int64_t before = 0;
    while (out->milestone_count < most && *at >= '0' && *at <= '9') {
        char *end = NULL;
        errno = 0;
        const long long value = strtoll(at, &end, 10);
        if (errno != 0 || value <= before) break;
        before = out->milestones[out->milestone_count++] = value;
        if (!*end) return QUERN_OK;
        if (*end != ',') break;
        at = end + 1;
    }
    return quern_fail(QUERN_INVALID,
                      "--milestones: expected up to %d ascending numbers above 0 like 30,80, found "
                      "\"%s\"",
                      (int)most, text);
}

quern_status session_schedule(quern_schedule *out, const options *o) {
    const quern_schedule_kind kind = kind_of(o->schedule);
    const bool cycles = kind == QUERN_SCHEDULE_STEP || kind == QUERN_SCHEDULE_COSINE_RESTARTS;
    *out = (quern_schedule){.kind = kind, .warmup = o->warmup, .period = o->period};
    if (o->period && !cycles && kind != QUERN_SCHEDULE_EXPONENTIAL)
        return quern_fail(QUERN_INVALID, "--period: the schedule %s does not read it", o->schedule);
    if (!o->period && cycles)
        return quern_fail(QUERN_INVALID, "--schedule %s needs --period", o->schedule);
    if (kind == QUERN_SCHEDULE_MULTI_STEP) {
        if (o->milestones) return read_milestones(out, o->milestones);
        return quern_fail(QUERN_INVALID, "--schedule multi_step needs --milestones");
    }
    if (!o->milestones) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "--milestones: the schedule %s does not read it", o->schedule);
}
