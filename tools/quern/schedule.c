/* schedule.c - --schedule and its options to the library's desc, refused before anything is opened.
 * A schedule of the application's own function is for C programs, not for a command line. */
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The fields that a kind reads, by the names of QUERN_SCHEDULE_LIST. */
enum {
    GAMMA = 1,
    PERIOD = 2,
    PERIOD_FACTOR = 4,
    MILESTONES = 8,
    TOTAL = 16,
    FINAL_SCALE = 32,
    POWER = 64,
    START_SCALE = 128,
    PEAK = 256,
    DECAY = 512,
    USER_FUNCTION = 1024,
};
static const int reads[] = {
#define X(name, text, fields) fields,
    QUERN_SCHEDULE_LIST(X)
#undef X
};

static const struct {
    int option, field;
} fields[] = {
    {OPTION_gamma, GAMMA},           {OPTION_period, PERIOD},
    {OPTION_decay, DECAY},           {OPTION_period_factor, PERIOD_FACTOR},
    {OPTION_power, POWER},           {OPTION_final_scale, FINAL_SCALE},
    {OPTION_milestones, MILESTONES},
};

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

static quern_status check_read(const options *o, quern_schedule_kind kind) {
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (o->texts[fields[i].option] && !(reads[kind] & fields[i].field))
            return quern_fail(QUERN_INVALID, "--%s: the schedule %s does not read it",
                              option_table()[fields[i].option].name, o->schedule);
    const bool exponential = strcmp(o->warmup_kind, "exponential") == 0;
    if (exponential && o->warmup == 0)
        return quern_fail(QUERN_INVALID, "--warmup-kind exponential needs --warmup");
    if (!o->period && (kind == QUERN_SCHEDULE_STEP || kind == QUERN_SCHEDULE_COSINE_RESTARTS))
        return quern_fail(QUERN_INVALID, "--schedule %s needs --period", o->schedule);
    if (!o->milestones && kind == QUERN_SCHEDULE_MULTI_STEP)
        return quern_fail(QUERN_INVALID, "--schedule multi_step needs --milestones");
    return QUERN_OK;
}

quern_status session_schedule(quern_schedule *out, const options *o) {
    const quern_schedule_kind kind = kind_of(o->schedule);
    const bool exponential = strcmp(o->warmup_kind, "exponential") == 0;
    *out = (quern_schedule){
        .kind = kind,
        .warmup = o->warmup,
        .warmup_kind = exponential ? QUERN_WARMUP_EXPONENTIAL : QUERN_WARMUP_LINEAR,
        .gamma = o->gamma,
        .period = o->period,
        .period_factor = o->period_factor,
        .power = o->power,
        .decay = o->decay,
        .final_scale = o->final_scale,
    };
    if (o->texts[OPTION_final_scale] && o->final_scale == 0) out->final_scale = (double)QUERN_ZERO;
    const quern_status status = check_read(o, kind);
    return status == QUERN_OK && o->milestones ? read_milestones(out, o->milestones) : status;
}
