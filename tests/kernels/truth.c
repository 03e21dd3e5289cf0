/* truth.c - kernels against values written down or computed naively here: what a comparison of a
 * kernel with itself cannot see (F32 against F64, gradients of forward). */
#include "host/base/random.h"
#include "op_case.h"
#include <math.h>
#include <stdlib.h>

#define COUNT(array) ((int64_t)(sizeof(array) / sizeof *(array)))
static const quern_dtype reals[] = {QUERN_F64, QUERN_F32};

static void expect_gradient(quern_op_id op, const op_case *c, int32_t input, const double *expected,
                            int64_t count) {
    double out[64];
    for (size_t r = 0; r < 2; r++) {
        REQUIRE(count <= COUNT(out));
        REQUIRE_OK(op_run_gradient(op, c, reals[r], input, out, count));
        for (int64_t i = 0; i < count; i++)
            CHECK_SAY(out[i] == expected[i], "%s: gradient %lld is %.9g, expected %.9g (%s)",
                      c->label, (long long)i, out[i], expected[i], quern_dtype_name(reals[r]));
    }
}

/* Output 0 is `expected`, in both real types; NaN where NaN is expected. */
static void expect(quern_op_id op, const op_case *c, const double *expected, int64_t count,
                   double tolerance) {
    double out[64];
    for (size_t r = 0; r < 2; r++) {
        REQUIRE(count <= COUNT(out));
        REQUIRE_OK(op_run(op, c, reals[r], out, count));
        for (int64_t i = 0; i < count; i++) {
            const bool same =
                out[i] == expected[i] || (out[i] != out[i] && expected[i] != expected[i]);
            CHECK_SAY(same || fabs(out[i] - expected[i]) <= tolerance,
                      "%s: element %lld is %.9g, expected %.9g (%s)", c->label, (long long)i,
                      out[i], expected[i], quern_dtype_name(reals[r]));
        }
    }
}

#define EXPECT_GRADIENT(op, input, expected, ...)                                                  \
    expect_gradient(QUERN_OP_ID_##op, &(op_case){.label = #op, __VA_ARGS__}, input, expected,      \
                    COUNT(expected))
#define EXPECT(op, expected, tolerance, ...)                                                       \
    expect(QUERN_OP_ID_##op, &(op_case){.label = #op, __VA_ARGS__}, expected, COUNT(expected),     \
           tolerance)

static const double some[] = {-2, -0.5, 0, 0.5, 3, NAN};
#define SOME .in = {{DIMS(6), .values = some}}, .out = {{DIMS(6)}}

TEST_CASE(OpTruth, unary_ops) {
    EXPECT(exp, ((double[]){0.1353352832, 0.6065306597, 1, 1.6487212707, 20.0855369232, NAN}), 1e-5,
           SOME);
    EXPECT(log, ((double[]){NAN, NAN, -INFINITY, -0.6931471806, 1.0986122887, NAN}), 1e-6, SOME);
    EXPECT(sqrt, ((double[]){NAN, NAN, 0, 0.7071067812, 1.7320508076, NAN}), 1e-6, SOME);
    EXPECT(neg, ((double[]){2, 0.5, 0, -0.5, -3, NAN}), 0, SOME);
    EXPECT(relu, ((double[]){0, 0, 0, 0.5, 3, NAN}), 0, SOME);
    EXPECT(sigmoid, ((double[]){0.1192029220, 0.3775406688, 0.5, 0.6224593312, 0.9525741268, NAN}),
           1e-6, SOME);
    EXPECT(tanh, ((double[]){-0.9640275801, -0.4621171573, 0, 0.4621171573, 0.9950547537, NAN}),
           1e-6, SOME);
    EXPECT(silu, ((double[]){-0.2384058440, -0.1887703344, 0, 0.3112296656, 2.8577223804, NAN}),
           1e-6, SOME);
    EXPECT(scale, ((double[]){-3, 0, 1, 2, 7, NAN}), 0, SOME,
           .attributes = &(quern_scale_desc){.factor = 2, .offset = 1});
    EXPECT(clamp, ((double[]){-1, -0.5, 0, 0.5, 2, NAN}), 0, SOME,
           .attributes = &(quern_clamp_desc){.low = -1, .high = 2});
    EXPECT(leaky_relu, ((double[]){-0.5, -0.125, 0, 0.5, 3, NAN}), 0, SOME,
           .attributes = &(quern_leaky_relu_desc){.slope = 0.25f});
    EXPECT(gelu, ((double[]){-0.0455002639, -0.1542687694, 0, 0.3457312306, 2.9959503059, NAN}),
           1e-6, SOME, .attributes = &(quern_gelu_desc){0});
    EXPECT(gelu, ((double[]){-0.0454023059, -0.1542859972, 0, 0.3457140028, 2.9963625988, NAN}),
           1e-6, SOME, .attributes = &(quern_gelu_desc){.tanh = true});
}

