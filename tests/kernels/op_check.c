/* op_check.c - see op_case.h for what is checked, op_world.h for how one call is made. */
#include "op_check.h"

#include "half.h"
#include "op_world.h"
#include "tolerances.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct {
    quern_op_id op;
    double forward_tolerance, backward_tolerance;
    int32_t case_count;
} current;

#define ALL UINT32_MAX
#define HELD(condition, ...) quern_test_check_say((condition), __FILE__, __LINE__, __VA_ARGS__)

static double *read_view(const quern_view *view) {
    double *values = malloc(((size_t)view->count + 1) * sizeof *values);
    if (values == NULL) abort();
    view_read(view, values);
    return values;
}

/* The largest magnitude; NaN when there is one. */
static double largest(const double *values, int64_t count) {
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(values[i]) <= most)) most = fabs(values[i]);
    return most;
}

/* Whether max |a - b| <= tolerance max(1, max |b|). NaN fails. */
static bool close_to(const double *a, const double *b, int64_t count, double tolerance,
                     double *worst) {
    const double bound = tolerance * fmax(1.0, largest(b, count));
    bool held = true;
    *worst = 0;
    for (int64_t i = 0; i < count; i++) {
        const double error = fabs(a[i] - b[i]);
        if (!(error <= *worst)) *worst = error;
        held = held && error <= bound;
    }
    return held;
}

static bool run_both(op_world *w, const char *what) {
    const char *label = w->c->label;
    bool held =
        HELD(op_world_forward(w) == QUERN_OK, "%s: %s: forward: %s", label, what, quern_error());
    held = held && HELD(world_guards_hold(w), "%s: %s: forward wrote outside", label, what);
    if (!held || !w->plan.backward) return held;
    held = HELD(op_world_backward(w, ALL, false) == QUERN_OK, "%s: %s: backward: %s", label, what,
                quern_error());
    return held && HELD(world_guards_hold(w), "%s: %s: backward wrote outside", label, what);
}

/* sum r (y(x + h) - y(x - h)) / 2h for element `at` of input i: differencing before summing keeps
 * the rounding of large sums out of it. */
static double difference(op_world *w, int32_t i, int64_t at) {
    double *x = &w->values[i][at], *plus[QUERN_OUTPUT_MAX] = {0};
    const double was = *x, h = 1e-5 * fmax(1.0, fabs(was));
    long double loss = 0;
    *x = was + h;
    bool ran = op_world_forward(w) == QUERN_OK;
    for (int32_t o = 0; o < w->output_count; o++)
        if (w->grad_out[o].data != NULL) plus[o] = read_view(&w->out[o]);
    *x = was - h;
    ran = ran && op_world_forward(w) == QUERN_OK;
    for (int32_t o = 0; o < w->output_count; o++) {
        if (plus[o] == NULL) continue;
        double *minus = read_view(&w->out[o]);
        for (int64_t k = 0; k < w->out[o].count; k++)
            loss += (long double)w->weights[o][k] * ((long double)plus[o][k] - minus[k]);
        free(minus);
        free(plus[o]);
    }
    *x = was;
    return ran ? (double)(loss / (((long double)was + h) - ((long double)was - h))) : (double)NAN;
}

/* All elements of a small tensor, about `samples` spread evenly over a large one. */
static void check_input_gradient(op_world *w, int32_t i, const double *analytic) {
    const int64_t count = w->in[i].count;
    int64_t work = 1;
    for (int32_t k = 0; k < w->input_count; k++) work += w->in[k].count;
    const int64_t samples = work < 2000 ? 400 : work < 50000 ? 64 : 12;
    const int64_t step = count > samples ? count / samples : 1;
    double most = 1, worst = 0, worst_a = 0, worst_n = 0;
    for (int64_t at = 0; at < count; at += step) {
        const double n = difference(w, i, at), a = analytic[at], error = fabs(a - n);
        most = fmax(most, fmax(fabs(a), fabs(n)));
        if (!(error <= worst)) worst = error, worst_a = a, worst_n = n;
    }
    HELD(worst <= TOL_DIFFERENCES * most,
         "%s: gradient of input %d: analytic %.12g, differences %.12g, off by %.3g of %.3g",
         w->c->label, i, worst_a, worst_n, worst, most);
}

static void check_differences(op_world *w) {
    double *analytic[QUERN_INPUT_MAX] = {0};
    for (int32_t i = 0; i < w->input_count; i++)
        if (w->grad_in[i].data != NULL) analytic[i] = read_view(&w->grad_in[i]);
    for (int32_t i = 0; i < w->input_count && !quern_test_failed(); i++)
        if (analytic[i] != NULL) check_input_gradient(w, i, analytic[i]);
    for (int32_t i = 0; i < w->input_count; i++) free(analytic[i]);
}

