/* Faults planted in one run but not in the reference: an op of the application that computes y = x,
 * and is wrong, in F32 only, in the way that the test asks for. */
#include "fault_host.h"
#include "quern_test.h"
#include "verify_models.h"

#include <math.h>
#include <string.h>

typedef enum plant {
    PLANT_NOTHING,
    PLANT_FORWARD,        /* one element off */
    PLANT_BACKWARD,       /* sign of one element of the gradient */
    PLANT_BACKWARD_SCALE, /* the whole gradient, by a hundredth */
    PLANT_NAN,            /* one element of the gradient */
    PLANT_NAN_EVERYWHERE, /* in F64 too */
    PLANT_FLIP,           /* forward: one element crosses zero by less than F32 can tell */
} plant;

static const plant plants[] = {
    PLANT_NOTHING, PLANT_FORWARD,        PLANT_BACKWARD, PLANT_BACKWARD_SCALE,
    PLANT_NAN,     PLANT_NAN_EVERYWHERE, PLANT_FLIP};

static quern_status same_shape(const quern_shape_args *a) {
    a->out[0] = a->in[0];
    return QUERN_OK;
}

enum { BAD = 6 }; /* the element */

static double get(const quern_view *v, int64_t i) {
    return v->dtype == QUERN_F64 ? ((const double *)v->data)[i]
                                 : (double)((const float *)v->data)[i];
}

static void put(const quern_view *v, int64_t i, double value) {
    if (v->dtype == QUERN_F64)
        ((double *)v->data)[i] = value;
    else
        ((float *)v->data)[i] = (float)value;
}

static double spoilt(double x, plant how, bool backward) {
    if (!backward) return how == PLANT_FORWARD ? x + 0.125 : x;
    if (how == PLANT_BACKWARD) return -x;
    return how == PLANT_NAN || how == PLANT_NAN_EVERYWHERE ? (double)NAN : x;
}

static void copy(const quern_view *to, const quern_view *from, plant how, bool backward) {
    const bool wrong = from->dtype == QUERN_F32 || how == PLANT_NAN_EVERYWHERE;
    for (int64_t i = 0; i < from->count; i++) {
        double x = get(from, i);
        if (how == PLANT_FLIP && !backward && i == BAD) x = from->dtype == QUERN_F32 ? -1e-9 : 1e-9;
        if (how == PLANT_BACKWARD_SCALE && backward && wrong) x *= 1.01;
        put(to, i, i == BAD && wrong ? spoilt(x, how, backward) : x);
    }
}

static quern_status forward(const quern_kernel_args *a) {
    copy(&a->out[0], &a->in[0], *(const plant *)a->attributes, false);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *a) {
    copy(&a->grad_in[0], &a->grad_out[0], *(const plant *)a->attributes, true);
    return QUERN_OK;
}

static const quern_kernel kernel = {.forward = forward, .backward = backward};
static const quern_op op = {.name = "planted",
                            .attribute_bytes = sizeof(plant),
                            .input_count = 1,
                            .output_count = 1,
                            .shape = same_shape,
                            .kernels = {[QUERN_BACKEND_CPU] = &kernel}};

enum { FEATURES = 3, HIDDEN = 4, ROWS = 4 };

static quern_status build(void *self, quern_graph *g, quern_verify_model *out) {
    quern_tensor *x =
        quern_input(g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, FEATURES}});
    quern_tensor *h = quern_dense(g, x, &(quern_dense_desc){.units = HIDDEN, .name = "fc1"});
    h = quern_relu(g, quern_custom(g, &op, &h, 1, self, NULL));
    quern_tensor *z = quern_dense(g, h, &(quern_dense_desc){.units = 3, .name = "fc2"});
    out->loss = quern_softmax_cross_entropy(g, z, quern_labels(g, "label"), NULL);
    return quern_graph_status(g);
}

static const float x[ROWS][FEATURES] = {{1, 2, -1}, {2, 1, 1}, {-2, 1, -1}, {1, -1, 2}};
static const int32_t labels[ROWS] = {0, 1, 2, 1};
static const quern_batch batch = {
    .sample_count = ROWS, .field_count = 2, .names = {"x", "label"}, .data = {x, labels}};

