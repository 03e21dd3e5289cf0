/* test_update.c - each update rule against a naive one in double, against closed forms, and what
 * must not change: padding, a refused update, bits for another thread count. */
#include "host/device/device.h"
#include "kernels/task.h"
#include "quern_test.h"

#include <math.h>
#include <string.h>

#define COUNT 40000 /* three chunks of the kernel, the last one uneven */
#define STEPS 10

/* Relative to max(1, |value|): F64 differs by the order of a few operations, F32 by rounding to 24
 * bits some ten times a step. */
#define TOL_RULE_F64 1e-13
#define TOL_RULE_F32 5e-6

static const char *const rule_names[] = {
#define X(constant, name, states, reads) #name,
    QUERN_OPTIMIZER_LIST(X)
#undef X
};

static const quern_segment segments[] = {
    {.start = 0, .count = 20000, .learning_rate_scale = 1, .weight_decay_scale = 1},
    {.start = 20000, .count = 16, .learning_rate_scale = 0.5f},
    /* 16 elements belong to nobody */
    {.start = 20032, .count = COUNT - 20035, .learning_rate_scale = 2, .weight_decay_scale = 3},
};

typedef struct blocks {
    double w[COUNT], g[COUNT], s[2][COUNT];
} blocks;

typedef union real_block {
    float f32[COUNT];
    double f64[COUNT];
} real_block;

typedef struct fixture {
    quern_device *device;
    quern_dtype dtype;
    real_block w, g, s[2];
    int32_t applied;
    quern_hyper hyper;
    quern_update update;
    quern_kernel_args args;
} fixture;

/* Static because a thread's stack is no place for megabytes; each test sets all it reads. */
static fixture first, second;
static blocks naive;

static double start_value(int64_t i) { return sin(0.37 * (double)i) + 0.25; }

/* Signs, magnitudes and exact zeros. */
static double gradient_value(int64_t i, int step) {
    const double g = cos(0.11 * (double)i + 0.7 * (double)step) * pow(10, (double)(i % 5) - 3);
    return i % 97 == 0 ? 0 : (double)(float)g;
}

static void put(real_block *b, quern_dtype dtype, int64_t i, double value) {
    if (dtype == QUERN_F32)
        b->f32[i] = (float)value;
    else
        b->f64[i] = value;
}

static double get(const real_block *b, quern_dtype dtype, int64_t i) {
    return dtype == QUERN_F32 ? (double)b->f32[i] : b->f64[i];
}

static quern_hyper hyper_of(quern_optimizer_kind kind, double momentum, bool nesterov) {
    const bool lion = kind == QUERN_OPTIMIZER_LION;
    return (quern_hyper){
        .learning_rate = 0.01,
        .beta1 = 0.9,
        .beta2 = lion ? 0.99 : 0.95,
        .epsilon = 1e-8,
        .momentum = momentum,
        .weight_decay = 0.1,
        .gradient_scale = 1,
        .clip_value = (double)INFINITY,
        .nesterov = nesterov,
    };
}

static void fixture_begin(fixture *f, quern_dtype dtype, int32_t thread_count) {
    memset(f, 0, sizeof *f);
    REQUIRE_OK(quern_device_create(
        &f->device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = thread_count}));
    f->dtype = dtype;
    f->applied = 1;
    for (int64_t i = 0; i < COUNT; i++) put(&f->w, dtype, i, (double)(float)start_value(i));
    f->update = (quern_update){.dtype = dtype,
                               .parameters = &f->w,
                               .gradients = &f->g,
                               .states = {&f->s[0], &f->s[1]},
                               .segments = segments,
                               .segment_count = 3,
                               .hyper = &f->hyper,
                               .applied = &f->applied};
    f->args = (quern_kernel_args){.attributes = &f->update, .stream = f->device->stream};
}

static void fixture_end(fixture *f) { quern_device_destroy(f->device); }

