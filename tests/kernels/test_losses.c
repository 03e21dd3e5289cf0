/* test_losses.c - normalisations and losses against closed forms; products against linearity. */
#include "kernel_run.h"
#include "quern_test.h"
#include "tolerances.h"
#include <math.h>
#include <string.h>

/* --- products --- */

/* f(2 a - 3 b) = 2 f(a) - 3 f(b) for an op that is linear in its first input. */
static void check_linear(quern_op_id op, const void *attributes, quern_view x, quern_view weight,
                         quern_view y) {
    enum { MOST = 4096 };
    static double a[MOST], b[MOST], mixed[MOST], of_a[MOST], of_b[MOST], of_mixed[MOST];
    REQUIRE(x.count <= MOST && y.count <= MOST);
    fill_random(a, x.count, 1);
    fill_random(b, x.count, 2);
    for (int64_t i = 0; i < x.count; i++) mixed[i] = 2 * a[i] - 3 * b[i];
    double *const from[] = {a, b, mixed}, *const to[] = {of_a, of_b, of_mixed};
    for (int i = 0; i < 3; i++) {
        x.data = from[i];
        y.data = to[i];
        CHECK_OK(kernel_run_all(&(kernel_run){.op = op,
                                              .attributes = attributes,
                                              .input_count = op == QUERN_OP_ID_matmul ? 2 : 3,
                                              .output_count = 1,
                                              .in = {x, weight, {.rank = -1}},
                                              .out = {y}}));
    }
    for (int64_t i = 0; i < y.count; i++)
        CHECK_NEAR(of_mixed[i], 2 * of_a[i] - 3 * of_b[i], TOL_ACCUMULATE_F64);
}

TEST_CASE(Product, is_linear_in_its_first_input) {
    double w[4096];
    fill_random(w, 4096, 3);
    const quern_matmul_desc both = {true, true};
    const quern_conv2d_desc conv = {{2, 1}, {1, 1}, {1, 1}, 1};
    check_linear(QUERN_OP_ID_linear, NULL, VIEW(NULL, QUERN_F64, 70, 11),
                 VIEW(w, QUERN_F64, 33, 11), VIEW(NULL, QUERN_F64, 70, 33));
    check_linear(QUERN_OP_ID_matmul, &both, VIEW(NULL, QUERN_F64, 2, 11, 7),
                 VIEW(w, QUERN_F64, 2, 13, 11), VIEW(NULL, QUERN_F64, 2, 7, 13));
    check_linear(QUERN_OP_ID_conv2d, &conv, VIEW(NULL, QUERN_F64, 9, 2, 6, 7),
                 VIEW(w, QUERN_F64, 5, 2, 3, 3), VIEW(NULL, QUERN_F64, 9, 5, 3, 7));
}

TEST_CASE(Linear, is_the_sum_of_products) {
    enum { ROWS = 67, IN = 19, OUT = 131 };
    static float x[ROWS * IN], w[OUT * IN], b[OUT], y[ROWS * OUT], clamped[ROWS * OUT];
    fill_random_f32(x, ROWS * IN, 1);
    fill_random_f32(w, OUT * IN, 2);
    fill_random_f32(b, OUT, 3);
    for (int relu = 0; relu < 2; relu++)
        CHECK_OK(kernel_run_all(
            &(kernel_run){.op = relu ? QUERN_OP_ID_linear_relu : QUERN_OP_ID_linear,
                          .input_count = 3,
                          .output_count = 1,
                          .in = {VIEW(x, QUERN_F32, ROWS, IN), VIEW(w, QUERN_F32, OUT, IN),
                                 VIEW(b, QUERN_F32, OUT)},
                          .out = {VIEW(relu ? clamped : y, QUERN_F32, ROWS, OUT)}}));
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < OUT; j++) {
            double sum = (double)b[j];
            for (int k = 0; k < IN; k++) sum += (double)x[i * IN + k] * (double)w[j * IN + k];
            CHECK_NEAR((double)y[i * OUT + j], sum, TOL_PRODUCT_F32);
            CHECK_NEAR((double)clamped[i * OUT + j], fmax(sum, 0), TOL_PRODUCT_F32);
        }
}

/* --- normalisations --- */

enum { IMAGES = 4, CHANNELS = 3, AREA = 10, COUNT = IMAGES * CHANNELS * AREA };

typedef struct norm_data {
    double x[COUNT], y[COUNT], weight[CHANNELS], bias[CHANNELS];
    double mean[CHANNELS], variance[CHANNELS], next_mean[CHANNELS], next_variance[CHANNELS];
} norm_data;

