/* cases_axis.c - ops along axes: softmax, reductions, argmax. */
#include "op_case.h"

typedef struct axis_case {
    const char *label;
    op_tensor x, y;
    int32_t axis_count, axes[QUERN_RANK_MAX];
} axis_case;

static const axis_case softmaxes[] = {
    {"last of 2", {DIMS(5, 33)}, {DIMS(5, 33)}, 1, {1}},
    {"one value", {DIMS(3, 1)}, {DIMS(3, 1)}, 1, {1}},
    {"only axis", {DIMS(31)}, {DIMS(31)}, 1, {0}},
    {"first", {DIMS(33, 5)}, {DIMS(33, 5)}, 1, {0}},
    {"middle", {DIMS(2, 7, 9)}, {DIMS(2, 7, 9)}, 1, {1}},
    {"middle, past a tile", {DIMS(2, 3, 65)}, {DIMS(2, 3, 65)}, 1, {1}},
    {"past a block", {DIMS(3, 257)}, {DIMS(3, 257)}, 1, {1}},
    {"past a chunk", {DIMS(5462, 3)}, {DIMS(5462, 3)}, 1, {1}},
    {"long row", {DIMS(1, 16385)}, {DIMS(1, 16385)}, 1, {1}},
    {"no rows", {DIMS(0, 7)}, {DIMS(0, 7)}, 1, {1}},
};

static void softmax(double offset) {
    for (size_t i = 0; i < sizeof softmaxes / sizeof *softmaxes; i++) {
        const quern_axis_desc axis = {.axis = softmaxes[i].axes[0]};
        op_case c = {.label = softmaxes[i].label, .attributes = &axis};
        c.in[0] = softmaxes[i].x;
        c.in[0].offset = offset;
        c.out[0] = softmaxes[i].y;
        op_check(&c);
    }
}

void op_cases_softmax(void) {
    softmax(0);
    softmax(100); /* e^100 alone would overflow in F32 */
}

void op_cases_log_softmax(void) { softmax(0); }

static const axis_case reductions[] = {
    {"scalar", {SCALAR}, {SCALAR}, 0, {0}},
    {"all of 31", {DIMS(31)}, {SCALAR}, 1, {0}},
    {"one", {DIMS(1)}, {SCALAR}, 1, {0}},
    {"rows", {DIMS(5, 33)}, {DIMS(5)}, 1, {1}},
    {"columns", {DIMS(5, 33)}, {DIMS(33)}, 1, {0}},
    {"columns, past a tile", {DIMS(3, 129)}, {DIMS(129)}, 1, {0}},
    {"kept axes", {DIMS(5, 33)}, {DIMS(5, 1)}, 1, {1}},
    {"middle", {DIMS(2, 7, 9)}, {DIMS(2, 9)}, 1, {1}},
    {"outer two", {DIMS(2, 7, 9)}, {DIMS(9)}, 2, {0, 1}},
    {"channels", {DIMS(3, 4, 5, 6)}, {DIMS(4)}, 3, {0, 2, 3}},
    {"first and last", {DIMS(3, 4, 5)}, {DIMS(4)}, 2, {0, 2}},
    {"all of 4 axes", {DIMS(2, 3, 2, 5)}, {SCALAR}, 4, {0, 1, 2, 3}},
    {"past a run", {DIMS(2, 257)}, {DIMS(2)}, 1, {1}},
    {"many targets", {DIMS(5462, 4)}, {DIMS(5462)}, 1, {1}},
    {"sliced", {DIMS(70001)}, {SCALAR}, 1, {0}},
    {"sliced columns", {DIMS(7001, 10)}, {DIMS(10)}, 1, {0}},
    {"no rows", {DIMS(0, 7)}, {DIMS(0)}, 1, {1}},
};

static void reduction(op_domain domain) {
    for (size_t i = 0; i < sizeof reductions / sizeof *reductions; i++) {
        quern_reduce_desc d = {.axis_count = reductions[i].axis_count};
        for (int32_t k = 0; k < d.axis_count; k++) d.axes[k] = reductions[i].axes[k];
        op_case c = {.label = reductions[i].label, .attributes = &d};
        c.in[0] = reductions[i].x;
        c.in[0].domain = domain;
        c.out[0] = reductions[i].y;
        op_check(&c);
    }
}

void op_cases_sum(void) {
    reduction(OP_ANY);
    op_check(&(op_case){.label = "of nothing",
                        .attributes = &(quern_reduce_desc){.axis_count = 1},
                        .in = {{DIMS(0, 7)}},
                        .out = {{DIMS(7)}}});
}
void op_cases_mean(void) { reduction(OP_ANY); }
void op_cases_max(void) { reduction(OP_DISTINCT); }
void op_cases_min(void) { reduction(OP_DISTINCT); }

void op_cases_argmax(void) {
    static const axis_case cases[] = {
        {"rows", {DIMS(5, 33)}, {DIMS(5)}, 1, {1}},
        {"columns", {DIMS(5, 33)}, {DIMS(33)}, 1, {0}},
        {"middle", {DIMS(2, 7, 9)}, {DIMS(2, 9)}, 1, {1}},
        {"one", {DIMS(1)}, {SCALAR}, 1, {0}},
        {"no rows", {DIMS(0, 7)}, {DIMS(0)}, 1, {1}},
        {"past a chunk", {DIMS(5462, 4)}, {DIMS(5462)}, 1, {1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const quern_axis_desc axis = {.axis = cases[i].axes[0]};
        op_case c = {.label = cases[i].label, .attributes = &axis, .in = {cases[i].x}};
        c.in[0].domain = OP_DISTINCT;
        c.out[0] = cases[i].y;
        c.out[0].dtype = QUERN_I32;
        op_check(&c);
    }
}
