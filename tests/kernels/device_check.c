/* device_check.c - see device_check.h for what is checked, op_world.h for how one call is made. */
#include "device_check.h"

#include "op_check.h"
#include "op_world.h"
#include "tolerances.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How a case is run in a type. */
typedef enum check_form { FORM_ALIGNED, FORM_UNALIGNED, FORM_WIDE, FORM_COUNT } check_form;
static const char *const form_names[] = {"", ", unaligned", ", with F32 gradients"};

static struct {
    quern_op_id op;
    double forward_tolerance, backward_tolerance; /* of F32 */
    int32_t case_count, turned_count;
    int32_t repeated[QUERN_DTYPE_COUNT][FORM_COUNT]; /* cases whose orders were compared */
    bool begun;
} current;

#define ALL UINT32_MAX
#define HELD(condition, ...) quern_test_check_say((condition), __FILE__, __LINE__, __VA_ARGS__)

/* What the kernel is held to: its row's tolerance of F32, and one per other type. */
static double tolerance_of(quern_dtype real, double f32) {
    switch ((int)real) {
    case QUERN_F64: return TOL_CUDA_F64;
    case QUERN_F16: return f32 + TOL_CUDA_F16;
    case QUERN_BF16: return f32 + TOL_CUDA_BF16;
    default: return f32 > TOL_ROUND_F32 ? f32 : TOL_ROUND_F32;
    }
}

static double *read_view(const quern_view *view) {
    double *values = malloc(((size_t)view->count + 1) * sizeof *values);
    if (values == NULL) abort();
    view_read(view, values);
    return values;
}

/* max |a - b| <= tolerance max(1, max |b|), but where b is past what F16 holds. NaN fails. */
static void compare(const char *label, const char *what, const quern_view *a, const quern_view *b,
                    double tolerance) {
    double *left = read_view(a), *right = read_view(b), most = 1, worst = 0;
    for (int64_t i = 0; i < b->count; i++) most = fmax(most, fabs(right[i]));
    for (int64_t i = 0; i < b->count; i++) {
        const bool overflows = a->dtype == QUERN_F16 && fabs(right[i]) > 60000;
        const double error = overflows ? 0 : fabs(left[i] - right[i]);
        if (!(error <= worst)) worst = error;
    }
    HELD(worst <= tolerance * most, "%s: %s in %s is off by %.3g of %.3g, allowed %.3g", label,
         what, quern_dtype_name(a->dtype), worst, most, tolerance);
    free(left);
    free(right);
}

/* A gradient that is F32 beside 16 bits is rounded nowhere, if the op rounds nothing between. */
static void compare_worlds(const op_world *w, const op_world *reference, quern_dtype real) {
    const op_case *c = w->c;
    const double forward =
        c->forward_tolerance > 0 ? c->forward_tolerance : current.forward_tolerance;
    const double backward =
        c->backward_tolerance > 0 ? c->backward_tolerance : current.backward_tolerance;
    const bool unrounded = w->session->wide != 0 && !c->rounds_between;
    for (int32_t i = 0; i < w->output_count; i++)
        compare(c->label, "an output", &w->out[i], &reference->out[i], tolerance_of(real, forward));
    for (int32_t i = 0; i < w->input_count; i++)
        if (w->grad_in[i].data != NULL)
            compare(c->label, "a gradient", &w->grad_in[i], &reference->grad_in[i],
                    tolerance_of(unrounded ? w->grad_in[i].dtype : real, backward));
}

static bool run_both(op_world *w, uint32_t wanted, bool accumulate, const char *what) {
    const char *label = w->c->label;
    bool held = HELD(op_world_forward(w) == QUERN_OK, "%s: %s: %s", label, what, quern_error());
    held = held && HELD(world_guards_hold(w), "%s: %s: forward wrote outside", label, what);
    if (!held || !w->plan.backward) return held;
    held = HELD(op_world_backward(w, wanted, accumulate) == QUERN_OK, "%s: %s: backward: %s", label,
                what, quern_error());
    return held && HELD(world_guards_hold(w), "%s: %s: backward wrote outside", label, what);
}