static quern_verify_desc desc_of(plant how, quern_device *device) {
    return (quern_verify_desc){
        .build = build, .self = (void *)(uintptr_t)&plants[how], .device = device, .batch = &batch};
}

static quern_status run(plant how, quern_verify_result *r) {
    const quern_verify_desc desc = desc_of(how, NULL);
    return quern_verify(r, &desc);
}

TEST_CASE(VerifyPlanted, nothing_planted_is_in_tolerance) {
    quern_verify_result r;
    CHECK_OK(run(PLANT_NOTHING, &r));
    CHECK(r.bad == 0 && r.samples == ROWS && r.flips == 0);
}

TEST_CASE(VerifyPlanted, a_wrong_element_of_forward_is_named_with_both_values) {
    quern_verify_result r;
    CHECK_STATUS(run(PLANT_FORWARD, &r), QUERN_INTERNAL);
    CHECK(r.first.role == QUERN_VERIFY_ACTIVATION && r.first.index == BAD && !r.first.by_norm);
    CHECK_NEAR(r.first.found - r.first.reference, 0.125, 1e-5);
    CHECK_HAS(r.first.name, "planted");
    CHECK_TEXT(r.first.shape, "(B, 4)");
    CHECK_ERROR_HAS("activation of planted");
    CHECK_ERROR_HAS("in F32 on the CPU is out of tolerance: element 6 is");
    CHECK_ERROR_HAS("tolerance 0.0001");
    CHECK(r.bad > 1);
}

TEST_CASE(VerifyPlanted, a_wrong_sign_in_backward_is_named_where_it_is_written) {
    quern_verify_result r;
    CHECK_STATUS(run(PLANT_BACKWARD, &r), QUERN_INTERNAL);
    CHECK(r.first.role == QUERN_VERIFY_ACTIVATION_GRADIENT && r.first.index == BAD);
    CHECK_TEXT(r.first.name, "fc1.linear"); /* what the op's backward writes */
    CHECK_NEAR(r.first.found, -r.first.reference, 1e-6);
    CHECK(r.first.reference != 0);
}

TEST_CASE(VerifyPlanted, a_hundredth_too_much_is_out_of_tolerance) {
    quern_verify_result r;
    CHECK_STATUS(run(PLANT_BACKWARD_SCALE, &r), QUERN_INTERNAL);
    CHECK_TEXT(r.first.name, "fc1.linear");
    CHECK_NEAR(r.first.error, 0.01, 1e-3);
}

TEST_CASE(VerifyPlanted, a_nan_in_one_run_is_out_of_tolerance_and_ends_it_without_an_update) {
    quern_verify_result r;
    CHECK_STATUS(run(PLANT_NAN, &r), QUERN_INTERNAL);
    CHECK_TEXT(r.first.name, "fc1.linear");
    CHECK(isnan(r.first.error) && isnan(r.first.found) && r.first.index == BAD);
    CHECK(isnan(r.worst.error));
    CHECK_ERROR_HAS("element 6 is nan");
}

TEST_CASE(VerifyPlanted, a_nan_of_the_model_itself_is_not_finite) {
    quern_verify_result r;
    CHECK_STATUS(run(PLANT_NAN_EVERYWHERE, &r), QUERN_NOT_FINITE);
    CHECK_ERROR_HAS("fc1.linear is nan at element 6 in the F64 reference itself");
    CHECK(r.compared == 0);
}

static quern_status count_by_norm(void *self, const quern_verify_tensor *t) {
    int *counts = self;
    const bool gradient =
        t->role == QUERN_VERIFY_GRADIENT || t->role == QUERN_VERIFY_ACTIVATION_GRADIENT;
    CHECK(t->by_norm == gradient);
    counts[t->by_norm]++;
    return QUERN_OK;
}

TEST_CASE(VerifyPlanted, a_flip_of_relu_is_counted_and_gradients_are_judged_by_norm) {
    quern_verify_result r;
    int counts[2] = {0};
    quern_verify_desc desc = desc_of(PLANT_FLIP, NULL);
    desc.visit = count_by_norm;
    desc.visit_self = counts;
    CHECK_OK(quern_verify(&r, &desc));
    CHECK(r.flips == 1 && counts[0] > 5 && counts[1] > 5);
    CHECK(r.bad == 0);
}

