/* op_case.h - one op on one set of shapes, and everything that must hold of it.
 *
 * A file of cases defines `void op_cases_<op>(void)` for each of its ops, which calls op_check once
 * a case. op_cases.def has a row for every op; a row without its function stops the link, an op
 * without a row the build.
 *
 *     void op_cases_add(void) {
 *         op_check(&(op_case){.label = "a row to every row",
 *                             .in = {{DIMS(3, 33)}, {DIMS(33)}},
 *                             .out = {{DIMS(3, 33)}}});
 *     }
 *
 * op_check runs the kernel of the CPU backend in F64 and F32 and checks (DESIGN 9):
 *   gradients   F64 against central differences, sign included
 *   precision   F32 against F64, forward and backward, within the row's tolerances
 *   bits        again, and with 1, 2 and 3 threads: the same bits
 *   writes      outputs, saved and scratch start as NaN; guard bands around each buffer stay
 *   accumulate  adds exactly once to what was there; each input wanted alone gives the same bits
 *   in place    where the op's row allows it: the same bits as out of place
 * An op with NO_GRADIENT gets everything but the gradients; op_run gives its results for a
 * comparison with naive truth. */
#ifndef QUERN_TESTS_KERNELS_OP_CASE_H
#define QUERN_TESTS_KERNELS_OP_CASE_H

#include "kernels/backend.h"
#include "quern_test.h"

#define DIMS(...)                                                                                  \
    .rank = (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = {__VA_ARGS__}
#define SCALAR .rank = 0

typedef enum op_domain {
    OP_ANY,            /* uniform in [-2, 2] */
    OP_POSITIVE,       /* [0.5, 2] */
    OP_AWAY_FROM_ZERO, /* [-2, -0.1] and [0.1, 2]: for kinks at zero */
    OP_DISTINCT,       /* a shuffled grid, no two closer than 1/256: for max, sort, pooling */
    OP_PROBABILITY,    /* [0.05, 0.95] */
    OP_INDEX,          /* I32, 0 … below - 1 */
} op_domain;

typedef struct op_tensor {
    int32_t rank;
    int64_t dim[QUERN_RANK_MAX];
    op_domain domain;
    int64_t below;        /* OP_INDEX */
    const double *values; /* these instead of the domain's, row-major */
    double offset;        /* added to the domain's values */
    quern_dtype dtype;    /* F32: the real type under test; others: exactly this (indices: I32) */
    bool absent;          /* an optional input that is not there */
    bool no_gradient;     /* input: never wanted; output: no loss reaches it (grad_out NULL) */
    bool strided;         /* stored column-major with gaps: for STRIDED ops */
    bool channels_last;   /* images stored as (N, H, W, C) */
} op_tensor;

typedef struct op_case {
    const char *label;
    const void *attributes; /* resolved, as the shape rule leaves them */
    op_tensor in[QUERN_INPUT_MAX], out[QUERN_OUTPUT_MAX];
    int32_t input_count, output_count; /* 0: as the op's row says */
    bool evaluation;                   /* args.training is false */
    bool tf32;                         /* args.tf32 */
    bool no_differences;               /* the loss is not smooth here; say why beside it */
    bool rounds_between; /* in 16 bits it rounds what the ops that it stands for store, too */
    double forward_tolerance, backward_tolerance; /* F32 against F64; 0: the row's */
} op_case;

/* Checks a case of the op whose op_cases_<op> is running. */
void op_check(const op_case *c);

/* Runs forward in `real` (F32 or F64) on one thread and copies output 0 to out[count] as
 * doubles. Returns the kernel's status. */
quern_status op_run(quern_op_id op, const op_case *c, quern_dtype real, double *out, int64_t count);

/* The same for the gradient of `input`, of the loss that is the sum of all outputs. */
quern_status op_run_gradient(quern_op_id op, const op_case *c, quern_dtype real, int32_t input,
                             double *out, int64_t count);

#endif