static void compare_bits(const op_world *a, const op_world *b, const char *what) {
    for (int32_t n = 0; n < a->output_count + a->input_count; n++) {
        const bool output = n < a->output_count;
        const quern_view *x = output ? &a->out[n] : &a->grad_in[n - a->output_count];
        const quern_view *y = output ? &b->out[n] : &b->grad_in[n - b->output_count];
        if (x->data == NULL) continue;
        double *left = read_view(x), *right = read_view(y);
        HELD(memcmp(left, right, (size_t)x->count * sizeof *left) == 0,
             "%s: %s: other bits in %s %d, %s", a->c->label, what, output ? "output" : "gradient",
             output ? n : n - a->output_count, quern_dtype_name(x->dtype));
        free(left);
        free(right);
    }
}

/* Inputs and the gradient of the outputs become numbers that both types hold. */
static void share_values(op_world *from, op_world *to) {
    for (int32_t i = 0; i < from->input_count; i++) {
        if (from->in[i].data == NULL) continue;
        view_write(&from->in[i], from->values[i]);
        view_read(&from->in[i], from->values[i]);
        memcpy(to->values[i], from->values[i], (size_t)from->in[i].count * sizeof(double));
    }
    for (int32_t i = 0; i < from->output_count; i++) {
        if (from->grad_out[i].data == NULL) continue;
        view_write(&from->grad_out[i], from->weights[i]);
        view_read(&from->grad_out[i], from->weights[i]);
        memcpy(to->weights[i], from->weights[i], (size_t)from->grad_out[i].count * sizeof(double));
    }
}

static check_form form_of(const op_session *s) {
    return s->unaligned ? FORM_UNALIGNED : s->wide != 0 ? FORM_WIDE : FORM_ALIGNED;
}

/* Again in the other orders, then in place: the same bits. */
static void check_repeats(op_world *first, quern_dtype real) {
    op_world w = {0};
    if (HELD(op_world_create(&w, current.op, first->c, real, first->session) == QUERN_OK, "%s",
             quern_error())) {
        share_values(first, &w);
        (void)device_order(DEVICE_ORDER_REVERSE);
        if (run_both(&w, ALL, false, "reverse")) compare_bits(&w, first, "in reverse order");
        (void)device_order(DEVICE_ORDER_SEEDED);
        w.inplace = true;
        if (run_both(&w, ALL, false, "in place")) compare_bits(&w, first, "in place, any order");
    }
    op_world_destroy(&w);
    (void)device_order(DEVICE_ORDER_FORWARD);
    current.repeated[real][form_of(first->session)]++;
}

/* A linear layer's bias gradient is summed along with another's where that is wanted too, and by a
 * kernel of its own where not: the same number in another order of sums. */
static bool sums_along(int32_t input) {
    switch ((int)current.op) {
    case QUERN_OP_ID_linear:
    case QUERN_OP_ID_linear_relu:
    case QUERN_OP_ID_linear_gelu: return input == 2;
    case QUERN_OP_ID_linear_relu_linear:
    case QUERN_OP_ID_linear_gelu_linear: return input == 2 || input == 4;
    default: return false;
    }
}

static void check_alone(op_world *first, quern_dtype real) {
    op_world w = {0};
    if (HELD(op_world_create(&w, current.op, first->c, real, first->session) == QUERN_OK, "%s",
             quern_error())) {
        share_values(first, &w);
        for (int32_t i = 0; i < w.input_count; i++) {
            if (first->grad_in[i].data == NULL) continue;
            if (!run_both(&w, UINT32_C(1) << i, false, "alone")) continue;
            if (sums_along(i)) {
                compare(w.c->label, "a gradient alone", &w.grad_in[i], &first->grad_in[i],
                        tolerance_of(real, current.backward_tolerance));
            } else {
                double *left = read_view(&w.grad_in[i]), *right = read_view(&first->grad_in[i]);
                HELD(memcmp(left, right, (size_t)w.in[i].count * sizeof *left) == 0,
                     "%s: gradient %d has other bits when it is wanted alone", w.c->label, i);
                free(left);
                free(right);
            }
        }
    }
    op_world_destroy(&w);
}

/* Such a case shows what a grid and its slices do, in one type. */
static bool is_large(const op_case *c) {
    int64_t count = 1;
    for (int32_t i = 0; i < c->in[0].rank; i++) count *= c->in[0].dim[i];
    return count > 3000;
}