static const double left[] = {1, -2, 0, 4}, right[] = {2, 0.5, 3, -2};
#define PAIR                                                                                       \
    .in = {{DIMS(2, 2), .values = left}, {DIMS(2, 2), .values = right}}, .out = {{DIMS(2, 2)}}

TEST_CASE(OpTruth, binary_ops) {
    EXPECT(add, ((double[]){3, -1.5, 3, 2}), 0, PAIR);
    EXPECT(sub, ((double[]){-1, -2.5, -3, 6}), 0, PAIR);
    EXPECT(mul, ((double[]){2, -1, 0, -8}), 0, PAIR);
    EXPECT(div, ((double[]){0.5, -4, 0, -2}), 0, PAIR);
    EXPECT(pow, ((double[]){1, NAN, 0, 0.0625}), 1e-6, PAIR);
    EXPECT(sub, ((double[]){-1, 0.5, -4, -2.5, -2, -0.5, 2, 3.5}), 0,
           .in = {{DIMS(4, 1), .values = left}, {DIMS(2), .values = right}}, .out = {{DIMS(4, 2)}});
    EXPECT(prelu, ((double[]){1, -1, 0, 4}), 0,
           .in = {{DIMS(2, 2), .values = left}, {DIMS(2), .values = right}}, .out = {{DIMS(2, 2)}});
}

static const double grid[] = {1, 5, 5, -2, NAN, 0}; /* rows (1, 5, 5) and (-2, NaN, 0) */
#define ROWS(...) .in = {{DIMS(2, 3), .values = grid}}, .out = {{__VA_ARGS__}}
static const quern_reduce_desc last_axis = {.axis_count = 1, .axes = {1}};
static const quern_reduce_desc first_axis = {.axis_count = 1, .axes = {0}};

TEST_CASE(OpTruth, reductions_let_nan_win) {
    EXPECT(max, ((double[]){5, NAN}), 0, ROWS(DIMS(2)), .attributes = &last_axis);
    EXPECT(min, ((double[]){1, NAN}), 0, ROWS(DIMS(2)), .attributes = &last_axis);
    EXPECT(sum, ((double[]){11, NAN}), 0, ROWS(DIMS(2)), .attributes = &last_axis);
    EXPECT(max, ((double[]){1, NAN, 5}), 0, ROWS(DIMS(3)), .attributes = &first_axis);
    EXPECT(mean, ((double[]){-0.5, NAN, 2.5}), 0, ROWS(DIMS(3)), .attributes = &first_axis);
    EXPECT(argmax, ((double[]){1, 1}), 0, ROWS(DIMS(2), .dtype = QUERN_I32),
           .attributes = &(quern_axis_desc){.axis = 1});
    EXPECT(argmax, ((double[]){0, 1, 0}), 0, ROWS(DIMS(3), .dtype = QUERN_I32),
           .attributes = &(quern_axis_desc){.axis = 0});
}

