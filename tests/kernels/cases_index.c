/* cases_index.c - copies, rows by index, and the counts. */
#include "op_case.h"

void op_cases_contiguous(void) {
    static const op_tensor shapes[] = {{DIMS(1)},          {SCALAR},        {DIMS(31)},
                                       {DIMS(5, 33)},      {DIMS(0, 3)},    {DIMS(3, 1, 4)},
                                       {DIMS(2, 3, 4, 5)}, {DIMS(129, 128)}};
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
        op_case c = {.label = i % 2 == 1 ? "strided" : "row-major"};
        c.in[0] = c.out[0] = shapes[i / 2];
        c.in[0].strided = i % 2 == 1;
        op_check(&c);
    }
    /* from one layout of images to the other, by squares and not; the last is as it was */
    static const op_tensor images[] = {{DIMS(2, 3, 5, 7)}, {DIMS(2, 33, 5, 7)},
                                       {DIMS(1, 8, 2, 4)}, {DIMS(3, 65, 3, 1)},
                                       {DIMS(2, 1, 4, 5)}, {DIMS(0, 9, 4, 5)}};
    for (size_t i = 0; i < 3 * sizeof images / sizeof *images; i++) {
        op_case c = {.label = i % 3 == 0 ? "to channels last" : "from channels last"};
        c.in[0] = c.out[0] = images[i / 3];
        c.in[0].channels_last = i % 3 > 0;
        c.out[0].channels_last = i % 3 != 1;
        op_check(&c);
    }
    op_check(&(op_case){
        .label = "I32",
        .in = {{DIMS(3, 4), .domain = OP_INDEX, .below = 9, .dtype = QUERN_I32, .strided = true}},
        .out = {{DIMS(3, 4), .dtype = QUERN_I32}}});
}

void op_cases_concat(void) {
    static const quern_concat_desc first = {0}, second = {1};
    op_check(&(op_case){.label = "rows",
                        .attributes = &first,
                        .input_count = 3,
                        .in = {{DIMS(2, 5)}, {DIMS(0, 5)}, {DIMS(31, 5)}},
                        .out = {{DIMS(33, 5)}}});
    op_check(&(op_case){.label = "columns",
                        .attributes = &second,
                        .input_count = 3,
                        .in = {{DIMS(3, 1)}, {DIMS(3, 31)}, {DIMS(3, 33)}},
                        .out = {{DIMS(3, 65)}}});
    op_check(&(op_case){.label = "channels",
                        .attributes = &second,
                        .input_count = 2,
                        .in = {{DIMS(2, 3, 4, 5)}, {DIMS(2, 1, 4, 5), .no_gradient = true}},
                        .out = {{DIMS(2, 4, 4, 5)}}});
    op_check(&(op_case){.label = "one part",
                        .attributes = &first,
                        .input_count = 1,
                        .in = {{DIMS(7)}},
                        .out = {{DIMS(7)}}});
    op_check(&(op_case){.label = "past a chunk",
                        .attributes = &second,
                        .input_count = 2,
                        .in = {{DIMS(1025, 16)}, {DIMS(1025, 3)}},
                        .out = {{DIMS(1025, 19)}}});
    op_check(&(op_case){.label = "empty batch",
                        .attributes = &second,
                        .input_count = 2,
                        .in = {{DIMS(0, 2)}, {DIMS(0, 3)}},
                        .out = {{DIMS(0, 5)}}});
}

#define INDEX(limit, ...)                                                                          \
    { DIMS(__VA_ARGS__), .domain = OP_INDEX, .below = (limit), .dtype = QUERN_I32 }