TEST_CASE(VerifyPlanted, tolerances_of_the_application_are_the_ones_that_judge) {
    quern_verify_result r;
    quern_verify_desc desc = desc_of(PLANT_BACKWARD_SCALE, NULL);
    desc.tolerance.gradient = 0.02;
    CHECK_OK(quern_verify(&r, &desc));
    desc.tolerance.activation = 1e-12;
    CHECK_STATUS(quern_verify(&r, &desc), QUERN_INTERNAL);
    CHECK(r.first.role == QUERN_VERIFY_ACTIVATION && r.first.tolerance == 1e-12);
}

/* SGD, of which F32 moves by a fiftieth too much: far less than a rounding of most weights. */
static quern_status update_wrongly(const quern_kernel_args *args) {
    const quern_update *u = args->attributes;
    for (int32_t k = 0; k < u->segment_count; k++)
        for (int64_t i = u->segments[k].start; i < u->segments[k].start + u->segments[k].count; i++)
            if (u->dtype == QUERN_F64)
                ((double *)u->parameters)[i] -=
                    u->hyper->learning_rate * ((const double *)u->gradients)[i];
            else
                ((float *)u->parameters)[i] -=
                    (float)(1.02 * u->hyper->learning_rate) * ((const float *)u->gradients)[i];
    return QUERN_OK;
}

TEST_CASE(VerifyPlanted, a_wrong_update_is_judged_by_the_change_that_it_makes) {
    static const quern_update_rule rule = {.name = "off",
                                           .update = {[QUERN_BACKEND_CPU] = update_wrongly}};
    quern_verify_result r;
    quern_verify_desc desc = desc_of(PLANT_NOTHING, NULL);
    desc.optimizer.rule = &rule;
    desc.optimizer.learning_rate = 0.01;
    CHECK_STATUS(quern_verify(&r, &desc), QUERN_INTERNAL);
    CHECK(r.first.role == QUERN_VERIFY_WEIGHT);
    CHECK_TEXT(r.first.name, "fc1.weight");
    CHECK_NEAR(r.first.error, 0.02, 2e-3);
    CHECK(fabs(r.first.found - r.first.reference) < 1e-4 * fabs(r.first.reference));
}

typedef struct sequence {
    char text[32][96];
    quern_verify_role roles[32];
    int count;
} sequence;

static quern_status take_down(void *self, const quern_verify_tensor *t) {
    sequence *s = self;
    if (s->count == 32) return quern_fail(QUERN_CALLBACK, "more than 32 tensors");
    memcpy(s->text[s->count], t->name, sizeof t->name);
    s->roles[s->count++] = t->role;
    return QUERN_OK;
}

TEST_CASE(VerifyPlanted, tensors_come_in_the_order_of_a_step) {
    static const struct {
        quern_verify_role role;
        const char *name;
    } expected[] = {
        {QUERN_VERIFY_ACTIVATION, "fc1.linear"},
        {QUERN_VERIFY_ACTIVATION, "planted1"},
        {QUERN_VERIFY_ACTIVATION, "relu2"},
        {QUERN_VERIFY_ACTIVATION, "fc2.linear"},
        {QUERN_VERIFY_ACTIVATION, "softmax"},
        {QUERN_VERIFY_ACTIVATION, "valid_count"},
        {QUERN_VERIFY_LOSS, "softmax"},
        {QUERN_VERIFY_ACTIVATION_GRADIENT, "softmax"},
        {QUERN_VERIFY_ACTIVATION_GRADIENT, "fc2"},
        {QUERN_VERIFY_GRADIENT, "fc2.weight"},
        {QUERN_VERIFY_GRADIENT, "fc2.bias"},
        {QUERN_VERIFY_ACTIVATION_GRADIENT, "relu2"},
        {QUERN_VERIFY_ACTIVATION_GRADIENT, "pla"},
        {QUERN_VERIFY_ACTIVATION_GRADIENT, "fc1.lin"},
        {QUERN_VERIFY_GRADIENT, "fc1.weight"},
        {QUERN_VERIFY_GRADIENT, "fc1.bias"},
        {QUERN_VERIFY_WEIGHT, "fc1.weight"},
        {QUERN_VERIFY_WEIGHT, "fc1.bias"},
        {QUERN_VERIFY_WEIGHT, "fc2.weight"},
        {QUERN_VERIFY_WEIGHT, "fc2.bias"},
    };
    sequence s = {.count = 0};
    quern_verify_result r;
    quern_verify_desc desc = desc_of(PLANT_NOTHING, NULL);
    desc.visit = take_down;
    desc.visit_self = &s;
    REQUIRE_OK(quern_verify(&r, &desc));
    REQUIRE(s.count == sizeof expected / sizeof *expected);
    for (int i = 0; i < s.count; i++) {
        CHECK_SAY(s.roles[i] == expected[i].role, "%d: %s", i, quern_verify_role_name(s.roles[i]));
        CHECK_HAS(s.text[i], expected[i].name);
    }
}