/* Where the op has a kink, differences say nothing: the convention is written down here. */
TEST_CASE(OpTruth, gradients_at_kinks_and_ties) {
    static const double ties[] = {1, 5, 5, -2, -2, 0}, borders[] = {-1, 0, 0.5, 1};
    EXPECT_GRADIENT(max, 0, ((double[]){0, 0.5, 0.5, 0, 0, 1}), .attributes = &last_axis,
                    .in = {{DIMS(2, 3), .values = ties}}, .out = {{DIMS(2)}});
    EXPECT_GRADIENT(min, 0, ((double[]){1, 0, 0, 0.5, 0.5, 0}), .attributes = &last_axis,
                    .in = {{DIMS(2, 3), .values = ties}}, .out = {{DIMS(2)}});
    EXPECT_GRADIENT(max, 0, ((double[]){0, 0.5, 0.5, 0, 1, 0}), .attributes = &last_axis,
                    .in = {{DIMS(2, 3), .values = grid}}, .out = {{DIMS(2)}});
    EXPECT_GRADIENT(relu, 0, ((double[]){0, 0, 1, 1}), .in = {{DIMS(4), .values = borders}},
                    .out = {{DIMS(4)}});
    EXPECT_GRADIENT(leaky_relu, 0, ((double[]){0.25, 0.25, 1, 1}),
                    .attributes = &(quern_leaky_relu_desc){.slope = 0.25f},
                    .in = {{DIMS(4), .values = borders}}, .out = {{DIMS(4)}});
    EXPECT_GRADIENT(clamp, 0, ((double[]){0, 1, 1, 0}),
                    .attributes = &(quern_clamp_desc){.low = 0, .high = 0.5f},
                    .in = {{DIMS(4), .values = borders}}, .out = {{DIMS(4)}});
    EXPECT_GRADIENT(pow, 0, ((double[]){0, 1, 0, 6}),
                    .in = {{DIMS(4), .values = (double[]){0, 0, 2, 3}},
                           {DIMS(4), .values = (double[]){0, 1, 0, 2}}},
                    .out = {{DIMS(4)}});
    EXPECT_GRADIENT(
        embedding, 0, ((double[]){1, 1, 0, 0, 2, 2}),
        .in = {{DIMS(3, 2)}, {DIMS(3), .values = (double[]){2, 0, 2}, .dtype = QUERN_I32}},
        .out = {{DIMS(3, 2)}});
}

TEST_CASE(OpTruth, reductions_of_nothing) {
    EXPECT(sum, ((double[]){0, 0}), 0, .in = {{DIMS(0, 2)}}, .out = {{DIMS(2)}},
           .attributes = &first_axis);
    EXPECT(mean, ((double[]){NAN, NAN}), 0, .in = {{DIMS(0, 2)}}, .out = {{DIMS(2)}},
           .attributes = &first_axis);
    EXPECT(max, ((double[]){-INFINITY, -INFINITY}), 0, .in = {{DIMS(0, 2)}}, .out = {{DIMS(2)}},
           .attributes = &first_axis);
}

TEST_CASE(OpTruth, a_sum_is_exact_however_it_is_sliced) {
    double *x = malloc(70001 * sizeof *x), y = 0;
    REQUIRE(x != NULL);
    for (int64_t i = 0; i < 70001; i++) x[i] = (double)(i % 8 + 1);
    REQUIRE_OK(op_run(QUERN_OP_ID_sum,
                      &(op_case){.label = "sliced",
                                 .attributes = &(quern_reduce_desc){.axis_count = 1},
                                 .in = {{DIMS(70001), .values = x}},
                                 .out = {{SCALAR}}},
                      QUERN_F32, &y, 1));
    CHECK_NEAR(y, 8750 * 36.0 + 1, 0); /* 70000 = 8750 * 8, and one more 1 */
    free(x);
}

TEST_CASE(OpTruth, softmax_does_not_change_with_a_shift) {
    static const double x[] = {0, 1, 2}, shifted[] = {1000, 1001, 1002};
    const double y[] = {0.0900305732, 0.2447284711, 0.6652409558};
    const double logarithms[] = {-2.4076059644, -1.4076059644, -0.4076059644};
    const quern_axis_desc axis = {0};
    EXPECT(softmax, y, 1e-7, .in = {{DIMS(3), .values = x}}, .out = {{DIMS(3)}},
           .attributes = &axis);
    EXPECT(softmax, y, 1e-7, .in = {{DIMS(3), .values = shifted}}, .out = {{DIMS(3)}},
           .attributes = &axis);
    EXPECT(softmax, y, 1e-7, .in = {{DIMS(3, 1), .values = shifted}}, .out = {{DIMS(3, 1)}},
           .attributes = &axis);
    /* along an axis that is not the last: columns (1000, 1001, 1002) and (0, 1, 2) */
    EXPECT(softmax,
           ((double[]){0.0900305732, 0.0900305732, 0.2447284711, 0.2447284711, 0.6652409558,
                       0.6652409558}),
           1e-7, .in = {{DIMS(3, 2), .values = (double[]){1000, 0, 1001, 1, 1002, 2}}},
           .out = {{DIMS(3, 2)}}, .attributes = &axis);
    EXPECT(log_softmax, logarithms, 3e-7, .in = {{DIMS(3), .values = shifted}}, .out = {{DIMS(3)}},
           .attributes = &axis);
}