static const quern_batch_norm_desc norm_desc = {1e-5f, 0.25f};

static kernel_run norm_run(norm_data *d) {
    fill_random(d->x, COUNT, 1);
    fill_random(d->weight, CHANNELS, 2);
    fill_random(d->bias, CHANNELS, 3);
    for (int c = 0; c < CHANNELS; c++) d->mean[c] = c - 1, d->variance[c] = 0.5 + c;
    memset(d->next_mean, 0xFF, sizeof d->next_mean);
    memset(d->next_variance, 0xFF, sizeof d->next_variance);
    return (kernel_run){
        .op = QUERN_OP_ID_batch_norm,
        .attributes = &norm_desc,
        .input_count = 5,
        .output_count = 3,
        .in = {VIEW(d->x, QUERN_F64, IMAGES, CHANNELS, 2, 5), VIEW(d->weight, QUERN_F64, CHANNELS),
               VIEW(d->bias, QUERN_F64, CHANNELS), VIEW(d->mean, QUERN_F64, CHANNELS),
               VIEW(d->variance, QUERN_F64, CHANNELS)},
        .out = {VIEW(d->y, QUERN_F64, IMAGES, CHANNELS, 2, 5),
                VIEW(d->next_mean, QUERN_F64, CHANNELS),
                VIEW(d->next_variance, QUERN_F64, CHANNELS)}};
}

static double channel_moment(const double *x, int c, double about, int power) {
    double sum = 0;
    for (int n = 0; n < IMAGES; n++)
        for (int i = 0; i < AREA; i++) sum += pow(x[(n * CHANNELS + c) * AREA + i] - about, power);
    return sum;
}

TEST_CASE(BatchNorm, updates_running_statistics_with_the_unbiased_variance) {
    norm_data d;
    const kernel_run run = norm_run(&d);
    REQUIRE_OK(kernel_run_all(&run));
    for (int c = 0; c < CHANNELS; c++) {
        const double count = IMAGES * AREA, mean = channel_moment(d.x, c, 0, 1) / count;
        const double squares = channel_moment(d.x, c, mean, 2);
        CHECK_NEAR(d.next_mean[c], 0.75 * (c - 1) + 0.25 * mean, TOL_ACCUMULATE_F64);
        CHECK_NEAR(d.next_variance[c], 0.75 * (0.5 + c) + 0.25 * squares / (count - 1),
                   TOL_ACCUMULATE_F64);
        CHECK_NEAR(channel_moment(d.y, c, 0, 1) / count, d.bias[c], TOL_ACCUMULATE_F64);
        CHECK_NEAR(channel_moment(d.y, c, d.bias[c], 2) / count,
                   d.weight[c] * d.weight[c] * (squares / count) /
                       (squares / count + (double)norm_desc.epsilon),
                   TOL_ACCUMULATE_F64);
        CHECK(d.mean[c] == c - 1 && d.variance[c] == 0.5 + c);
    }
}

TEST_CASE(BatchNorm, uses_and_keeps_the_running_statistics_in_evaluation) {
    norm_data d;
    kernel_run run = norm_run(&d);
    run.evaluation = true;
    run.out[1].data = run.out[2].data = NULL;
    REQUIRE_OK(kernel_run_all(&run));
    for (int i = 0; i < COUNT; i++) {
        const int c = i / AREA % CHANNELS;
        const double deviation = sqrt(0.5 + c + (double)norm_desc.epsilon);
        CHECK_NEAR(d.y[i], (d.x[i] - (c - 1)) / deviation * d.weight[c] + d.bias[c],
                   TOL_ACCUMULATE_F64);
    }
}

TEST_CASE(LayerNorm, gives_rows_of_mean_bias_and_deviation_weight) {
    enum { ROWS = 5, SIZE = 40 };
    double x[ROWS * SIZE], y[ROWS * SIZE], weight[SIZE], bias[SIZE];
    fill_random(x, ROWS * SIZE, 4);
    for (int i = 0; i < ROWS * SIZE; i++) x[i] += 100;
    for (int i = 0; i < SIZE; i++) weight[i] = 3, bias[i] = -2;
    const quern_layer_norm_desc desc = {1e-12f};
    REQUIRE_OK(kernel_run_all(
        &(kernel_run){.op = QUERN_OP_ID_layer_norm,
                      .attributes = &desc,
                      .input_count = 3,
                      .output_count = 1,
                      .in = {VIEW(x, QUERN_F64, ROWS, SIZE), VIEW(weight, QUERN_F64, SIZE),
                             VIEW(bias, QUERN_F64, SIZE)},
                      .out = {VIEW(y, QUERN_F64, ROWS, SIZE)}}));
    for (int row = 0; row < ROWS; row++) {
        double mean = 0, square = 0;
        for (int i = 0; i < SIZE; i++) mean += y[row * SIZE + i] / SIZE;
        for (int i = 0; i < SIZE; i++) square += pow(y[row * SIZE + i] - mean, 2) / SIZE;
        CHECK_NEAR(mean, -2, 1e-11);        /* x is near 100: 15 digits less two */
        CHECK_NEAR(sqrt(square), 3, 1e-10); /* and epsilon beside a variance of 1/3 */
    }
}

