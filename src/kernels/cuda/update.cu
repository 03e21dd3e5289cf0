/* update - the element-wise rules of ../optim, in one pass over flat blocks.
 * Cost     reads parameter, gradient and states, writes parameter and states, 16 bytes at a time:
 *          28 bytes an element for Adam in F32; the memory's speed, not arithmetic, bounds it. A
 *          launch for each UPDATE_SEGMENTS segments, a row of the grid each.
 * Deterministic: yes, elements are independent.
 * Where parameters have 16-bit copies, those are written with them, 2 bytes an element more, and
 * where they have a moving average, that: 8 bytes more.
 * The hyper-parameters and whether the update is applied at all are read on the device. Without
 * momentum the state block of sgd (and rmsprop's second) is not there and not touched. */
#include "../average.h"
#include "../rounding.h"
#include "map.h"

#define REAL float
#define REAL_NAME(name) name##_f32
#include "../optim/rules.h"
#undef REAL
#undef REAL_NAME
#define REAL double
#define REAL_NAME(name) name##_f64
#include "../optim/rules.h"
#undef REAL
#undef REAL_NAME

namespace {

constexpr int32_t UPDATE_SEGMENTS = 32, UPDATE_STATES = 2;

/* The functions of rules.h by type, instead of by name. */
template <typename T> struct constants_of;
template <> struct constants_of<float> : rule_constants_f32 {
    __device__ constants_of(const quern_hyper *h, const quern_segment *s)
        : rule_constants_f32(rule_constants_of_f32(h, s)) {}
    __device__ float limited(float g) const { return rule_gradient_f32(g, this); }
};
template <> struct constants_of<double> : rule_constants_f64 {
    __device__ constants_of(const quern_hyper *h, const quern_segment *s)
        : rule_constants_f64(rule_constants_of_f64(h, s)) {}
    __device__ double limited(double g) const { return rule_gradient_f64(g, this); }
};

#define UPDATE_RULE(name, state_count)                                                             \
    struct name##_rule {                                                                           \
        static constexpr int STATES = state_count;                                                 \
        static __device__ void step(float *w, float g, float *s, const rule_constants_f32 *h) {    \
            rule_##name##_f32(w, g, s, h);                                                         \
        }                                                                                          \
        static __device__ void step(double *w, double g, double *s, const rule_constants_f64 *h) { \
            rule_##name##_f64(w, g, s, h);                                                         \
        }                                                                                          \
    };
UPDATE_RULE(adamw, 2)
UPDATE_RULE(adam, 2)
UPDATE_RULE(sgd, 0)
UPDATE_RULE(sgd_momentum, 1)
UPDATE_RULE(rmsprop, 1)
UPDATE_RULE(rmsprop_momentum, 2)
UPDATE_RULE(adagrad, 1)
UPDATE_RULE(lion, 1)

template <typename T> struct update_blocks {
    T *parameters;
    const T *gradients;
    T *states[UPDATE_STATES];
    const quern_hyper *hyper;
    const int32_t *applied;
    uint16_t *copies; /* NULL: none */
    quern_dtype copy_dtype;
    const quern_run *chance; /* NULL: to nearest */
    T *average;              /* NULL: none */
    double average_decay;
    bool average_warmup;
    quern_segment segments[UPDATE_SEGMENTS];
};

template <typename T> __device__ rounding copy_rounding(const update_blocks<T> &u) {
    const bool chance = u.copies != NULL && u.chance != NULL;
    return rounding_of(u.copy_dtype, chance, chance ? u.chance->seed : 0, u.hyper->n);
}

/* WIDTH is 4, and `at` a multiple of it; or 1. */
template <int WIDTH>
__device__ void copy_pack(const rounding &r, uint16_t *to, int64_t at,
                          const pack<WIDTH, float> &w) {
    uint32_t draws[4] = {};
    pack<WIDTH, uint16_t> copy;
    rounding_draw(&r, at / 4, draws);
    for (int j = 0; j < WIDTH; j++) copy.at[j] = rounding_apply(&r, w.at[j], draws[(at + j) % 4]);
    *reinterpret_cast<pack<WIDTH, uint16_t> *>(to + at) = copy;
}

/* F64 has no copies. */
template <int WIDTH>
__device__ void copy_pack(const rounding &, uint16_t *, int64_t, const pack<WIDTH, double> &) {}

/* What of the average the new value makes up; not asked where none is kept, for it is a division in
 * F64 by every thread. */
template <typename T> __device__ T new_share(const update_blocks<T> &u) {
    if (u.average == NULL) return 0;
    return (T)average_rest(u.average_decay, u.average_warmup, (double)u.hyper->n);
}

template <int WIDTH, typename T>
__device__ void average_pack(T *to, T rest, const pack<WIDTH, T> &w) {
    pack<WIDTH, T> average = pack_load<WIDTH>(to);
    for (int j = 0; j < WIDTH; j++) average.at[j] += rest * (w.at[j] - average.at[j]);
    *reinterpret_cast<pack<WIDTH, T> *>(to) = average;
}