TEST_CASE(OpTruth, copies) {
    EXPECT(concat, ((double[]){1, -2, 2, 0, 4, 0.5}), 0,
           .attributes = &(quern_concat_desc){.axis = 1}, .input_count = 2,
           .in = {{DIMS(2, 2), .values = left}, {DIMS(2, 1), .values = right}},
           .out = {{DIMS(2, 3)}});
    EXPECT(contiguous, left, 0, .in = {{DIMS(2, 2), .values = left, .strided = true}},
           .out = {{DIMS(2, 2)}});
    EXPECT(gather, ((double[]){0, 4, 1, -2, 0, 4}), 0,
           .in = {{DIMS(2, 2), .values = left},
                  {DIMS(3), .values = (double[]){1, 0, 1}, .dtype = QUERN_I32}},
           .out = {{DIMS(3, 2)}});
}

TEST_CASE(OpTruth, casts_cut_towards_zero_and_saturate) {
    static const double x[] = {-2.75, 2.75, 3e9, -3e9, 300, NAN};
    EXPECT(cast, ((double[]){-2, 2, INT32_MAX, INT32_MIN, 300, 0}), 0,
           .attributes = &(quern_cast_desc){QUERN_I32},
           .in = {{DIMS(6), .values = x, .no_gradient = true}},
           .out = {{DIMS(6), .dtype = QUERN_I32}});
    EXPECT(cast, ((double[]){0, 2, 255, 0, 255, 0}), 0, .attributes = &(quern_cast_desc){QUERN_U8},
           .in = {{DIMS(6), .values = x, .no_gradient = true}},
           .out = {{DIMS(6), .dtype = QUERN_U8}});
    EXPECT(cast, ((double[]){-2, 2, 3e9, -3e9, 300, 0}), 0,
           .attributes = &(quern_cast_desc){QUERN_I64},
           .in = {{DIMS(6), .values = x, .no_gradient = true}},
           .out = {{DIMS(6), .dtype = QUERN_I64}});
}

static const double logits[] = {3, 1, 2, 0, 5, 5, NAN, 1, 9}; /* 3 rows of 3 classes */
static const double targets[] = {2, 2, 1};
#define CLASSES(...)                                                                               \
    .in = {{DIMS(3, 3), .values = logits}, {DIMS(3), .values = targets, .dtype = QUERN_I32}},      \
    .out = {{__VA_ARGS__}}

TEST_CASE(OpTruth, counts_and_metrics) {
    static const quern_top_k_correct_desc one = {.k = 1}, two = {.k = 2}, three = {.k = 3};
    static const quern_top_k_correct_desc ignoring = {.k = 3, .ignore = true, .ignore_index = 2};
    EXPECT(top_k_correct, ((double[]){0}), 0, CLASSES(SCALAR), .attributes = &one);
    EXPECT(top_k_correct, ((double[]){2}), 0, CLASSES(SCALAR), .attributes = &two);
    EXPECT(top_k_correct, ((double[]){3}), 0, CLASSES(SCALAR), .attributes = &three);
    EXPECT(top_k_correct, ((double[]){1}), 0, CLASSES(SCALAR), .attributes = &ignoring);
    EXPECT(confusion_matrix, ((double[]){0, 0, 0, 1, 0, 0, 1, 1, 0}), 0, CLASSES(DIMS(3, 3)),
           .attributes = &(quern_confusion_matrix_desc){0});
    EXPECT(valid_count, ((double[]){1}), 0,
           .in = {{DIMS(3), .values = targets, .dtype = QUERN_I32}}, .out = {{SCALAR}},
           .attributes = &(quern_valid_count_desc){.ignore = true, .ignore_index = 2});
    EXPECT(element_count, ((double[]){6}), 0, ROWS(SCALAR));
    EXPECT(regression_sums, ((double[]){5.25, 5, 15, 4}), 0,
           .in = {{DIMS(2, 2), .values = (double[]){1, 2.5, 0, 4}},
                  {DIMS(2, 2), .values = (double[]){1, 3, -1, 2}}},
           .out = {{DIMS(4), .dtype = QUERN_F64}});
}

