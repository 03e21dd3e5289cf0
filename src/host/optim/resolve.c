/* resolve.c - the optimizer desc: defaults, fields that the rule does not read, ranges. */
#include "optimizer.h"

#include <math.h>

/* QUERN_OPTIMIZER_LIST writes the fields without their prefix. */
enum {
    BETA1 = QUERN_READS_BETA1,
    BETA2 = QUERN_READS_BETA2,
    EPSILON = QUERN_READS_EPSILON,
    MOMENTUM = QUERN_READS_MOMENTUM,
    NESTEROV = QUERN_READS_NESTEROV,
    WEIGHT_DECAY = QUERN_READS_WEIGHT_DECAY
};

typedef struct rule_row {
    const char *name;
    int32_t state_count;
    uint32_t reads;
} rule_row;

#define X(constant, name, states, reads) {#name, states, reads},
static const rule_row rows[QUERN_OPTIMIZER_COUNT] = {QUERN_OPTIMIZER_LIST(X)};
#undef X

static rule_row row_of(const quern_optimizer_desc *d) {
    if (!d->rule) return rows[d->kind];
    return (rule_row){d->rule->name, d->rule->state_count, d->rule->reads};
}

const char *optimizer_name(const quern_optimizer_desc *resolved) { return row_of(resolved).name; }

int32_t optimizer_state_count(const quern_optimizer_desc *resolved) {
    const int32_t count = row_of(resolved).state_count;
    const bool momentum_state = !resolved->rule && (resolved->kind == QUERN_OPTIMIZER_SGD ||
                                                    resolved->kind == QUERN_OPTIMIZER_RMSPROP);
    return momentum_state && resolved->momentum == 0 ? count - 1 : count;
}

static bool is_set(double x) { return x != 0 || signbit(x); }

/* One row for each field that a rule may or may not read. */
typedef struct field {
    const char *name;
    uint32_t bit;
    double *value;
    double fallback, limit; /* allowed: [0, limit) */
} field;
enum { FIELD_COUNT = 5 };

static void fields_of(quern_optimizer_desc *d, field out[FIELD_COUNT]) {
    const bool built_in = !d->rule;
    const bool lion = built_in && d->kind == QUERN_OPTIMIZER_LION;
    const bool rmsprop = built_in && d->kind == QUERN_OPTIMIZER_RMSPROP;
    const bool adagrad = built_in && d->kind == QUERN_OPTIMIZER_ADAGRAD;
    out[0] = (field){"beta1", BETA1, &d->beta1, 0.9, 1};
    out[1] = (field){"beta2", BETA2, &d->beta2, lion || rmsprop ? 0.99 : 0.999, 1};
    out[2] = (field){"epsilon", EPSILON, &d->epsilon, adagrad ? 1e-10 : 1e-8, INFINITY};
    out[3] = (field){"momentum", MOMENTUM, &d->momentum, 0, INFINITY};
    out[4] = (field){"weight_decay", WEIGHT_DECAY, &d->weight_decay, 0, INFINITY};
}

static quern_status out_of_range(const char *rule, const char *name, double value,
                                 const char *range) {
    return quern_fail(QUERN_INVALID, "%s: %s %g, expected %s", rule, name, value, range);
}

static quern_status resolve_fields(quern_optimizer_desc *d) {
    const rule_row row = row_of(d);
    field fields[FIELD_COUNT];
    fields_of(d, fields);
    for (int32_t i = 0; i < FIELD_COUNT; i++) {
        const field *f = &fields[i];
        if ((row.reads & f->bit) == 0) {
            if (!is_set(*f->value)) continue;
            return quern_fail(QUERN_INVALID, "%s does not read %s", row.name, f->name);
        }
        if (!is_set(*f->value)) *f->value = f->fallback;
        if (!(*f->value >= 0 && *f->value < f->limit))
            return out_of_range(row.name, f->name, *f->value,
                                f->limit == 1 ? "[0, 1)" : "0 or more");
    }
    if (d->nesterov && (row.reads & NESTEROV) == 0)
        return quern_fail(QUERN_INVALID, "%s does not read nesterov", row.name);
    if (d->nesterov && d->momentum == 0)
        return quern_fail(QUERN_INVALID, "%s: nesterov needs a momentum above 0", row.name);
    return QUERN_OK;
}

static quern_status check_rule(const quern_optimizer_desc *d) {
    const quern_update_rule *rule = d->rule;
    if (!rule) {
        if ((uint32_t)d->kind < QUERN_OPTIMIZER_COUNT) return QUERN_OK;
        return quern_fail(QUERN_INVALID, "optimizer kind %d does not exist", (int)d->kind);
    }
    if (d->kind != 0)
        return quern_fail(QUERN_INVALID,
                          "optimizer: kind %s and a rule of the application's own, "
                          "expected one of them",
                          (uint32_t)d->kind < QUERN_OPTIMIZER_COUNT ? rows[d->kind].name : "?");
    if (!rule->name || !rule->name[0])
        return quern_fail(QUERN_INVALID, "optimizer: the application's rule has no name");
    if (rule->state_count < 0 || rule->state_count > QUERN_OPTIMIZER_STATE_MAX)
        return quern_fail(QUERN_INVALID, "%s: %d states, expected 0 to %d", rule->name,
                          (int)rule->state_count, QUERN_OPTIMIZER_STATE_MAX);
    return QUERN_OK;
}

quern_status optimizer_resolve(quern_optimizer_desc *out, const quern_optimizer_desc *given,
                               int64_t planned_updates) {
    *out = given ? *given : (quern_optimizer_desc){0};
    QUERN_TRY(check_rule(out));
    const char *name = optimizer_name(out);
    if (!is_set(out->learning_rate)) out->learning_rate = 1e-3;
    if (!isfinite(out->learning_rate) || out->learning_rate < 0)
        return out_of_range(name, "learning_rate", out->learning_rate, "0 or more");
    if (!isfinite(out->clip_norm) || out->clip_norm < 0)
        return out_of_range(name, "clip_norm", out->clip_norm, "0 or more");
    if (!isfinite(out->clip_value) || out->clip_value < 0)
        return out_of_range(name, "clip_value", out->clip_value, "0 or more");
    QUERN_TRY(resolve_fields(out));
    return schedule_resolve(&out->schedule, planned_updates);
}
