/* schedule.c - learning-rate schedules as closed forms: no state, so that a resumed run has the
 * same rates, and no trace of accumulation. Beside the sources named in optim.h, the conventions
 * are torch.optim.lr_scheduler's: the form at m is the rate of the update with m before it. */
#include "schedule.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

/* QUERN_ZERO is a zero that is meant. */
static double value_or(double x, double fallback) {
    return x == 0 && !signbit(x) ? fallback : x + 0.0;
}

/* Half a cosine wave: `from` at share 0, `to` at share 1. */
static double cosine_between(double from, double to, double share) {
    return to + (from - to) * 0.5 * (1 + cos(PI * share));
}

/* The last update of the warm-up has factor 1. */
static double warmup_scale(const quern_schedule *s, int64_t n) {
    if (s->warmup == 1) return 1;
    const double first = value_or(s->warmup_scale, 1 / (double)s->warmup);
    const double left = (double)(s->warmup - 1 - n) / (double)(s->warmup - 1);
    return s->warmup_kind == QUERN_WARMUP_EXPONENTIAL ? pow(first, left) : 1 + (first - 1) * left;
}

static double stairs(const quern_schedule *s, int64_t m) {
    int64_t passed = 0;
    if (s->kind == QUERN_SCHEDULE_STEP) passed = s->period > 0 ? m / s->period : 0;
    for (int32_t i = 0; i < s->milestone_count && i < SCHEDULE_MILESTONE_MAX; i++)
        passed += s->milestones[i] <= m;
    return pow(value_or(s->gamma, 0.1), (double)passed);
}

static double exponential(const quern_schedule *s, int64_t m, int64_t span) {
    const int64_t period = s->period > 0 ? s->period : span > 0 ? span : 1;
    return pow(value_or(s->gamma, 0.1), (double)m / (double)period);
}

/* Cycles of period, period f, period f², …: at most 63 of them where f is above 1. */
static double restarts(const quern_schedule *s, int64_t m) {
    int64_t length = s->period > 0 ? s->period : 1;
    const int64_t factor = s->period_factor > 1 ? s->period_factor : 1;
    if (factor == 1) m %= length;
    while (m >= length) {
        m -= length;
        length = length > INT64_MAX / factor ? INT64_MAX : length * factor;
    }
    return cosine_between(1, s->final_scale + 0.0, (double)m / (double)length);
}

static double one_cycle(const quern_schedule *s, int64_t m, int64_t span) {
    const double start = value_or(s->start_scale, 1.0 / 25);
    const double final = value_or(s->final_scale, start / 10000);
    const double top = value_or(s->peak, 0.3) * (double)span - 1;
    const double end = (double)span - 1, at = (double)m;
    if (at <= top && top > 0) return cosine_between(start, 1, at / top);
    if (at <= top) return 1;
    return at >= end ? final : cosine_between(1, final, (at - top) / (end - top));
}

static double stable_decay(const quern_schedule *s, int64_t m, int64_t span) {
    const int64_t decay = schedule_decay(s, span);
    const int64_t into = m - (span - decay);
    return into <= 0 ? 1 : 1 + (s->final_scale + 0.0 - 1) * ((double)into / (double)decay);
}

static double user_factor(const quern_schedule *s, int64_t m) {
    const double factor = s->function ? s->function(s->self, m) : 1;
    return factor >= 0 && isfinite(factor) ? factor : (double)NAN;
}

/* The schedules that end after `span` updates, where they have come to their final scale. */
static double ending_scale(const quern_schedule *s, int64_t m, int64_t span) {
    const double final = s->final_scale + 0.0;
    const double share = (double)m / (double)span;
    if (s->kind == QUERN_SCHEDULE_ONE_CYCLE && m < span) return one_cycle(s, m, span);
    if (s->kind == QUERN_SCHEDULE_ONE_CYCLE)
        return value_or(s->final_scale, value_or(s->start_scale, 1.0 / 25) / 10000);
    if (m >= span) return final;
    switch (s->kind) {
    case QUERN_SCHEDULE_LINEAR: return 1 + (final - 1) * share;
    case QUERN_SCHEDULE_COSINE: return cosine_between(1, final, share);
    case QUERN_SCHEDULE_POLYNOMIAL:
        return final + (1 - final) * pow(1 - share, value_or(s->power, 1));
    default: return stable_decay(s, m, span);
    }
}

/* The schedule proper, m = 0 at its start, over `span` updates. */
static double scale_after_warmup(const quern_schedule *s, int64_t m, int64_t span) {
    switch (s->kind) {
    case QUERN_SCHEDULE_STEP:
    case QUERN_SCHEDULE_MULTI_STEP: return stairs(s, m);
    case QUERN_SCHEDULE_EXPONENTIAL: return exponential(s, m, span);
    case QUERN_SCHEDULE_COSINE_RESTARTS: return restarts(s, m);
    case QUERN_SCHEDULE_FUNCTION: return user_factor(s, m);
    case QUERN_SCHEDULE_LINEAR:
    case QUERN_SCHEDULE_COSINE:
    case QUERN_SCHEDULE_POLYNOMIAL:
    case QUERN_SCHEDULE_ONE_CYCLE:
    case QUERN_SCHEDULE_WARMUP_STABLE_DECAY: return ending_scale(s, m, span);
    case QUERN_SCHEDULE_CONSTANT:
    case QUERN_SCHEDULE_COUNT: break;
    }
    return 1;
}

double quern_schedule_scale(const quern_schedule *schedule, int64_t n) {
    if (!schedule || n < 0) return 1;
    if (n < schedule->warmup) return warmup_scale(schedule, n);
    const int64_t warmup = schedule->warmup > 0 ? schedule->warmup : 0;
    return scale_after_warmup(schedule, n - warmup, schedule->total - warmup);
}

int64_t schedule_decay(const quern_schedule *schedule, int64_t span) {
    if (schedule->decay > 0) return schedule->decay;
    return span >= 20 ? span / 10 : 1;
}

const char *quern_schedule_name(quern_schedule_kind kind) {
#define X(name, text, reads) #text,
    static const char *const names[] = {QUERN_SCHEDULE_LIST(X)};
#undef X
    return (uint32_t)kind < QUERN_SCHEDULE_COUNT ? names[kind] : "unknown";
}
