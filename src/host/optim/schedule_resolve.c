/* schedule_resolve.c - the schedule's desc: defaults, fields that the kind does not read,
 * ranges. */
#include "schedule.h"

#include "../base/report.h"

#include <inttypes.h>
#include <math.h>

enum {
    GAMMA = 1 << 0,
    PERIOD = 1 << 1,
    MILESTONES = 1 << 2,
    TOTAL = 1 << 3,
    FINAL_SCALE = 1 << 4,
    PERIOD_FACTOR = 1 << 5,
    POWER = 1 << 6,
    START_SCALE = 1 << 7,
    PEAK = 1 << 8,
    DECAY = 1 << 9,
    USER_FUNCTION = 1 << 10,
};

#define X(name, text, reads) (reads),
static const int reads_of[QUERN_SCHEDULE_COUNT] = {QUERN_SCHEDULE_LIST(X)};
#undef X

static bool is_set(double x) { return x != 0 || signbit(x); }

static bool reads(const quern_schedule *s, int field) { return (reads_of[s->kind] & field) != 0; }

static const char *name_of(const quern_schedule *s) { return quern_schedule_name(s->kind); }

static quern_status check_unread(const quern_schedule *s) {
    const struct {
        const char *name;
        int field;
        bool set;
    } fields[] = {
        {"gamma", GAMMA, is_set(s->gamma)},
        {"period", PERIOD, s->period != 0},
        {"milestones", MILESTONES, s->milestone_count != 0},
        {"total", TOTAL, s->total != 0},
        {"final_scale", FINAL_SCALE, is_set(s->final_scale)},
        {"period_factor", PERIOD_FACTOR, s->period_factor != 0},
        {"power", POWER, is_set(s->power)},
        {"start_scale", START_SCALE, is_set(s->start_scale)},
        {"peak", PEAK, is_set(s->peak)},
        {"decay", DECAY, s->decay != 0},
        {"function", USER_FUNCTION, s->function != NULL},
        {"self", USER_FUNCTION, s->self != NULL},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].set && !reads(s, fields[i].field))
            return quern_fail(QUERN_INVALID, "schedule %s does not read %s", name_of(s),
                              fields[i].name);
    return QUERN_OK;
}

/* Sets the default; the value must then lie in [low, high]. */
static quern_status resolve_real(const quern_schedule *s, const char *name, double *value,
                                 double fallback, double low, double high) {
    if (!is_set(*value)) *value = fallback;
    if (isfinite(*value) && *value >= low && *value <= high) return QUERN_OK;
    if (high < INFINITY)
        return quern_fail(QUERN_INVALID, "schedule %s: %s %g, expected %g to %g", name_of(s), name,
                          *value, low, high);
    return quern_fail(QUERN_INVALID, "schedule %s: %s %g, expected %g or more", name_of(s), name,
                      *value, low);
}

static quern_status resolve_warmup(quern_schedule *s) {
    const char *name = name_of(s);
    if (s->warmup < 0)
        return quern_fail(QUERN_INVALID, "schedule %s: warmup %" PRId64 ", expected 0 or more",
                          name, s->warmup);
    if ((uint32_t)s->warmup_kind > QUERN_WARMUP_EXPONENTIAL)
        return quern_fail(QUERN_INVALID, "schedule %s: warmup_kind %d does not exist", name,
                          (int)s->warmup_kind);
    if (s->warmup == 0) {
        if (!is_set(s->warmup_scale) && s->warmup_kind == QUERN_WARMUP_LINEAR) return QUERN_OK;
        return quern_fail(QUERN_INVALID, "schedule %s does not read %s without a warmup", name,
                          is_set(s->warmup_scale) ? "warmup_scale" : "warmup_kind");
    }
    QUERN_TRY(
        resolve_real(s, "warmup_scale", &s->warmup_scale, 1 / (double)s->warmup, 0, INFINITY));
    if (s->warmup_scale > 0 || s->warmup_kind == QUERN_WARMUP_LINEAR) return QUERN_OK;
    return quern_fail(QUERN_INVALID,
                      "schedule %s: an exponential warm-up from a warmup_scale of 0 stays there",
                      name);
}