static void compare_views(const char *label, const char *what, int32_t index, const quern_view *a,
                          const quern_view *b, double tolerance) {
    double *left = read_view(a), *right = read_view(b), worst = 0;
    const bool held = close_to(left, right, a->count, tolerance, &worst);
    HELD(held, "%s: %s %d: F32 and F64 differ by %.3g of %.3g, allowed %.3g", label, what, index,
         worst, fmax(1.0, largest(right, b->count)), tolerance);
    free(left);
    free(right);
}

static void check_precision(const op_world *f32, const op_world *f64) {
    const op_case *c = f32->c;
    const double forward =
        c->forward_tolerance > 0 ? c->forward_tolerance : current.forward_tolerance;
    const double backward =
        c->backward_tolerance > 0 ? c->backward_tolerance : current.backward_tolerance;
    for (int32_t i = 0; i < f32->output_count; i++)
        compare_views(c->label, "output", i, &f32->out[i], &f64->out[i], forward);
    for (int32_t i = 0; i < f32->input_count; i++)
        if (f32->grad_in[i].data != NULL)
            compare_views(c->label, "gradient", i, &f32->grad_in[i], &f64->grad_in[i], backward);
}

/* Bits of outputs and gradients; the gaps of strided views are not looked at. */
static void check_same_bits(const op_world *a, const op_world *b, const char *what) {
    for (int32_t n = 0; n < a->output_count + a->input_count; n++) {
        const bool output = n < a->output_count;
        const int32_t i = output ? n : n - a->output_count;
        const quern_view *va = output ? &a->out[i] : &a->grad_in[i];
        const quern_view *vb = output ? &b->out[i] : &b->grad_in[i];
        if (va->data == NULL) continue;
        double *left = read_view(va), *right = read_view(vb);
        const bool same = memcmp(left, right, (size_t)va->count * sizeof *left) == 0;
        HELD(same, "%s: %s: %s %d has other bits", a->c->label, what,
             output ? "output" : "gradient", i);
        free(left);
        free(right);
    }
}

/* g0 + g and then g0 + 2 g. The start is the input's own values: finite and of order 1. */
static void check_accumulate(op_world *w, double tolerance) {
    for (int32_t times = 1; times <= 2; times++) {
        bool held = HELD(op_world_backward(w, ALL, false) == QUERN_OK, "%s", quern_error());
        double *gradient[QUERN_INPUT_MAX] = {0};
        for (int32_t i = 0; i < w->input_count; i++) {
            if (w->grad_in[i].data == NULL) continue;
            gradient[i] = read_view(&w->grad_in[i]);
            view_write(&w->grad_in[i], w->values[i]);
        }
        for (int32_t k = 0; k < times; k++)
            held = held && HELD(op_world_backward(w, ALL, true) == QUERN_OK, "%s", quern_error());
        for (int32_t i = 0; i < w->input_count; i++) {
            if (gradient[i] == NULL) continue;
            double *sum = read_view(&w->grad_in[i]), worst = 0;
            for (int64_t k = 0; k < w->in[i].count; k++)
                gradient[i][k] = w->values[i][k] + times * gradient[i][k];
            held = close_to(sum, gradient[i], w->in[i].count, tolerance, &worst);
            HELD(held, "%s: accumulating %d times into gradient %d is off by %.3g", w->c->label,
                 times, i, worst);
            free(sum);
            free(gradient[i]);
        }
    }
    HELD(world_guards_hold(w), "%s: an accumulating backward wrote outside", w->c->label);
}

/* Each gradient wanted alone has the bits that it has among the others. */
static void check_wanted_alone(op_world *w, const op_world *all) {
    for (int32_t i = 0; i < w->input_count; i++) {
        if (w->grad_in[i].data == NULL) continue;
        HELD(op_world_backward(w, UINT32_C(1) << i, false) == QUERN_OK, "%s", quern_error());
        double *alone = read_view(&w->grad_in[i]), *among = read_view(&all->grad_in[i]);
        HELD(memcmp(alone, among, (size_t)w->in[i].count * sizeof *alone) == 0,
             "%s: gradient %d has other bits when it is wanted alone", w->c->label, i);
        free(alone);
        free(among);
    }
}