static void fixture_step(fixture *f, quern_optimizer_kind kind, quern_hyper hyper, int step) {
    for (int64_t i = 0; i < COUNT; i++) put(&f->g, f->dtype, i, gradient_value(i, step));
    f->hyper = hyper;
    f->hyper.n = step + 1;
    f->hyper.correct1 = 1 / (1 - pow(hyper.beta1, step + 1));
    f->hyper.correct2 = 1 / (1 - pow(hyper.beta2, step + 1));
    const quern_backend *backend = f->device->backend;
    REQUIRE_OK(backend->call(f->device->stream, backend->update_rules[kind], &f->args));
    REQUIRE_OK(backend->stream_wait(f->device->stream));
}

/* One element the way torch.optim's reference ("single tensor") functions write it. */
static void naive_element(quern_optimizer_kind kind, const quern_hyper *h, int n, double rate,
                          double decay, double *w, double g, double *a, double *b) {
    if (kind != QUERN_OPTIMIZER_ADAMW && kind != QUERN_OPTIMIZER_LION) g = g + decay * *w;
    switch (kind) {
    case QUERN_OPTIMIZER_ADAMW: *w = *w * (1 - rate * decay); /* fall through */
    case QUERN_OPTIMIZER_ADAM:
        *a = *a + (1 - h->beta1) * (g - *a);
        *b = *b * h->beta2 + (1 - h->beta2) * g * g;
        *w += -(rate / (1 - pow(h->beta1, n))) *
              (*a / (sqrt(*b) / sqrt(1 - pow(h->beta2, n)) + h->epsilon));
        return;
    case QUERN_OPTIMIZER_SGD:
        if (h->momentum != 0) {
            *a = n == 1 ? g : h->momentum * *a + g;
            g = h->nesterov ? g + h->momentum * *a : *a;
        }
        *w += -rate * g;
        return;
    case QUERN_OPTIMIZER_RMSPROP:
        *a = h->beta2 * *a + (1 - h->beta2) * g * g;
        if (h->momentum != 0) {
            *b = h->momentum * *b + g / (sqrt(*a) + h->epsilon);
            *w += -rate * *b;
        } else {
            *w += -rate * (g / (sqrt(*a) + h->epsilon));
        }
        return;
    case QUERN_OPTIMIZER_ADAGRAD:
        *a += g * g;
        *w += -rate * (g / (sqrt(*a) + h->epsilon));
        return;
    case QUERN_OPTIMIZER_LION: {
        const double c = *a * h->beta1 + g * (1 - h->beta1);
        *w = *w * (1 - rate * decay) - rate * (c > 0 ? 1 : c < 0 ? -1 : 0);
        *a = *a * h->beta2 + g * (1 - h->beta2);
        return;
    }
    default: *w = NAN; return;
    }
}

/* torch.nn.utils.clip_grad_value_ is clamp(-c, c), behind the scale of clip_grad_norm_. */
static double clipped(const quern_hyper *h, double g) {
    return fmin(fmax(g, -h->clip_value), h->clip_value);
}

static void naive_step(quern_optimizer_kind kind, const quern_hyper *h, int step) {
    for (int k = 0; k < 3; k++) {
        const quern_segment *s = &segments[k];
        for (int64_t i = s->start; i < s->start + s->count; i++)
            naive_element(kind, h, step + 1, h->learning_rate * (double)s->learning_rate_scale,
                          h->weight_decay * (double)s->weight_decay_scale, &naive.w[i],
                          clipped(h, h->gradient_scale * gradient_value(i, step)), &naive.s[0][i],
                          &naive.s[1][i]);
    }
}

