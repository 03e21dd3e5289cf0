/* cases_elementwise.c - ops that work element by element, with broadcasting where they have it. */
#include "op_case.h"

/* One element, odd sizes, one past a vector, none at all, several axes, one past a chunk. */
static const op_tensor shapes[] = {{DIMS(1)},       {SCALAR},          {DIMS(31)},  {DIMS(33)},
                                   {DIMS(2, 3, 5)}, {DIMS(0, 7)},      {DIMS(257)}, {DIMS(16385)},
                                   {DIMS(3, 5462)}, {DIMS(2, 3, 3, 5)}};
static const char *const labels[] = {"1",   "scalar", "31",    "33",     "2x3x5",
                                     "0x7", "257",    "16385", "3x5462", "2x3x3x5"};

static void unary(op_domain domain, double offset, const void *attributes, bool evaluation) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        op_case c = {.label = labels[i], .attributes = attributes, .evaluation = evaluation};
        c.in[0] = c.out[0] = shapes[i];
        c.in[0].domain = domain;
        c.in[0].offset = offset;
        op_check(&c);
    }
}

void op_cases_scale(void) {
    unary(OP_ANY, 0, &(quern_scale_desc){.factor = 1.5f, .offset = -0.25f}, false);
    unary(OP_ANY, 0, &(quern_scale_desc){.factor = QUERN_ZERO, .offset = 2}, false);
}
void op_cases_neg(void) { unary(OP_ANY, 0, NULL, false); }
void op_cases_exp(void) { unary(OP_ANY, 0, NULL, false); }
void op_cases_log(void) { unary(OP_POSITIVE, 0, NULL, false); }
void op_cases_sqrt(void) { unary(OP_POSITIVE, 0, NULL, false); }
void op_cases_relu(void) { unary(OP_AWAY_FROM_ZERO, 0, NULL, false); }
void op_cases_sigmoid(void) { unary(OP_ANY, 0, NULL, false); }
void op_cases_tanh(void) { unary(OP_ANY, 0, NULL, false); }
void op_cases_silu(void) { unary(OP_ANY, 0, NULL, false); }

void op_cases_clamp(void) { /* the borders at 0 + 0.75 and -3: off every value */
    unary(OP_AWAY_FROM_ZERO, 0.75, &(quern_clamp_desc){.low = -3, .high = 0.75f}, false);
    unary(OP_AWAY_FROM_ZERO, -0.5, &(quern_clamp_desc){.low = -0.5f, .high = 4}, false);
}

void op_cases_leaky_relu(void) {
    unary(OP_AWAY_FROM_ZERO, 0, &(quern_leaky_relu_desc){.slope = 0.125f}, false);
    unary(OP_AWAY_FROM_ZERO, 0, &(quern_leaky_relu_desc){.slope = 0.01f}, false);
}

void op_cases_gelu(void) {
    unary(OP_ANY, 0, &(quern_gelu_desc){.tanh = false}, false);
    unary(OP_ANY, 0, &(quern_gelu_desc){.tanh = true}, false);
}

void op_cases_dropout(void) {
    unary(OP_ANY, 0, &(quern_dropout_desc){.probability = 0.25f}, false);
    unary(OP_ANY, 0, &(quern_dropout_desc){.probability = 0}, false);
    unary(OP_ANY, 0, &(quern_dropout_desc){.probability = 0.9f}, true);
}

void op_cases_cast(void) {
    static const quern_cast_desc f32 = {QUERN_F32}, f64 = {QUERN_F64}, i32 = {QUERN_I32};
    /* The real type to F64: in the F64 run a copy. To F32 in the F64 run there is no such case:
     * F32 here means the type under test. */
    op_check(&(op_case){.label = "to F64",
                        .attributes = &f64,
                        .in = {{DIMS(5, 33)}},
                        .out = {{DIMS(5, 33), .dtype = QUERN_F64}}});
    op_check(&(op_case){.label = "images",
                        .attributes = &f64,
                        .in = {{DIMS(2, 3, 3, 5)}},
                        .out = {{DIMS(2, 3, 3, 5), .dtype = QUERN_F64}}});
    op_check(&(op_case){.label = "F64 to real",
                        .attributes = &f32,
                        .in = {{DIMS(16385), .dtype = QUERN_F64}},
                        .out = {{DIMS(16385)}}});
    op_check(&(op_case){.label = "to I32",
                        .attributes = &i32,
                        .in = {{DIMS(33), .no_gradient = true}},
                        .out = {{DIMS(33), .dtype = QUERN_I32}}});
    op_check(&(op_case){.label = "from U8",
                        .attributes = &f32,
                        .in = {{DIMS(33), .domain = OP_INDEX, .below = 256, .dtype = QUERN_U8}},
                        .out = {{DIMS(33)}}});
    op_check(&(op_case){.label = "empty",
                        .attributes = &f64,
                        .in = {{DIMS(0, 3)}},
                        .out = {{DIMS(0, 3), .dtype = QUERN_F64}}});
}

