/* op_table.c - the rows of ops.def as quern_op constants. */
#include "shapes.h"

#include "../../kernels/op_row.h"

/* how many inputs, how many of them optional; how many outputs; bytes of the attributes */
#define IN1(a) 1, 0
#define IN2(a, b) 2, 0
#define IN3_OPT1(a, b, c) 3, 1
#define IN4_OPT1(a, b, c, d) 4, 1
#define IN5(a, b, c, d, e) 5, 0
#define IN_LIST(a) QUERN_INPUT_MAX, QUERN_INPUT_MAX - 1
#define OUT1(a) 1
#define OUT2(a, b) 2
#define OUT3(a, b, c) 3
#define BYTES_DESC(name) sizeof(quern_##name##_desc)
#define BYTES_NO_DESC(name) 0
#define BYTES_FUSED(name) 0
#define shape_fused NULL /* its output is the last op's, which has had its rule */

#define ROW(op_name, op_formula, bytes, inputs, optionals, outputs, reads, op_flags, rule)         \
    {.name = op_name,                                                                              \
     .formula = op_formula,                                                                        \
     .attribute_bytes = bytes,                                                                     \
     .input_count = inputs,                                                                        \
     .optional_count = optionals,                                                                  \
     .output_count = outputs,                                                                      \
     .backward_reads = reads,                                                                      \
     .flags = op_flags,                                                                            \
     .shape = rule},
#define ROW_OF(...) ROW(__VA_ARGS__)
#define QUERN_OP(name, desc, in, out, reads, flags, rule, formula)                                 \
    ROW_OF(#name, formula, BYTES_##desc(name), in, out, reads, flags, shape_##rule)

static const quern_op ops[QUERN_OP_ID_COUNT] = {
#include <quern/ops.def>
};

const quern_op *graph_op(int32_t builtin) { return &ops[builtin]; }