static void check_against_naive(quern_optimizer_kind kind, quern_dtype dtype, quern_hyper hyper) {
    memset(&naive, 0, sizeof naive);
    for (int64_t i = 0; i < COUNT; i++) naive.w[i] = (double)(float)start_value(i);
    fixture_begin(&first, dtype, 2);
    for (int step = 0; step < STEPS && !quern_test_failed(); step++) {
        fixture_step(&first, kind, hyper, step);
        naive_step(kind, &hyper, step);
    }
    const double tolerance = dtype == QUERN_F32 ? TOL_RULE_F32 : TOL_RULE_F64;
    double worst = 0;
    for (int64_t i = 0; i < COUNT && worst <= tolerance; i++) {
        const double scale = fmax(1, fabs(naive.w[i]));
        worst = fabs(get(&first.w, dtype, i) - naive.w[i]) / scale;
        CHECK_SAY(worst <= tolerance, "%s %s momentum %g: element %lld is %.17g, expected %.17g",
                  rule_names[kind], quern_dtype_name(dtype), hyper.momentum, (long long)i,
                  get(&first.w, dtype, i), naive.w[i]);
        if (!(worst <= tolerance)) break;
    }
    fixture_end(&first);
}

TEST_CASE(Update, every_rule_equals_the_naive_one_over_ten_steps) {
    for (int kind = 0; kind < QUERN_OPTIMIZER_COUNT; kind++)
        for (int d = 0; d < 2; d++) {
            quern_hyper h = hyper_of((quern_optimizer_kind)kind, 0, false);
            check_against_naive((quern_optimizer_kind)kind, d ? QUERN_F64 : QUERN_F32, h);
            h.gradient_scale = 0.3125;
            check_against_naive((quern_optimizer_kind)kind, d ? QUERN_F64 : QUERN_F32, h);
        }
}

/* Scaled first, then limited: of magnitudes 1e-3 … 10 the limit meets some and leaves others. */
TEST_CASE(Update, every_rule_limits_the_scaled_gradient) {
    for (int kind = 0; kind < QUERN_OPTIMIZER_COUNT; kind++)
        for (int d = 0; d < 2; d++)
            for (int momentum = 0; momentum < 2; momentum++) {
                const quern_optimizer_kind rule = (quern_optimizer_kind)kind;
                const bool has = rule == QUERN_OPTIMIZER_SGD || rule == QUERN_OPTIMIZER_RMSPROP;
                if (momentum == 1 && !has) continue;
                quern_hyper h = hyper_of(rule, momentum ? 0.5 : 0, false);
                h.gradient_scale = 0.5;
                h.clip_value = 0.25;
                check_against_naive(rule, d ? QUERN_F64 : QUERN_F32, h);
            }
}

TEST_CASE(Update, momentum_and_nesterov_equal_the_naive_ones) {
    for (int d = 0; d < 2; d++) {
        const quern_dtype dtype = d ? QUERN_F64 : QUERN_F32;
        check_against_naive(QUERN_OPTIMIZER_SGD, dtype, hyper_of(QUERN_OPTIMIZER_SGD, 0.9, false));
        check_against_naive(QUERN_OPTIMIZER_SGD, dtype, hyper_of(QUERN_OPTIMIZER_SGD, 0.9, true));
        check_against_naive(QUERN_OPTIMIZER_RMSPROP, dtype,
                            hyper_of(QUERN_OPTIMIZER_RMSPROP, 0.5, false));
    }
}

/* A constant gradient g, no decay, n steps: the sums can be written down. */
static double closed_form(quern_optimizer_kind kind, double g, double rate, const quern_hyper *h) {
    double moved = 0;
    for (int k = 1; k <= STEPS; k++) {
        switch (kind) {
        case QUERN_OPTIMIZER_SGD: moved += g * (1 - pow(h->momentum, k)) / (1 - h->momentum); break;
        case QUERN_OPTIMIZER_RMSPROP:
            moved += g / (fabs(g) * sqrt(1 - pow(h->beta2, k)) + h->epsilon);
            break;
        case QUERN_OPTIMIZER_ADAGRAD: moved += g / (fabs(g) * sqrt(k) + h->epsilon); break;
        case QUERN_OPTIMIZER_LION: moved += g > 0 ? 1 : -1; break;
        default: moved += g / (fabs(g) + h->epsilon); break;
        }
    }
    return -rate * moved;
}

