/* update - the element-wise rules of ../optim, in one pass over flat blocks.
 * Cost     reads parameter, gradient and states, writes parameter and states: 28 bytes an element
 *          for Adam in F32; the memory's speed, not arithmetic, bounds it.
 * Deterministic: yes, elements are independent; chunks of CPU_CHUNK elements of one segment.
 * Where parameters have 16-bit copies, those are written with them, and so is their moving average:
 * 2 and 8 bytes an element more, since a chunk is still in cache.
 * Without momentum the state block of sgd (and rmsprop's second) is not there and not touched. */
#ifndef REAL
#include "../average.h"
#include "../rounding.h"
#include "cpu.h"
#include "real.h"

typedef struct update_work {
    quern_update update;
    rounding rounding;
} update_work;

typedef struct update_range {
    const quern_update *update;
    const quern_segment *segment;
    int64_t start, count; /* elements of the flat blocks */
} update_range;

/* The chunks of all segments are numbered one segment after another. */
static update_range range_of(const update_work *w, int64_t chunk) {
    const quern_update *u = &w->update;
    const quern_segment *segment = u->segments;
    for (int64_t n; chunk >= (n = cpu_chunk_count(segment->count, CPU_CHUNK)); segment++)
        chunk -= n;
    const cpu_range r = cpu_chunk_range(chunk, CPU_CHUNK, segment->count);
    return (update_range){u, segment, segment->start + r.start, r.end - r.start};
}

static void copy_range(const update_work *w, const update_range *r) {
    const quern_update *u = &w->update;
    if (u->copies)
        rounding_range(&w->rounding, u->parameters, u->copies, r->start, r->start + r->count);
}

static void run(const quern_kernel_args *args, cpu_body f32, cpu_body f64) {
    const quern_update *u = args->attributes;
    if (*u->applied == 0) return;
    int64_t chunk_count = 0;
    for (int32_t i = 0; i < u->segment_count; i++)
        chunk_count += cpu_chunk_count(u->segments[i].count, CPU_CHUNK);
    update_work w = {*u, {QUERN_F32, false, {0, 0, 0, 0}}};
    if (u->copies)
        w.rounding = rounding_of(u->copy_dtype, u->copy_stochastic,
                                 u->copy_stochastic ? args->run->seed : 0, u->hyper->n);
    quern_cpu_parallel(args->stream, chunk_count, u->dtype == QUERN_F32 ? f32 : f64, &w);
}

/* How a rule with that many states finds them for element i, and puts them back. */
#define TAKE_STATES_0(i)                                                                           \
    { 0 }
#define TAKE_STATES_1(i)                                                                           \
    { first[i] }
#define TAKE_STATES_2(i)                                                                           \
    { first[i], second[i] }
#define GIVE_STATES_0(i)
#define GIVE_STATES_1(i) first[i] = s[0];
#define GIVE_STATES_2(i) first[i] = s[0], second[i] = s[1];
#define HOLD_STATES_0
#define HOLD_STATES_1 REAL *restrict first = (REAL *)r.update->states[0] + r.start;
#define HOLD_STATES_2                                                                              \
    HOLD_STATES_1                                                                                  \
    REAL *restrict second = (REAL *)r.update->states[1] + r.start;

#define UPDATE_BODY(rule, state_count)                                                             \
    static void REAL_NAME(rule##_body)(void *context, int64_t chunk) {                             \
        const update_range r = range_of(context, chunk);                                           \
        const REAL_NAME(rule_constants) h =                                                        \
            REAL_NAME(rule_constants_of)(r.update->hyper, r.segment);                              \
        REAL *restrict w = (REAL *)r.update->parameters + r.start;                                 \
        const REAL *restrict g = (const REAL *)r.update->gradients + r.start;                      \
        HOLD_STATES_##state_count for (int64_t i = 0; i < r.count; i++) {                          \
            REAL value = w[i], s[2] = TAKE_STATES_##state_count(i);                                \
            REAL_NAME(rule_##rule)(&value, REAL_NAME(rule_gradient)(g[i], &h), s, &h);             \
            w[i] = value;                                                                          \
            GIVE_STATES_##state_count(i)                                                           \
        }                                                                                          \
        REAL_NAME(average_range)(&r);                                                              \
        copy_range(context, &r);                                                                   \
    }

#define REAL_FILE "update.c"
#include "each_real.h"

#define UPDATE(name, with_all_states, without_momentum)                                            \
    quern_status quern_cpu_update_##name(const quern_kernel_args *args) {                          \
        const quern_update *u = args->attributes;                                                  \
        if (u->hyper->momentum != 0)                                                               \
            run(args, with_all_states##_body_f32, with_all_states##_body_f64);                     \
        else                                                                                       \
            run(args, without_momentum##_body_f32, without_momentum##_body_f64);                   \
        return QUERN_OK;                                                                           \
    }

#define X(constant, name, states, reads)                                                           \
    quern_status quern_cpu_update_##name(const quern_kernel_args *args);
QUERN_OPTIMIZER_LIST(X)
#undef X
UPDATE(adamw, adamw, adamw)
UPDATE(adam, adam, adam)
UPDATE(sgd, sgd_momentum, sgd)
UPDATE(rmsprop, rmsprop_momentum, rmsprop)
UPDATE(adagrad, adagrad, adagrad)
UPDATE(lion, lion, lion)

#else

#include "../optim/rules.h"

static void REAL_NAME(average_range)(const update_range *r) {
    const quern_update *u = r->update;
    if (!u->average) return;
    const REAL rest = (REAL)average_rest(u->average_decay, u->average_warmup, (double)u->hyper->n);
    REAL *restrict average = (REAL *)u->average + r->start;
    const REAL *restrict w = (const REAL *)u->parameters + r->start;
    for (int64_t i = 0; i < r->count; i++) average[i] += rest * (w[i] - average[i]);
}

UPDATE_BODY(adamw, 2)
UPDATE_BODY(adam, 2)
UPDATE_BODY(sgd, 0)
UPDATE_BODY(sgd_momentum, 1)
UPDATE_BODY(rmsprop, 1)
UPDATE_BODY(rmsprop_momentum, 2)
UPDATE_BODY(adagrad, 1)
UPDATE_BODY(lion, 1)

#endif