static void check_repeats(const op_world *first, quern_dtype real) {
    for (int32_t threads = 1; threads <= 3; threads++) {
        op_session session = {0};
        op_world w = {0};
        if (HELD(session_open(&session, threads) == QUERN_OK, "%s", quern_error()) &&
            HELD(op_world_create(&w, current.op, first->c, real, &session) == QUERN_OK, "%s",
                 quern_error()) &&
            run_both(&w, "threads")) {
            check_same_bits(&w, first, threads == 1 ? "run again" : "other thread count");
            w.inplace = true;
            if (run_both(&w, "in place")) check_same_bits(&w, first, "in place");
            w.inplace = false;
            if (w.plan.backward && run_both(&w, "alone")) check_wanted_alone(&w, first);
        }
        op_world_destroy(&w);
        session_close(&session);
    }
}

/* 16-bit storage: from inputs that it holds, outputs are the F32 kernel's, rounded once; gradients
 * follow what it has rounded. */
static void half_inputs(op_world *half, op_world *f32) {
    for (int32_t i = 0; i < half->input_count; i++) {
        if (half->in[i].data == NULL) continue;
        view_write(&half->in[i], half->values[i]);
        view_read(&half->in[i], half->values[i]);
        memcpy(f32->values[i], half->values[i], (size_t)half->in[i].count * sizeof(double));
    }
    for (int32_t o = 0; o < half->output_count; o++) {
        if (half->grad_out[o].data == NULL) continue;
        view_write(&half->grad_out[o], half->weights[o]);
        view_read(&half->grad_out[o], half->weights[o]);
        memcpy(f32->weights[o], half->weights[o], (size_t)half->out[o].count * sizeof(double));
    }
}

static void check_half_bits(const char *label, const quern_view *half, const quern_view *f32) {
    double *left = read_view(half), *right = read_view(f32);
    int64_t wrong = 0;
    for (int64_t i = 0; i < half->count; i++) {
        const float y = (float)right[i];
        const double expected = half->dtype == QUERN_F16 ? (double)half_value(half_bits(y))
                                : half->dtype == QUERN_BF16
                                    ? (double)bfloat16_value(bfloat16_bits(y))
                                    : right[i];
        wrong += !(left[i] == expected) && !(isnan(left[i]) && isnan(expected));
    }
    HELD(wrong == 0, "%s: %s: %d numbers are not the F32 ones, rounded", label,
         quern_dtype_name(half->dtype), (int)wrong);
    free(left);
    free(right);
}

static void check_half_gradients(const op_world *half, const op_world *f32, const char *what,
                                 double tolerance) {
    for (int32_t i = 0; i < half->input_count; i++)
        if (half->grad_in[i].data != NULL)
            compare_views(half->c->label, what, i, &half->grad_in[i], &f32->grad_in[i], tolerance);
}

static void check_half_outputs(const op_world *half, const op_world *f32, double tolerance) {
    const char *label = half->c->label;
    for (int32_t o = 0; o < half->output_count; o++)
        if (half->c->rounds_between)
            compare_views(label, "a 16-bit output", o, &half->out[o], &f32->out[o], tolerance);
        else
            check_half_bits(label, &half->out[o], &f32->out[o]);
}

static void check_half(const op_case *c, quern_dtype real, const op_session *session) {
    const double tolerance = real == QUERN_F16 ? TOL_CUDA_F16 : TOL_CUDA_BF16;
    op_world half = {0}, f32 = {0};
    if (!HELD(op_world_create(&half, current.op, c, real, session) == QUERN_OK, "%s: plan: %s",
              c->label, quern_error()) ||
        !HELD(op_world_create(&f32, current.op, c, QUERN_F32, session) == QUERN_OK, "%s: plan: %s",
              c->label, quern_error()))
        goto done;
    half_inputs(&half, &f32);
    if (!run_both(&half, quern_dtype_name(real)) || !run_both(&f32, "F32")) goto done;
    check_half_outputs(&half, &f32, tolerance);
    check_half_gradients(&half, &f32, "a 16-bit gradient", tolerance);
    if (half.plan.backward) check_accumulate(&half, tolerance);
    half.inplace = true;
    run_both(&half, "in place");
    check_half_gradients(&half, &f32, "a 16-bit gradient in place", tolerance);
    check_half_outputs(&half, &f32, tolerance);
done:
    op_world_destroy(&f32);
    op_world_destroy(&half);
}