/* What adds is a path of its own: in any order, the same bits. */
static void repeat_accumulate(op_world *first, quern_dtype real) {
    op_world w = {0};
    if (HELD(op_world_create(&w, current.op, first->c, real, first->session) == QUERN_OK, "%s",
             quern_error())) {
        share_values(first, &w);
        (void)device_order(DEVICE_ORDER_SEEDED);
        if (run_both(&w, ALL, false, "seeded") && run_both(&w, ALL, true, "adding, seeded"))
            compare_bits(&w, first, "adding, in any order");
    }
    op_world_destroy(&w);
    (void)device_order(DEVICE_ORDER_FORWARD);
}

/* After run_both, adds the same gradients once more, in both worlds. */
static void check_accumulate(op_world *w, op_world *reference, quern_dtype real, bool ordered) {
    if (!run_both(w, ALL, true, "accumulating") || !run_both(reference, ALL, true, "CPU")) return;
    compare_worlds(w, reference, real);
    if (ordered && !is_large(w->c) && !quern_test_failed()) repeat_accumulate(w, real);
}

/* The gradients that the cases begin with have few bits, so that their sums are exact and no order
 * of adding would show: a third of each has all of them. */
static void use_all_bits(op_world *w) {
    for (int32_t i = 0; i < w->output_count; i++)
        for (int64_t k = 0; k < w->grad_out[i].count; k++) w->weights[i][k] /= 3;
}

/* Row-major: what the CPU computes. */
static op_case plain(const op_case *c) {
    op_case out = *c;
    for (int32_t i = 0; i < QUERN_INPUT_MAX; i++) out.in[i].channels_last = false;
    for (int32_t i = 0; i < QUERN_OUTPUT_MAX; i++) out.out[i].channels_last = false;
    return out;
}

static void check_type(const op_case *c, quern_dtype real, bool unaligned, uint32_t wide) {
    const op_case row_major = plain(c);
    op_session cpu = {0}, device = {0};
    op_world reference = {0}, w = {0};
    device_session(&device);
    device.unaligned = unaligned;
    device.wide = wide;
    const bool ordered = device_order(DEVICE_ORDER_FORWARD);
    if (HELD(session_open(&cpu, 1) == QUERN_OK, "%s", quern_error()) &&
        HELD(op_world_create(&reference, current.op, &row_major, QUERN_F64, &cpu) == QUERN_OK,
             "%s: %s", c->label, quern_error()) &&
        HELD(op_world_create(&w, current.op, c, real, &device) == QUERN_OK, "%s: plan: %s",
             c->label, quern_error())) {
        use_all_bits(&w);
        share_values(&w, &reference);
        if (run_both(&w, ALL, false, unaligned ? "unaligned" : "aligned") &&
            run_both(&reference, ALL, false, "CPU")) {
            compare_worlds(&w, &reference, real);
            if ((ordered || real == QUERN_F32) && !quern_test_failed()) check_repeats(&w, real);
            if (real == QUERN_F32 && w.plan.backward && !is_large(c)) check_alone(&w, real);
            if (w.plan.backward) check_accumulate(&w, &reference, real, ordered);
        }
    }
    op_world_destroy(&w);
    op_world_destroy(&reference);
    if (cpu.stream != NULL) session_close(&cpu);
}

/* In 16 bits; with F32 gradients where the op's row allows it, all of them or a weight's alone. */
static void check_half(const op_case *c, quern_dtype real) {
    static const uint32_t wide[] = {0, ALL, 1 << 1 | 1 << 3};
    const bool allowed = (graph_op((int32_t)current.op)->flags & QUERN_OP_GRAD_WIDE) != 0;
    for (size_t i = 0; i < (allowed ? sizeof wide / sizeof *wide : 1); i++)
        if (!quern_test_failed()) check_type(c, real, false, wide[i]);
}

static void check_types(const op_case *c) {
    check_type(c, QUERN_F32, false, 0);
    if (is_large(c)) return;
    if (!quern_test_failed()) check_type(c, QUERN_F64, false, 0);
    check_half(c, QUERN_F16);
    check_half(c, QUERN_BF16);
    if (!quern_test_failed()) check_type(c, QUERN_F32, true, 0);
    if (!quern_test_failed()) check_type(c, QUERN_BF16, true, 0);
}

static bool same_dims(const op_tensor *a, const op_tensor *b) {
    return a->rank == b->rank && memcmp(a->dim, b->dim, sizeof a->dim) == 0;
}