typedef struct pair {
    const char *label;
    op_tensor a, b, y;
} pair;

static const pair pairs[] = {
    {"same", {DIMS(31)}, {DIMS(31)}, {DIMS(31)}},
    {"same, past a chunk", {DIMS(3, 5462)}, {DIMS(3, 5462)}, {DIMS(3, 5462)}},
    {"one element", {DIMS(1)}, {DIMS(1)}, {DIMS(1)}},
    {"images", {DIMS(2, 3, 3, 5)}, {DIMS(2, 3, 3, 5)}, {DIMS(2, 3, 3, 5)}},
    {"scalars", {SCALAR}, {SCALAR}, {SCALAR}},
    {"a row to rows", {DIMS(5, 33)}, {DIMS(33)}, {DIMS(5, 33)}},
    {"rows to a row", {DIMS(33)}, {DIMS(5, 33)}, {DIMS(5, 33)}},
    {"a column to columns", {DIMS(5, 33)}, {DIMS(5, 1)}, {DIMS(5, 33)}},
    {"row and column", {DIMS(1, 33)}, {DIMS(7, 1)}, {DIMS(7, 33)}},
    {"channels", {DIMS(2, 3, 4, 5)}, {DIMS(3, 1, 1)}, {DIMS(2, 3, 4, 5)}},
    {"a scalar", {DIMS(4, 9)}, {SCALAR}, {DIMS(4, 9)}},
    {"a scalar first", {DIMS(1)}, {DIMS(4, 9)}, {DIMS(4, 9)}},
    {"outer and inner", {DIMS(3, 1, 5)}, {DIMS(1, 4, 1)}, {DIMS(3, 4, 5)}},
    {"alternating", {DIMS(2, 1, 3, 1)}, {DIMS(1, 2, 1, 300)}, {DIMS(2, 2, 3, 300)}},
    {"no rows", {DIMS(0, 7)}, {DIMS(7)}, {DIMS(0, 7)}},
    {"no columns", {DIMS(7, 0)}, {DIMS(7, 1)}, {DIMS(7, 0)}},
    {"sliced sum of all", {DIMS(70001)}, {DIMS(1)}, {DIMS(70001)}},
    {"sliced sum of rows", {DIMS(7001, 10)}, {DIMS(10)}, {DIMS(7001, 10)}},
};

static void binary(op_domain a, op_domain b) {
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        op_case c = {.label = pairs[i].label, .in = {pairs[i].a, pairs[i].b}};
        c.out[0] = pairs[i].y;
        c.in[0].domain = a;
        c.in[1].domain = b;
        op_check(&c);
    }
}

void op_cases_add(void) { binary(OP_ANY, OP_ANY); }
void op_cases_sub(void) { binary(OP_ANY, OP_ANY); }
void op_cases_mul(void) { binary(OP_ANY, OP_ANY); }
void op_cases_div(void) { binary(OP_ANY, OP_POSITIVE); }
void op_cases_pow(void) { binary(OP_POSITIVE, OP_ANY); }

void op_cases_prelu(void) {
    static const pair cases[] = {
        {"per channel", {DIMS(2, 3, 4, 5)}, {DIMS(3)}, {DIMS(2, 3, 4, 5)}},
        {"one weight", {DIMS(2, 3, 4)}, {DIMS(1)}, {DIMS(2, 3, 4)}},
        {"features", {DIMS(33, 31)}, {DIMS(31)}, {DIMS(33, 31)}},
        {"one channel", {DIMS(5, 1, 7)}, {DIMS(1)}, {DIMS(5, 1, 7)}},
        {"one axis", {DIMS(33)}, {DIMS(1)}, {DIMS(33)}},
        {"empty", {DIMS(0, 3, 2)}, {DIMS(3)}, {DIMS(0, 3, 2)}},
        {"sliced", {DIMS(7001, 10)}, {DIMS(10)}, {DIMS(7001, 10)}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case c = {.label = cases[i].label, .in = {cases[i].a, cases[i].b}};
        c.out[0] = cases[i].y;
        c.in[0].domain = OP_AWAY_FROM_ZERO;
        op_check(&c);
    }
}