/* Every chunk counts, and so does the rest behind the last whole one. */
TEST_CASE(OpTruth, regression_sums_go_over_all_chunks) {
    enum { N = 40001 };
    static double ones[N], threes[N];
    for (int i = 0; i < N; i++) {
        ones[i] = 1;
        threes[i] = 3;
    }
    EXPECT(regression_sums, ((double[]){4.0 * N, 3.0 * N, 9.0 * N, N}), 0,
           .in = {{DIMS(N), .values = ones}, {DIMS(N), .values = threes}},
           .out = {{DIMS(4), .dtype = QUERN_F64}});
}

TEST_CASE(OpTruth, an_index_out_of_range_is_named) {
    static const double bad[] = {0, 3, -1};
    double y[9];
    const op_tensor index = {DIMS(3), .values = bad, .dtype = QUERN_I32};
    const op_case rows = {.label = "rows", .in = {{DIMS(3, 3)}, index}, .out = {{DIMS(3, 3)}}};
    const char *const sentence = "index 3 at position 1 is outside [0, 3)";
    CHECK_STATUS(op_run(QUERN_OP_ID_gather, &rows, QUERN_F32, y, 9), QUERN_INPUT);
    CHECK_ERROR_HAS(sentence);
    CHECK_STATUS(op_run(QUERN_OP_ID_embedding, &rows, QUERN_F32, y, 9), QUERN_INPUT);
    CHECK_ERROR_HAS(sentence);
    op_case negative = rows;
    negative.in[1].values = (double[]){-1, 0, 0};
    CHECK_STATUS(op_run(QUERN_OP_ID_gather, &negative, QUERN_F32, y, 9), QUERN_INPUT);
    CHECK_ERROR_HAS("index -1 at position 0 is outside [0, 3)");
    op_case metric = rows;
    metric.attributes = &(quern_confusion_matrix_desc){0};
    CHECK_STATUS(op_run(QUERN_OP_ID_confusion_matrix, &metric, QUERN_F32, y, 9), QUERN_INPUT);
    CHECK_ERROR_HAS(sentence);
    metric.attributes = &(quern_top_k_correct_desc){.k = 1, .ignore = true, .ignore_index = 3};
    CHECK_STATUS(op_run(QUERN_OP_ID_top_k_correct, &metric, QUERN_F32, y, 1), QUERN_INPUT);
    CHECK_ERROR_HAS("index -1 at position 2 is outside [0, 3)");
}

TEST_CASE(OpTruth, dropout_keeps_where_the_uniform_of_the_element_is_at_least_p) {
    enum { N = 1000 };
    static double ones[N];
    double y[N], kept = 0;
    const random_key key = {.seed = 7, .purpose = 300, .attempt = 3, .microbatch = 1};
    op_case c = {.label = "dropout", .in = {{DIMS(N), .values = ones}}, .out = {{DIMS(N)}}};
    c.attributes = &(quern_dropout_desc){.probability = 0.75f};
    for (int64_t i = 0; i < N; i++) ones[i] = 1;
    REQUIRE_OK(op_run(QUERN_OP_ID_dropout, &c, QUERN_F32, y, N));
    for (int64_t i = 0; i < N; i++) {
        const bool keep = random_uniform(random_u32(&key, i)) >= 0.75f;
        REQUIRE_SAY(y[i] == (keep ? 4.0 : 0.0), "element %lld is %g", (long long)i, y[i]);
        kept += keep ? 1 : 0;
    }
    CHECK_NEAR(kept / N, 0.25, 0.06); /* over four deviations of 0.0137 */
    c.evaluation = true;
    REQUIRE_OK(op_run(QUERN_OP_ID_dropout, &c, QUERN_F32, y, N));
    for (int64_t i = 0; i < N; i++) REQUIRE(y[i] == 1);
}