/* The case with its images channels last, of what the op's row lets lie so. */
static bool turn(op_case *c) {
    const quern_op *op = graph_op((int32_t)current.op);
    const bool each = (op->flags & QUERN_OP_ELEMENTWISE) != 0;
    if (c->in[0].rank != 4 || !(each || (op->flags & QUERN_OP_CHANNELS_LAST))) return false;
    for (int32_t i = 0; i < op->input_count; i++) {
        if (each && !same_dims(&c->in[i], &c->out[0])) return false;
        c->in[i].channels_last = i == 0 || each;
    }
    c->out[0].channels_last = c->out[0].rank == 4;
    return true;
}

void op_check(const op_case *c) {
    op_case turned = *c;
    current.case_count++;
    check_types(c);
    if (!quern_test_failed() && turn(&turned)) {
        current.turned_count++;
        check_types(&turned);
    }
}

static quern_status run_one(quern_op_id op, const op_case *c, quern_dtype real, int32_t input,
                            double *out) {
    const bool alone = !current.begun; /* called by no test of an op */
    op_session session = {0};
    op_world w = {0};
    if (alone && !device_begin(op)) return QUERN_UNSUPPORTED;
    device_session(&session);
    quern_status status = op_world_create(&w, op, c, real, &session);
    for (int32_t o = 0; status == QUERN_OK && o < w.output_count; o++)
        for (int64_t k = 0; k < w.out[o].count; k++) w.weights[o][k] = 1;
    if (status == QUERN_OK) status = op_world_forward(&w);
    if (status == QUERN_OK && input >= 0)
        status = op_world_backward(&w, UINT32_C(1) << input, false);
    if (status == QUERN_OK) view_read(input >= 0 ? &w.grad_in[input] : &w.out[0], out);
    op_world_destroy(&w);
    if (alone) device_end();
    return status;
}

quern_status op_run(quern_op_id op, const op_case *c, quern_dtype real, double *out,
                    int64_t count) {
    (void)count;
    return run_one(op, c, real, -1, out);
}

quern_status op_run_gradient(quern_op_id op, const op_case *c, quern_dtype real, int32_t input,
                             double *out, int64_t count) {
    (void)count;
    return run_one(op, c, real, input, out);
}

/* Whether check_types runs a small case of the op so. */
static bool is_run(const quern_op *op, quern_dtype real, check_form form) {
    const bool half = real == QUERN_F16 || real == QUERN_BF16;
    switch (form) {
    case FORM_UNALIGNED: return real == QUERN_F32 || real == QUERN_BF16;
    case FORM_WIDE: return half && (op->flags & QUERN_OP_GRAD_WIDE) != 0;
    default: return true;
    }
}

/* What no case is small enough for has been compared in no order but one: nobody would notice. */
static void hold_repeated(const quern_op *op) {
    static const quern_dtype reals[] = {QUERN_F32, QUERN_F64, QUERN_F16, QUERN_BF16};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        for (int form = 0; form < FORM_COUNT; form++)
            HELD(current.repeated[reals[i]][form] > 0 || !is_run(op, reals[i], (check_form)form),
                 "%s: no case is small enough to be run in several orders in %s%s", op->name,
                 quern_dtype_name(reals[i]), form_names[form]);
}

void op_cases_run(quern_op_id op, double forward_tolerance, double backward_tolerance,
                  void (*cases)(void)) {
    if (!device_begin(op)) return;
    current.op = op;
    current.forward_tolerance = forward_tolerance;
    current.backward_tolerance = backward_tolerance;
    current.case_count = current.turned_count = 0;
    memset(current.repeated, 0, sizeof current.repeated);
    current.begun = true;
    const bool ordered = device_order(DEVICE_ORDER_FORWARD);
    cases();
    current.begun = false;
    device_end();
    const uint32_t turns = QUERN_OP_CHANNELS_LAST | QUERN_OP_ELEMENTWISE;
    HELD(current.case_count > 0, "%s has no case", graph_op((int32_t)op)->name);
    HELD(current.turned_count > 0 || !(graph_op((int32_t)op)->flags & turns),
         "%s has no case of images", graph_op((int32_t)op)->name);
    if (ordered && !quern_test_failed()) hold_repeated(graph_op((int32_t)op));
}