static quern_status check_milestones(const quern_schedule *s) {
    if (s->milestone_count < 1 || s->milestone_count > SCHEDULE_MILESTONE_MAX)
        return quern_fail(QUERN_INVALID, "schedule multi_step: %d milestones, expected 1 to %d",
                          (int)s->milestone_count, SCHEDULE_MILESTONE_MAX);
    for (int32_t i = 0; i < s->milestone_count; i++) {
        const int64_t before = i == 0 ? 0 : s->milestones[i - 1];
        if (s->milestones[i] <= before)
            return quern_fail(QUERN_INVALID,
                              "schedule multi_step: milestone %" PRId64 " after %" PRId64
                              ", expected ascending and above 0",
                              s->milestones[i], before);
    }
    return QUERN_OK;
}

static quern_status resolve_period(quern_schedule *s, int64_t planned_updates) {
    if (s->period == 0 && s->kind == QUERN_SCHEDULE_EXPONENTIAL) {
        if (planned_updates == 0)
            return quern_fail(QUERN_INVALID,
                              "schedule exponential needs period: the number of updates is not "
                              "known");
        s->period = planned_updates > s->warmup ? planned_updates - s->warmup : 1;
    }
    if (s->period < 1)
        return quern_fail(QUERN_INVALID, "schedule %s: period %" PRId64 ", expected above 0",
                          name_of(s), s->period);
    if (!reads(s, PERIOD_FACTOR)) return QUERN_OK;
    if (s->period_factor < 0)
        return quern_fail(QUERN_INVALID,
                          "schedule %s: period_factor %" PRId64 ", expected 1 or more", name_of(s),
                          s->period_factor);
    if (s->period_factor == 0) s->period_factor = 1;
    return QUERN_OK;
}

static quern_status resolve_total(quern_schedule *s, int64_t planned_updates) {
    const char *name = name_of(s);
    if (s->total < 0 || (s->total > 0 && s->total < s->warmup))
        return quern_fail(QUERN_INVALID,
                          "schedule %s: total %" PRId64 " is below its warmup of %" PRId64, name,
                          s->total, s->warmup);
    if (s->total == 0) s->total = planned_updates;
    if (s->total == 0)
        return quern_fail(QUERN_INVALID,
                          "schedule %s needs total: the number of updates is not known", name);
    return QUERN_OK;
}

static quern_status resolve_decay(quern_schedule *s) {
    const int64_t span = s->total > s->warmup ? s->total - s->warmup : 0;
    if (s->decay < 0 || s->decay > span)
        return quern_fail(QUERN_INVALID,
                          "schedule %s: decay %" PRId64 ", expected at most the %" PRId64
                          " updates behind the warm-up",
                          name_of(s), s->decay, span);
    s->decay = schedule_decay(s, span);
    return QUERN_OK;
}

static quern_status resolve_shape(quern_schedule *s) {
    const bool cycle = s->kind == QUERN_SCHEDULE_ONE_CYCLE;
    if (reads(s, GAMMA)) QUERN_TRY(resolve_real(s, "gamma", &s->gamma, 0.1, 0, INFINITY));
    if (reads(s, START_SCALE))
        QUERN_TRY(resolve_real(s, "start_scale", &s->start_scale, 1.0 / 25, 0, INFINITY));
    if (reads(s, PEAK)) QUERN_TRY(resolve_real(s, "peak", &s->peak, 0.3, 0, 1));
    if (reads(s, FINAL_SCALE))
        QUERN_TRY(resolve_real(s, "final_scale", &s->final_scale,
                               cycle ? s->start_scale / 10000 : 0, 0, INFINITY));
    if (!reads(s, POWER)) return QUERN_OK;
    QUERN_TRY(resolve_real(s, "power", &s->power, 1, 0, INFINITY));
    if (s->power > 0) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "schedule %s: power 0, expected above 0", name_of(s));
}

quern_status schedule_resolve(quern_schedule *schedule, int64_t planned_updates) {
    quern_schedule *s = schedule;
    if ((uint32_t)s->kind >= QUERN_SCHEDULE_COUNT)
        return quern_fail(QUERN_INVALID, "schedule %d does not exist", (int)s->kind);
    QUERN_TRY(resolve_warmup(s));
    QUERN_TRY(check_unread(s));
    if (reads(s, USER_FUNCTION) && !s->function)
        return quern_fail(QUERN_INVALID, "schedule function: function is NULL");
    if (reads(s, MILESTONES)) QUERN_TRY(check_milestones(s));
    if (reads(s, PERIOD)) QUERN_TRY(resolve_period(s, planned_updates));
    if (reads(s, TOTAL)) QUERN_TRY(resolve_total(s, planned_updates));
    if (reads(s, DECAY)) QUERN_TRY(resolve_decay(s));
    return resolve_shape(s);
}