static void rows(void) {
    op_check(&(op_case){
        .label = "repeated rows", .in = {{DIMS(7, 33)}, INDEX(7, 31)}, .out = {{DIMS(31, 33)}}});
    op_check(&(op_case){.label = "index of two axes",
                        .in = {{DIMS(5, 3)}, INDEX(5, 2, 4)},
                        .out = {{DIMS(2, 4, 3)}}});
    op_check(
        &(op_case){.label = "no index", .in = {{DIMS(5, 3)}, INDEX(5, 0)}, .out = {{DIMS(0, 3)}}});
    op_check(&(op_case){.label = "past a block of columns",
                        .in = {{DIMS(3, 1025)}, INDEX(3, 17)},
                        .out = {{DIMS(17, 1025)}}});
    op_check(&(op_case){.label = "many rows of a large table",
                        .in = {{DIMS(300, 5)}, INDEX(300, 2500)},
                        .out = {{DIMS(2500, 5)}}});
    op_check(
        &(op_case){.label = "one row", .in = {{DIMS(1, 1)}, INDEX(1, 33)}, .out = {{DIMS(33, 1)}}});
}

void op_cases_embedding(void) { rows(); }

void op_cases_gather(void) {
    rows();
    op_check(&(op_case){
        .label = "single elements", .in = {{DIMS(9)}, INDEX(9, 31)}, .out = {{DIMS(31)}}});
    op_check(&(op_case){.label = "rows of two axes",
                        .in = {{DIMS(4, 2, 3)}, INDEX(4, 6)},
                        .out = {{DIMS(6, 2, 3)}}});
}

void op_cases_valid_count(void) {
    static const quern_valid_count_desc all = {0}, ignore = {.ignore = true, .ignore_index = 2};
    op_check(
        &(op_case){.label = "all", .attributes = &all, .in = {INDEX(5, 33)}, .out = {{SCALAR}}});
    op_check(&(op_case){
        .label = "ignore", .attributes = &ignore, .in = {INDEX(5, 33)}, .out = {{SCALAR}}});
    op_check(&(op_case){
        .label = "empty", .attributes = &ignore, .in = {INDEX(5, 0)}, .out = {{SCALAR}}});
}

void op_cases_element_count(void) {
    op_check(&(op_case){.label = "some", .in = {{DIMS(3, 5)}}, .out = {{SCALAR}}});
    op_check(&(op_case){.label = "none", .in = {{DIMS(0, 5)}}, .out = {{SCALAR}}});
}

void op_cases_top_k_correct(void) {
    for (int32_t k = 1; k <= 5; k += 2) {
        const quern_top_k_correct_desc d = {.k = k, .ignore = k == 3, .ignore_index = 1};
        op_check(&(op_case){.label = "rows",
                            .attributes = &d,
                            .in = {{DIMS(33, 7), .domain = OP_DISTINCT}, INDEX(7, 33)},
                            .out = {{SCALAR}}});
        op_check(&(op_case){.label = "empty",
                            .attributes = &d,
                            .in = {{DIMS(0, 7)}, INDEX(7, 0)},
                            .out = {{SCALAR}}});
    }
}

void op_cases_confusion_matrix(void) {
    for (int32_t ignore = 0; ignore <= 1; ignore++) {
        const quern_confusion_matrix_desc d = {.ignore = ignore == 1, .ignore_index = 2};
        op_check(&(op_case){.label = "rows",
                            .attributes = &d,
                            .in = {{DIMS(33, 5), .domain = OP_DISTINCT}, INDEX(5, 33)},
                            .out = {{DIMS(5, 5)}}});
        op_check(&(op_case){.label = "empty",
                            .attributes = &d,
                            .in = {{DIMS(0, 3)}, INDEX(3, 0)},
                            .out = {{DIMS(3, 3)}}});
    }
}

void op_cases_regression_sums(void) {
    static const int64_t counts[] = {0, 1, 31, 33, 16384, 40001};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        op_check(&(op_case){.label = "row",
                            .in = {{DIMS(counts[i])}, {DIMS(counts[i]), .offset = 1}},
                            .out = {{DIMS(4), .dtype = QUERN_F64}}});
    op_check(&(op_case){.label = "matrix",
                        .in = {{DIMS(7, 5)}, {DIMS(7, 5)}},
                        .out = {{DIMS(4), .dtype = QUERN_F64}}});
}