TEST_CASE(Update, a_constant_gradient_moves_by_the_closed_form) {
    const quern_segment all = {.start = 0, .count = COUNT, .learning_rate_scale = 1};
    for (int kind = 0; kind < QUERN_OPTIMIZER_COUNT; kind++) {
        quern_hyper h =
            hyper_of((quern_optimizer_kind)kind, kind == QUERN_OPTIMIZER_SGD ? 0.9 : 0, false);
        fixture_begin(&first, QUERN_F64, 1);
        first.update.segments = &all;
        first.update.segment_count = 1;
        memset(&first.w, 0, sizeof first.w);
        for (int step = 0; step < STEPS; step++) {
            h.n = step + 1;
            h.correct1 = 1 / (1 - pow(h.beta1, step + 1));
            h.correct2 = 1 / (1 - pow(h.beta2, step + 1));
            first.hyper = h;
            for (int64_t i = 0; i < COUNT; i++) first.g.f64[i] = i % 2 ? 0.5 : -2;
            const quern_backend *backend = first.device->backend;
            CHECK_OK(backend->call(first.device->stream, backend->update_rules[kind], &first.args));
            CHECK_OK(backend->stream_wait(first.device->stream));
        }
        for (int64_t i = 0; i < COUNT; i += 19999) {
            const double g = i % 2 ? 0.5 : -2;
            const double expected = closed_form((quern_optimizer_kind)kind, g, 0.01, &h);
            CHECK_SAY(fabs(first.w.f64[i] - expected) <= 1e-12,
                      "%s: element %lld moved to %.15g, expected %.15g", rule_names[kind],
                      (long long)i, first.w.f64[i], expected);
        }
        fixture_end(&first);
    }
}

TEST_CASE(Update, the_thread_count_changes_no_bit) {
    for (int kind = 0; kind < QUERN_OPTIMIZER_COUNT; kind++)
        for (int way = 0; way < 4; way++) {
            const quern_hyper h = hyper_of((quern_optimizer_kind)kind, 0, false);
            const quern_dtype dtype = way % 2 ? QUERN_F64 : QUERN_F32;
            fixture_begin(&first, dtype, 1);
            fixture_begin(&second, dtype, way < 2 ? 5 : 3);
            for (int step = 0; step < 2; step++) {
                fixture_step(&first, (quern_optimizer_kind)kind, h, step);
                fixture_step(&second, (quern_optimizer_kind)kind, h, step);
            }
            CHECK(memcmp(&first.w, &second.w, sizeof first.w) == 0);
            CHECK(memcmp(first.s, second.s, sizeof first.s) == 0);
            fixture_end(&first);
            fixture_end(&second);
        }
}

TEST_CASE(Update, what_is_not_applied_leaves_every_bit) {
    for (int kind = 0; kind < QUERN_OPTIMIZER_COUNT; kind++) {
        const quern_hyper h = hyper_of((quern_optimizer_kind)kind, 0, false);
        fixture_begin(&first, QUERN_F32, 2);
        fixture_step(&first, (quern_optimizer_kind)kind, h, 0);
        second = first;
        first.applied = 0;
        fixture_step(&first, (quern_optimizer_kind)kind, h, 1);
        CHECK(memcmp(&first.w, &second.w, sizeof first.w) == 0);
        CHECK(memcmp(first.s, second.s, sizeof first.s) == 0);
        first.applied = 1;
        fixture_step(&first, (quern_optimizer_kind)kind, h, 1);
        CHECK(memcmp(&first.w, &second.w, sizeof first.w) != 0);
        fixture_end(&first);
    }
}

TEST_CASE(Update, nothing_outside_the_segments_moves) {
    for (int kind = 0; kind < QUERN_OPTIMIZER_COUNT; kind++) {
        fixture_begin(&first, QUERN_F64, 2);
        fixture_step(&first, (quern_optimizer_kind)kind,
                     hyper_of((quern_optimizer_kind)kind, 0, false), 0);
        for (int64_t i = 20016; i < 20032; i++) {
            CHECK(first.w.f64[i] == (double)(float)start_value(i));
            CHECK(first.s[0].f64[i] == 0);
        }
        fixture_end(&first);
    }
}