/* --- losses --- */

static quern_status entropy(const float *z, const int32_t *target, int64_t rows, int64_t classes,
                            const quern_softmax_cross_entropy_desc *desc, float *loss, float *gz) {
    float seed = 0.5f;
    return kernel_run_all(&(kernel_run){.op = QUERN_OP_ID_softmax_cross_entropy,
                                        .attributes = desc,
                                        .input_count = 2,
                                        .output_count = 1,
                                        .in = {VIEW((void *)(uintptr_t)z, QUERN_F32, rows, classes),
                                               VIEW((void *)(uintptr_t)target, QUERN_I32, rows)},
                                        .out = {SCALAR_VIEW(loss, QUERN_F32)},
                                        .grad_out = {SCALAR_VIEW(&seed, QUERN_F32)},
                                        .grad_in = {VIEW(gz, QUERN_F32, rows, classes)}});
}

TEST_CASE(CrossEntropy, of_equal_logits_is_the_logarithm_of_the_classes) {
    const float z[20] = {0};
    float loss, gz[20];
    const int32_t target[2] = {3, 9};
    REQUIRE_OK(entropy(z, target, 2, 10, &(quern_softmax_cross_entropy_desc){0}, &loss, gz));
    CHECK_NEAR((double)loss, 2 * log(10), TOL_FUNCTION_F32);
    for (int i = 0; i < 20; i++)
        CHECK_NEAR((double)gz[i], 0.5 * (0.1 - (i == 3 || i == 19)), TOL_FUNCTION_F32);
}

TEST_CASE(CrossEntropy, smooths_as_a_mix_with_the_mean_over_classes) {
    const float z[3] = {1, -2, 4};
    float loss, gz[3];
    const int32_t target[1] = {1};
    const double l = log(exp(1) + exp(-2) + exp(4)), s = (double)0.2f;
    REQUIRE_OK(entropy(z, target, 1, 3,
                       &(quern_softmax_cross_entropy_desc){.label_smoothing = 0.2f}, &loss, gz));
    CHECK_NEAR((double)loss, (1 - s) * (l + 2) + s * (l - 1), 4 * TOL_FUNCTION_F32); /* l ~ 4 */
    for (int c = 0; c < 3; c++)
        CHECK_NEAR((double)gz[c], 0.5 * (exp((double)z[c] - l) - (1 - s) * (c == 1) - s / 3),
                   TOL_FUNCTION_F32);
}

TEST_CASE(CrossEntropy, survives_large_logits) {
    const float z[4] = {1000, -1000, -1000, 999};
    float loss, gz[4];
    const int32_t target[2] = {0, 0};
    REQUIRE_OK(entropy(z, target, 2, 2, &(quern_softmax_cross_entropy_desc){0}, &loss, gz));
    CHECK_NEAR((double)loss, 1999, 1e-3);
    CHECK(gz[0] == 0 && gz[1] == 0 && gz[2] == -0.5f && gz[3] == 0.5f);
}

TEST_CASE(CrossEntropy, refuses_a_target_that_is_no_class) {
    const float z[6] = {0};
    float loss, gz[6];
    const int32_t over[3] = {0, 2, 1}, under[3] = {0, 1, -1};
    const quern_softmax_cross_entropy_desc desc = {0},
                                           ignore = {.ignore = true, .ignore_index = -1};
    CHECK_STATUS(entropy(z, over, 3, 2, &desc, &loss, gz), QUERN_INPUT);
    CHECK_ERROR_HAS("target 2 at row 1 is outside [0, 2)");
    CHECK_STATUS(entropy(z, under, 3, 2, &desc, &loss, gz), QUERN_INPUT);
    CHECK_ERROR_HAS("target -1 at row 2 is outside [0, 2)");
    REQUIRE_OK(entropy(z, under, 3, 2, &ignore, &loss, gz));
    CHECK_NEAR((double)loss, 2 * log(2), TOL_FUNCTION_F32);
    CHECK(gz[4] == 0 && gz[5] == 0 && gz[0] == -0.25f);
    CHECK_STATUS(entropy(z, over, 3, 2, &ignore, &loss, gz), QUERN_INPUT);
}

