/* verify.c - the reference's step, then every other run's against it.
 *
 * Host memory: every tensor of the reference once, in F64. */
#include "../../base/report.h"
#include "compare.h"
#include "kinks.h"
#include "watch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const double LEAST_SHARE = 1e-3; /* of the largest of a role, in the scale of an error */

typedef struct verification {
    const quern_verify_desc *desc;
    quern_verify_tolerance tolerance;
    quern_device *cpu;
    quern_device *made; /* the same, where it is ours */
    arena memory;
    verify_batch batch;
    side reference;
    watch_list list;
    double largest[QUERN_VERIFY_ROLE_COUNT];
    void *raw; /* room for the largest tensor as F64 */
    double *found;
    double flipped; /* of this run: flips / elements, summed over layers */
    quern_verify_result result;
    error_text first; /* the sentence about result.first */
} verification;

const char *quern_verify_role_name(quern_verify_role role) {
#define X(name, text) text,
    static const char *const names[] = {QUERN_VERIFY_ROLE_LIST(X)};
#undef X
    return (int)role >= 0 && role < QUERN_VERIFY_ROLE_COUNT ? names[role] : "";
}

static quern_status tolerance_resolve(quern_verify_tolerance *t) {
    static const double defaults[] = {1e-4, 1e-3, 1e-4, 1e-3};
    static const char *const names[] = {"activation", "gradient", "statistic", "weight"};
    double *const fields[] = {&t->activation, &t->gradient, &t->statistic, &t->weight};
    for (int i = 0; i < 4; i++) {
        if (*fields[i] == 0) *fields[i] = defaults[i];
        if (!(*fields[i] > 0) || isinf(*fields[i]))
            return quern_fail(QUERN_INVALID, "verify: tolerance.%s is %g, not above 0", names[i],
                              *fields[i]);
    }
    return QUERN_OK;
}

static double tolerance_of(const quern_verify_tolerance *t, quern_verify_role role) {
    switch (role) {
    case QUERN_VERIFY_ACTIVATION:
    case QUERN_VERIFY_LOSS: return t->activation;
    case QUERN_VERIFY_STATISTIC: return t->statistic;
    case QUERN_VERIFY_WEIGHT: return t->weight;
    case QUERN_VERIFY_ACTIVATION_GRADIENT:
    case QUERN_VERIFY_GRADIENT:
    case QUERN_VERIFY_ROLE_COUNT: break;
    }
    return t->gradient;
}

static bool is_gradient(quern_verify_role role) {
    return role == QUERN_VERIFY_ACTIVATION_GRADIENT || role == QUERN_VERIFY_GRADIENT;
}

/* the reference */

static quern_status reference_read(verification *v, watch *w) {
    const quern_tensor *tensor = v->reference.tensors[w->tensor];
    QUERN_TRY(side_read(&v->reference, w->role, tensor, w->count, v->raw, w->reference));
    const int64_t bad = first_not_finite(w->reference, w->count);
    if (bad >= 0)
        return quern_fail(QUERN_NOT_FINITE,
                          "verify: %s of %s is %g at element %" PRId64
                          " in the F64 reference itself",
                          quern_verify_role_name(w->role), tensor->name, w->reference[bad], bad);
    const double largest = largest_magnitude(w->reference, w->count);
    if (largest > v->largest[w->role]) v->largest[w->role] = largest;
    return QUERN_OK;
}

/* Everything of the roles first … last. */
static quern_status reference_read_roles(verification *v, quern_verify_role first,
                                         quern_verify_role last) {
    for (int32_t i = 0; i < v->list.count; i++)
        if (v->list.watches[i].role >= first && v->list.watches[i].role <= last)
            QUERN_TRY(reference_read(v, &v->list.watches[i]));
    return QUERN_OK;
}

static quern_status reference_run(verification *v) {
    side *s = &v->reference;
    QUERN_TRY(side_open(s, v->cpu, QUERN_F64, v->desc));
    QUERN_TRY(batch_load(&v->batch, s->graph, v->desc));
    v->result.samples = v->batch.sample_count;
    QUERN_TRY(side_run(s, &v->batch));
    QUERN_TRY(watch_list_make(&v->list, &v->memory, s));
    QUERN_TRY(arena_allocate(&v->memory, &v->raw, v->list.largest_count, sizeof(double), "tensor"));
    QUERN_TRY(
        arena_allocate(&v->memory, &v->found, v->list.largest_count, sizeof(double), "tensor"));
    QUERN_TRY(reference_read_roles(v, QUERN_VERIFY_ACTIVATION, QUERN_VERIFY_GRADIENT));
    QUERN_TRY(side_update(s, &v->desc->optimizer));
    return reference_read_roles(v, QUERN_VERIFY_STATISTIC, QUERN_VERIFY_STATISTIC);
}