/* Gradients that are F32 beside 16 bits: the F32 kernel's, bit for bit. */
static void check_wide(const op_case *c, quern_dtype real, const op_session *like) {
    const double tolerance = real == QUERN_F16 ? TOL_CUDA_F16 : TOL_CUDA_BF16;
    op_session session = *like;
    op_world half = {0}, f32 = {0};
    session.wide = ALL;
    if (HELD(op_world_create(&half, current.op, c, real, &session) == QUERN_OK, "%s: plan: %s",
             c->label, quern_error()) &&
        HELD(op_world_create(&f32, current.op, c, QUERN_F32, like) == QUERN_OK, "%s: plan: %s",
             c->label, quern_error())) {
        half_inputs(&half, &f32);
        if (run_both(&half, "wide gradients") && run_both(&f32, "F32")) {
            for (int32_t i = 0; i < half.input_count; i++)
                if (half.grad_in[i].data != NULL && !c->rounds_between)
                    check_half_bits(c->label, &half.grad_in[i], &f32.grad_in[i]);
            check_half_gradients(&half, &f32, "an F32 gradient beside 16 bits", tolerance);
            check_accumulate(&half, tolerance);
        }
    }
    op_world_destroy(&f32);
    op_world_destroy(&half);
}

void op_check(const op_case *c) {
    op_session session = {0};
    op_world f64 = {0}, f32 = {0};
    const char *name = graph_op((int32_t)current.op)->name;
    current.case_count++;
    if (!HELD(session_open(&session, 1) == QUERN_OK, "%s", quern_error())) goto done;
    if (!HELD(op_world_create(&f64, current.op, c, QUERN_F64, &session) == QUERN_OK,
              "%s: %s: plan: %s", name, c->label, quern_error()))
        goto done;
    if (!HELD(op_world_create(&f32, current.op, c, QUERN_F32, &session) == QUERN_OK,
              "%s: %s: plan: %s", name, c->label, quern_error()))
        goto done;
    if (!run_both(&f64, "F64") || !run_both(&f32, "F32")) goto done;
    check_precision(&f32, &f64);
    check_repeats(&f64, QUERN_F64);
    check_repeats(&f32, QUERN_F32);
    check_half(c, QUERN_F16, &session);
    check_half(c, QUERN_BF16, &session);
    if ((graph_op((int32_t)current.op)->flags & QUERN_OP_GRAD_WIDE) != 0) {
        check_wide(c, QUERN_F16, &session);
        check_wide(c, QUERN_BF16, &session);
    }
    if (f64.plan.backward) {
        check_accumulate(&f32, TOL_ACCUMULATE_F32);
        check_accumulate(&f64, TOL_ACCUMULATE_F64);
        if (!c->no_differences && run_both(&f64, "F64")) check_differences(&f64);
    }
done:
    op_world_destroy(&f32);
    op_world_destroy(&f64);
    session_close(&session);
}

quern_status op_run(quern_op_id op, const op_case *c, quern_dtype real, double *out,
                    int64_t count) {
    op_session session = {0};
    op_world w = {0};
    quern_status status = session_open(&session, 1);
    if (status == QUERN_OK) status = op_world_create(&w, op, c, real, &session);
    if (status == QUERN_OK) status = op_world_forward(&w);
    if (status == QUERN_OK && HELD(w.out[0].count == count, "%s: output count", c->label))
        view_read(&w.out[0], out);
    op_world_destroy(&w);
    session_close(&session);
    return status;
}

quern_status op_run_gradient(quern_op_id op, const op_case *c, quern_dtype real, int32_t input,
                             double *out, int64_t count) {
    op_session session = {0};
    op_world w = {0};
    quern_status status = session_open(&session, 1);
    if (status == QUERN_OK) status = op_world_create(&w, op, c, real, &session);
    for (int32_t o = 0; status == QUERN_OK && o < w.output_count; o++)
        for (int64_t k = 0; k < w.out[o].count; k++) w.weights[o][k] = 1;
    if (status == QUERN_OK) status = op_world_forward(&w);
    if (status == QUERN_OK) status = op_world_backward(&w, UINT32_C(1) << input, false);
    if (status == QUERN_OK && HELD(w.in[input].count == count, "%s: input count", c->label))
        view_read(&w.grad_in[input], out);
    op_world_destroy(&w);
    session_close(&session);
    return status;
}

void op_cases_run(quern_op_id op, double forward_tolerance, double backward_tolerance,
                  void (*cases)(void)) {
    current.op = op;
    current.forward_tolerance = forward_tolerance;
    current.backward_tolerance = backward_tolerance;
    current.case_count = 0;
    cases();
    HELD(current.case_count > 0, "%s has no case", graph_op((int32_t)op)->name);
}