typedef struct pair_result {
    float loss, slope, target_slope;
} pair_result;

static pair_result pair_of(quern_op_id op, float p, float t) {
    const quern_huber_desc desc = {0.5f};
    float seed = 2;
    pair_result r = {NAN, NAN, NAN};
    CHECK_OK(kernel_run_all(&(kernel_run){
        .op = op,
        .attributes = op == QUERN_OP_ID_huber ? &desc : NULL,
        .input_count = 2,
        .output_count = 1,
        .in = {VIEW(&p, QUERN_F32, 1), VIEW(&t, QUERN_F32, 1)},
        .out = {SCALAR_VIEW(&r.loss, QUERN_F32)},
        .grad_out = {SCALAR_VIEW(&seed, QUERN_F32)},
        .grad_in = {VIEW(&r.slope, QUERN_F32, 1), VIEW(&r.target_slope, QUERN_F32, 1)}}));
    return r;
}

static void check_pair(quern_op_id op, float p, float t, float loss, float slope) {
    const pair_result r = pair_of(op, p, t);
    CHECK_SAY(r.loss == loss && r.slope == 2 * slope && r.target_slope == -2 * slope,
              "p %g, t %g: loss %g, slopes %g and %g", (double)p, (double)t, (double)r.loss,
              (double)r.slope, (double)r.target_slope);
}

TEST_CASE(PairLoss, has_exact_values_and_slopes) {
    check_pair(QUERN_OP_ID_mse, 3, 1, 4, 4);
    check_pair(QUERN_OP_ID_mse, -1, 1, 4, -4);
    check_pair(QUERN_OP_ID_l1, 3, 1, 2, 1);
    check_pair(QUERN_OP_ID_l1, 1, 3, 2, -1);
    check_pair(QUERN_OP_ID_l1, 2, 2, 0, 0);
    check_pair(QUERN_OP_ID_huber, 0.25f, 0, 0.03125f, 0.25f);
    check_pair(QUERN_OP_ID_huber, 2.5f, 0.5f, 0.875f, 0.5f);
    check_pair(QUERN_OP_ID_huber, -1.5f, 0.5f, 0.875f, -0.5f);
    CHECK(isnan(pair_of(QUERN_OP_ID_l1, NAN, 0).slope));
    CHECK(isnan(pair_of(QUERN_OP_ID_huber, NAN, 0).slope));
}

TEST_CASE(BinaryCrossEntropy, is_right_at_both_ends) {
    const float z[] = {-200, -20, -1, 0, 1, 20, 200};
    for (size_t i = 0; i < sizeof z / sizeof z[0]; i++)
        for (int t = 0; t < 2; t++) {
            const double v = (double)z[i], signed_z = t == 1 ? v : -v;
            const double loss = log1p(exp(-fabs(v))) + fmax(-signed_z, 0);
            /* relative to the loss, down to the smallest normal number of F32 */
            const pair_result r =
                pair_of(QUERN_OP_ID_binary_cross_entropy_with_logits, z[i], (float)t);
            CHECK_SAY(fabs((double)r.loss - loss) <= TOL_FUNCTION_F32 * loss + 1e-38,
                      "z %g, t %d: %g", v, t, (double)r.loss);
            CHECK_NEAR((double)r.slope, 2 * (1 / (1 + exp(-v)) - t), TOL_FUNCTION_F32);
            CHECK_NEAR((double)r.target_slope, -2 * v, 0);
        }
}

TEST_CASE(PairLoss, does_not_depend_on_the_number_of_threads) {
    enum { MANY = 100003 };
    static float p[MANY], t[MANY];
    fill_random_f32(p, MANY, 1);
    fill_random_f32(t, MANY, 2);
    float loss[4] = {0};
    for (int32_t threads = 1; threads <= 4; threads++)
        REQUIRE_OK(
            kernel_run_all(&(kernel_run){.op = QUERN_OP_ID_huber,
                                         .attributes = &(quern_huber_desc){0.5f},
                                         .input_count = 2,
                                         .output_count = 1,
                                         .in = {VIEW(p, QUERN_F32, MANY), VIEW(t, QUERN_F32, MANY)},
                                         .out = {SCALAR_VIEW(&loss[threads - 1], QUERN_F32)},
                                         .thread_count = threads}));
    CHECK(loss[0] > 0 && loss[1] == loss[0] && loss[2] == loss[0] && loss[3] == loss[0]);
}