/* The F64 rule applied to the gradients of another run. */
static quern_status reference_follow(verification *v, const side *run) {
    side *s = &v->reference;
    QUERN_TRY(side_restart(s));
    for (int32_t i = 0; i < v->list.count; i++) {
        const watch *w = &v->list.watches[i];
        if (w->role != QUERN_VERIFY_WEIGHT) continue;
        const quern_tensor *tensor = s->tensors[w->tensor];
        QUERN_TRY(side_read(s, w->role, tensor, w->count, v->raw, w->before));
        QUERN_TRY(side_read(run, QUERN_VERIFY_GRADIENT, run->tensors[w->tensor], w->count, v->raw,
                            v->found));
        QUERN_TRY(side_write_gradient(s, tensor, v->found, w->count));
    }
    QUERN_TRY(side_update(s, &v->desc->optimizer));
    return reference_read_roles(v, QUERN_VERIFY_WEIGHT, QUERN_VERIFY_WEIGHT);
}

/* a run against it */

static quern_status same_graph(const side *a, const side *b) {
    bool same = a->tensor_count == b->tensor_count;
    const char *name = "a tensor";
    for (int32_t i = 0; same && i < a->tensor_count; i++) {
        const quern_tensor *x = a->tensors[i], *y = b->tensors[i];
        name = x->name;
        same = x->role == y->role && strcmp(x->name, y->name) == 0 &&
               x->shape.rank == y->shape.rank && x->wants_gradient == y->wants_gradient &&
               x->contiguous == y->contiguous;
        for (int32_t d = 0; same && d < x->shape.rank; d++)
            same = x->shape.dim[d] == y->shape.dim[d];
    }
    if (same && a->model.loss->id == b->model.loss->id) return QUERN_OK;
    return quern_fail(QUERN_INVALID,
                      "verify: build has made two different graphs: the first to differ is %s",
                      same ? "the loss" : name);
}

/* printf shows the sign of a NaN, which means nothing. */
static double unsigned_nan(double value) { return isnan(value) ? fabs(value) : value; }

static void describe_first(verification *v, const quern_verify_tensor *t) {
    const quern_status status =
        quern_fail(QUERN_INTERNAL,
                   "verify: %s of %s %s in F32 on %s is out of tolerance: element %" PRId64
                   " is %.9g, in the F64 reference %.9g, relative error%s %.3g, tolerance %.3g",
                   quern_verify_role_name(t->role), t->name, t->shape,
                   t->device == QUERN_DEVICE_CUDA ? "the CUDA device" : "the CPU", t->index,
                   unsigned_nan(t->found), t->reference, t->by_norm ? " by norm" : "",
                   unsigned_nan(t->error), t->tolerance);
    (void)status;
    error_save(&v->first);
}

static quern_status tensor_report(verification *v, const quern_verify_tensor *t) {
    quern_verify_result *r = &v->result;
    const double share = t->error / t->tolerance, worst = r->worst.error / r->worst.tolerance;
    if (r->compared++ == 0 || (!isnan(worst) && !(share <= worst))) r->worst = *t;
    if (!t->ok && r->bad++ == 0) {
        r->first = *t;
        describe_first(v, t);
    }
    return v->desc->visit ? v->desc->visit(v->desc->visit_self, t) : QUERN_OK;
}

static void flips_add(verification *v, const side *run, const watch *w) {
    const quern_tensor *tensor = run->tensors[w->tensor];
    const int64_t flips = kinks_count(tensor, run->batch_size, w->reference, v->found);
    v->result.flips += flips;
    if (flips > 0) v->flipped += (double)flips / (double)w->count;
}