template <typename Rule, int WIDTH, typename T>
__device__ void update_pack(const update_blocks<T> &u, const constants_of<T> &h, const rounding &r,
                            T rest, int64_t at) {
    typedef pack<WIDTH, T> group;
    group w = pack_load<WIDTH>(u.parameters + at), states[UPDATE_STATES] = {};
    const group g = pack_load<WIDTH>(u.gradients + at);
    for (int s = 0; s < Rule::STATES; s++) states[s] = pack_load<WIDTH>(u.states[s] + at);
    for (int j = 0; j < WIDTH; j++) {
        T own[UPDATE_STATES] = {states[0].at[j], states[1].at[j]};
        Rule::step(&w.at[j], h.limited(g.at[j]), own, &h);
        for (int s = 0; s < Rule::STATES; s++) states[s].at[j] = own[s];
    }
    *reinterpret_cast<group *>(u.parameters + at) = w;
    if (u.copies != NULL) copy_pack<WIDTH>(r, u.copies, at, w);
    if (u.average != NULL) average_pack<WIDTH>(u.average + at, rest, w);
    for (int s = 0; s < Rule::STATES; s++) *reinterpret_cast<group *>(u.states[s] + at) = states[s];
}

template <typename Rule, int WIDTH, typename T>
__device__ void update_segment(const update_blocks<T> &u, const quern_segment &segment) {
    const constants_of<T> h(u.hyper, &segment);
    const rounding r = copy_rounding(u);
    const T rest = new_share(u);
    const int64_t packs = segment.count / WIDTH;
    for (int64_t i = launch_index(); i < packs; i += launch_stride())
        update_pack<Rule, WIDTH>(u, h, r, rest, segment.start + i * WIDTH);
    for (int64_t i = packs * WIDTH + launch_index(); i < segment.count; i += launch_stride())
        update_pack<Rule, 1>(u, h, r, rest, segment.start + i);
}

template <typename Rule, typename Plain, int WIDTH, typename T>
__global__ void update_kernel(update_blocks<T> u) {
    if (*u.applied == 0) return;
    const quern_segment segment = u.segments[blockIdx.y];
    if (u.hyper->momentum != 0)
        update_segment<Rule, WIDTH>(u, segment);
    else
        update_segment<Plain, WIDTH>(u, segment);
}

/* Whether every segment starts on 16 bytes in every block. */
template <int WIDTH, typename T> bool segments_packed(const quern_update *u) {
    bool packed = pack_aligned<WIDTH>((const T *)u->parameters) &&
                  pack_aligned<WIDTH>((const T *)u->gradients) &&
                  pack_aligned<WIDTH>((const T *)u->states[0]) &&
                  pack_aligned<WIDTH>((const T *)u->states[1]) &&
                  pack_aligned<WIDTH>((const uint16_t *)u->copies) &&
                  pack_aligned<WIDTH>((const T *)u->average);
    for (int32_t i = 0; i < u->segment_count; i++)
        packed = packed && u->segments[i].start % WIDTH == 0;
    return packed;
}

template <typename Rule, typename Plain, int WIDTH, typename T>
quern_status update_all(const quern_kernel_args *args) {
    const quern_update *u = (const quern_update *)args->attributes;
    update_blocks<T> blocks = {(T *)u->parameters,
                               (const T *)u->gradients,
                               {(T *)u->states[0], (T *)u->states[1]},
                               u->hyper,
                               u->applied,
                               (uint16_t *)u->copies,
                               u->copy_dtype,
                               u->copy_stochastic ? args->run : NULL,
                               (T *)u->average,
                               u->average_decay,
                               u->average_warmup,
                               {}};
    for (int32_t first = 0; first < u->segment_count; first += UPDATE_SEGMENTS) {
        const int32_t rest = u->segment_count - first;
        const int32_t count = rest < UPDATE_SEGMENTS ? rest : UPDATE_SEGMENTS;
        int64_t most = 0;
        for (int32_t i = 0; i < count; i++) {
            blocks.segments[i] = u->segments[first + i];
            if (blocks.segments[i].count > most) most = blocks.segments[i].count;
        }
        launch_shape shape = launch_over((most + WIDTH - 1) / WIDTH);
        shape.grid.y = (unsigned)count;
        QUERN_TRY(launch(args->stream, shape, update_kernel<Rule, Plain, WIDTH, T>, blocks));
    }
    return QUERN_OK;
}

template <typename Rule, typename Plain, typename T>
quern_status update_typed(const quern_kernel_args *args) {
    const quern_update *u = (const quern_update *)args->attributes;
    constexpr int WIDTH = pack_width<T>();
    if (segments_packed<WIDTH, T>(u)) return update_all<Rule, Plain, WIDTH, T>(args);
    return update_all<Rule, Plain, 1, T>(args);
}

} // namespace

#define UPDATE(name, with_momentum, plain)                                                         \
    quern_status quern_cuda_update_##name(const quern_kernel_args *args) {                         \
        const quern_update *u = (const quern_update *)args->attributes;                            \
        if (u->dtype == QUERN_F64)                                                                 \
            return update_typed<with_momentum##_rule, plain##_rule, double>(args);                 \
        return update_typed<with_momentum##_rule, plain##_rule, float>(args);                      \
    }

UPDATE(adamw, adamw, adamw)
UPDATE(adam, adam, adam)
UPDATE(sgd, sgd_momentum, sgd)
UPDATE(rmsprop, rmsprop_momentum, rmsprop)
UPDATE(adagrad, adagrad, adagrad)
UPDATE(lion, lion, lion)