/* refusals */

static quern_status build_nothing(void *self, quern_graph *g, quern_verify_model *out) {
    (void)self, (void)g, (void)out;
    return QUERN_OK;
}

static quern_status build_failure(void *self, quern_graph *g, quern_verify_model *out) {
    (void)self, (void)g, (void)out;
    return quern_fail(QUERN_INPUT, "no plan of the house");
}

static quern_status build_another(void *self, quern_graph *g, quern_verify_model *out) {
    int *calls = self;
    plant nothing = PLANT_NOTHING;
    if ((*calls)++ > 0)
        quern_parameter(g, &(quern_parameter_desc){.name = "more", .rank = 1, .dim = {2}});
    return build(&nothing, g, out);
}

static quern_status visit_failure(void *self, const quern_verify_tensor *t) {
    (void)self, (void)t;
    return quern_fail(QUERN_CALLBACK, "seen enough");
}

TEST_CASE(VerifyPlanted, what_cannot_be_verified_is_refused_with_a_sentence) {
    quern_verify_result r;
    int calls = 0;
    quern_verify_desc desc = desc_of(PLANT_NOTHING, NULL);
    CHECK_STATUS(quern_verify(&r, NULL), QUERN_INVALID);
    desc.build = build_nothing;
    CHECK_STATUS(quern_verify(&r, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS("build has set no loss");
    desc.build = build_failure;
    CHECK_STATUS(quern_verify(NULL, &desc), QUERN_INPUT);
    CHECK_ERROR_HAS("no plan of the house");
    desc.build = build_another;
    desc.self = &calls;
    CHECK_STATUS(quern_verify(&r, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS("two different graphs");
    desc = desc_of(PLANT_NOTHING, NULL);
    desc.visit = visit_failure;
    CHECK_STATUS(quern_verify(&r, &desc), QUERN_CALLBACK);
    desc = desc_of(PLANT_NOTHING, NULL);
    desc.batch = NULL;
    CHECK_STATUS(quern_verify(&r, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS("found neither");
    const quern_batch unnamed = {.sample_count = 1, .field_count = 1, .names = {"x"}, .data = {x}};
    desc.batch = &unnamed;
    CHECK_STATUS(quern_verify(&r, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS("no data for input label");
    desc = desc_of(PLANT_NOTHING, NULL);
    desc.tolerance.weight = (double)NAN;
    CHECK_STATUS(quern_verify(&r, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS("tolerance.weight");
}

TEST_CASE(VerifyPlanted, every_failing_allocation_is_a_status_and_leaks_nothing) {
    for (int for_ever = 0; for_ever < 2; for_ever++)
        for (int64_t n = 1;; n++) {
            fault_host faults;
            quern_device *device = NULL;
            quern_verify_result r;
            fault_host_begin(&faults, NULL);
            REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU,
                                                                         .thread_count = 1,
                                                                         .host = faults.host}));
            const quern_verify_desc desc = desc_of(PLANT_NOTHING, device);
            faults.count[FAULT_ALLOCATE] = 0;
            faults.fault[FAULT_ALLOCATE] = (fault){.at = n, .for_ever = for_ever};
            const quern_status status = quern_verify(&r, &desc);
            const bool fired = fault_host_fired(&faults, FAULT_ALLOCATE);
            quern_device_destroy(device);
            REQUIRE(fault_host_live(&faults) == 0);
            if (!fired) {
                CHECK_STATUS(status, QUERN_OK);
                CHECK(n > 50);
                break;
            }
            CHECK(status == QUERN_HOST_MEMORY || status == QUERN_DEVICE_MEMORY);
        }
}