static quern_status tensor_compare(verification *v, const side *run, const watch *w) {
    const quern_tensor *tensor = run->tensors[w->tensor];
    QUERN_TRY(side_read(run, w->role, tensor, w->count, v->raw, v->found));
    const comparison c = {.reference = w->reference,
                          .found = v->found,
                          .before = w->before,
                          .count = w->count,
                          .floor = LEAST_SHARE * v->largest[w->role],
                          .by_norm = v->flipped > 0 && is_gradient(w->role)};
    const distance d = distance_measure(&c);
    quern_verify_tensor t = {.device = run->device->info.kind,
                             .role = w->role,
                             .count = w->count,
                             .index = d.index,
                             .error = d.error,
                             .tolerance = tolerance_of(&v->tolerance, w->role),
                             .by_norm = c.by_norm};
    if (c.by_norm) t.tolerance += 4 * sqrt(v->flipped);
    if (d.index >= 0) {
        t.reference = w->reference[d.index];
        t.found = v->found[d.index];
    }
    t.ok = d.error <= t.tolerance;
    snprintf(t.name, sizeof t.name, "%s", tensor->name);
    shape_text(&tensor->shape, t.shape, sizeof t.shape);
    if (w->role == QUERN_VERIFY_ACTIVATION && t.ok) flips_add(v, run, w);
    return tensor_report(v, &t);
}

static quern_status roles_compare(verification *v, const side *run, quern_verify_role first,
                                  quern_verify_role last) {
    for (int32_t i = 0; i < v->list.count; i++)
        if (v->list.watches[i].role >= first && v->list.watches[i].role <= last)
            QUERN_TRY(tensor_compare(v, run, &v->list.watches[i]));
    return QUERN_OK;
}

static quern_status run_step(verification *v, side *run) {
    QUERN_TRY(same_graph(&v->reference, run));
    QUERN_TRY(side_run(run, &v->batch));
    QUERN_TRY(roles_compare(v, run, QUERN_VERIFY_ACTIVATION, QUERN_VERIFY_GRADIENT));
    const quern_status updated = side_update(run, &v->desc->optimizer);
    /* a gradient that is not finite has been reported; there is no update to look at */
    if (updated == QUERN_NOT_FINITE && v->result.bad > 0) return QUERN_OK;
    QUERN_TRY(updated);
    QUERN_TRY(roles_compare(v, run, QUERN_VERIFY_STATISTIC, QUERN_VERIFY_STATISTIC));
    QUERN_TRY(reference_follow(v, run));
    return roles_compare(v, run, QUERN_VERIFY_WEIGHT, QUERN_VERIFY_WEIGHT);
}

static quern_status run_compare(verification *v, quern_device *device) {
    side run;
    v->flipped = 0;
    quern_status status = side_open(&run, device, QUERN_F32, v->desc);
    if (status == QUERN_OK) status = run_step(v, &run);
    error_text text;
    error_save(&text);
    side_release(&run);
    error_restore(&text);
    return status;
}

static quern_status reference_device(verification *v) {
    quern_device *given = v->desc->device;
    if (given && given->info.kind == QUERN_DEVICE_CPU) {
        v->cpu = given;
        return QUERN_OK;
    }
    quern_device_desc desc = {.kind = QUERN_DEVICE_CPU};
    if (given) {
        desc.seed = given->seed;
        desc.host = given->host;
    }
    QUERN_TRY(quern_device_create(&v->made, &desc));
    v->cpu = v->made;
    return QUERN_OK;
}

static quern_status verification_run(verification *v) {
    quern_device *given = v->desc->device;
    QUERN_TRY(reference_device(v));
    v->memory.host = v->batch.memory.host = &v->cpu->host;
    QUERN_TRY(reference_run(v));
    QUERN_TRY(run_compare(v, v->cpu));
    if (given && given != v->cpu) QUERN_TRY(run_compare(v, given));
    return QUERN_OK;
}

static void verification_release(verification *v) {
    side_release(&v->reference);
    batch_release(&v->batch);
    arena_release(&v->memory);
    quern_device_destroy(v->made);
}

quern_status quern_verify(quern_verify_result *result, const quern_verify_desc *desc) {
    verification v = {.desc = desc};
    if (result) *result = v.result;
    if (!desc || !desc->build) return quern_fail(QUERN_INVALID, "verify: build is NULL");
    v.tolerance = desc->tolerance;
    QUERN_TRY(tolerance_resolve(&v.tolerance));
    quern_status status = verification_run(&v);
    error_text text;
    error_save(&text);
    verification_release(&v);
    if (result) *result = v.result;
    error_restore(status == QUERN_OK && v.result.bad > 0 ? &v.first : &text);
    return status == QUERN_OK && v.result.bad > 0 ? QUERN_INTERNAL : status;
}