TEST_CASE(Update, zero_padding_stays_zero_also_with_epsilon_zero) {
    for (int kind = 0; kind < QUERN_OPTIMIZER_COUNT; kind++) {
        quern_hyper h = hyper_of((quern_optimizer_kind)kind, 0, false);
        h.epsilon = 0;
        fixture_begin(&first, QUERN_F32, 1);
        for (int64_t i = 0; i < COUNT; i += 97) first.w.f32[i] = 0; /* where g is 0 */
        for (int step = 0; step < 3; step++) {
            fixture_step(&first, (quern_optimizer_kind)kind, h, step);
            for (int64_t i = 0; i < COUNT; i += 97) CHECK(first.w.f32[i] == 0);
        }
        fixture_end(&first);
    }
}

TEST_CASE(Update, without_momentum_the_state_is_not_needed) {
    fixture_begin(&first, QUERN_F32, 1);
    first.update.states[0] = first.update.states[1] = NULL;
    fixture_step(&first, QUERN_OPTIMIZER_SGD, hyper_of(QUERN_OPTIMIZER_SGD, 0, false), 0);
    CHECK(first.w.f32[1] != (float)start_value(1));
    first.update.states[0] = &first.s[0];
    fixture_step(&first, QUERN_OPTIMIZER_RMSPROP, hyper_of(QUERN_OPTIMIZER_RMSPROP, 0, false), 0);
    CHECK(first.s[0].f32[1] > 0);
    fixture_end(&first);
}

/* The block as if it began at its element `shift`: with 1 its packs lie beside 16 bytes. */
static void *block_at(real_block *b, quern_dtype dtype, int64_t shift) {
    return (char *)b + (size_t)shift * quern_dtype_bytes(dtype);
}

static quern_view block_view(real_block *b, quern_dtype dtype, int64_t shift) {
    return (quern_view){.data = block_at(b, dtype, shift),
                        .dim = {COUNT - shift},
                        .stride = {1},
                        .count = COUNT - shift,
                        .rank = 1,
                        .dtype = dtype};
}

/* The pass that moves the parameters moves their average: the bits of a pass of its own behind. */
static void check_average(quern_optimizer_kind kind, quern_dtype dtype, bool warmup,
                          int64_t shift) {
    static real_block together, apart;
    task_state state = {.applied = 1};
    fixture_begin(&first, dtype, 2);
    memset(&apart, 0, sizeof apart);
    memcpy(block_at(&apart, dtype, shift), &first.w,
           (size_t)(COUNT - shift) * quern_dtype_bytes(dtype));
    together = apart;
    first.update.average = block_at(&together, dtype, shift);
    first.update.average_decay = 0.75;
    first.update.average_warmup = warmup;
    quern_view values = block_view(&apart, dtype, shift);
    values.data = &first.w;
    const task_average task = {&state, block_view(&apart, dtype, shift), values, 0.75, warmup};
    const quern_kernel_args args = {.attributes = &task, .stream = first.device->stream};
    const quern_backend *backend = first.device->backend;
    for (int step = 0; step < 3; step++) {
        first.applied = state.applied = step != 1;
        state.step = step + 1;
        fixture_step(&first, kind, hyper_of(kind, 0, false), step);
        CHECK_OK(backend->call(args.stream, backend->tasks[TASK_average], &args));
        CHECK_OK(backend->stream_wait(args.stream));
    }
    CHECK_SAY(memcmp(&together, &apart, sizeof together) == 0, "%s %s shift %d: other bits",
              rule_names[kind], quern_dtype_name(dtype), (int)shift);
    CHECK(get(&apart, dtype, 1 + shift) != (double)(float)start_value(1));
    CHECK(get(&apart, dtype, 1 + shift) != get(&first.w, dtype, 1));
    fixture_end(&first);
}

TEST_CASE(Update, moves_the_average_in_the_same_pass) {
    for (int kind = 0; kind < QUERN_OPTIMIZER_COUNT; kind++)
        for (int k = 0; k < 4; k++)
            check_average((quern_optimizer_kind)kind, k & 1 ? QUERN_F64 : QUERN_F32, (k & 2) != 0,
                          k >> 1);
}
