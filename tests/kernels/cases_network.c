/* cases_network.c - the cases of products, convolutions, pools, normalisations and losses.
 * F32 takes other paths than F64 where channels are few and images eight or more; comparing the
 * two types is then comparing two algorithms. */
#include "op_case.h"

#define INDEX(count) .domain = OP_INDEX, .below = (count), .dtype = QUERN_I32

void op_cases_linear(void) {
    op_check(&(op_case){
        .label = "one row", .in = {{DIMS(1, 5)}, {DIMS(3, 5)}, {DIMS(3)}}, .out = {{DIMS(1, 3)}}});
    op_check(&(op_case){.label = "no bias, two leading axes",
                        .in = {{DIMS(2, 3, 7)}, {DIMS(4, 7)}, {.absent = true}},
                        .out = {{DIMS(2, 3, 4)}}});
    op_check(&(op_case){.label = "one past a tile both ways",
                        .in = {{DIMS(65, 9)}, {DIMS(129, 9)}, {DIMS(129)}},
                        .out = {{DIMS(65, 129)}}});
    op_check(&(op_case){.label = "an empty batch",
                        .in = {{DIMS(0, 5)}, {DIMS(3, 5)}, {DIMS(3)}},
                        .out = {{DIMS(0, 3)}}});
}

void op_cases_linear_relu(void) {
    op_check(&(op_case){
        .label = "one row", .in = {{DIMS(1, 5)}, {DIMS(3, 5)}, {DIMS(3)}}, .out = {{DIMS(1, 3)}}});
    op_check(&(op_case){.label = "no bias, two leading axes",
                        .in = {{DIMS(2, 3, 7)}, {DIMS(4, 7)}, {.absent = true}},
                        .out = {{DIMS(2, 3, 4)}}});
    op_check(&(op_case){.label = "one past a tile both ways",
                        .in = {{DIMS(65, 3)}, {DIMS(129, 3)}, {DIMS(129)}},
                        .out = {{DIMS(65, 129)}}});
}

static const quern_gelu_desc gelu_forms[] = {{.tanh = true}, {.tanh = false}};

/* cuBLASLt takes an activation along only of rows of 8 (tanh) numbers: some cases have them. */
void op_cases_linear_gelu(void) {
    for (int exact = 0; exact < 2; exact++) {
        const quern_gelu_desc *form = &gelu_forms[exact];
        op_check(&(op_case){.rounds_between = true,
                            .label = "one row",
                            .attributes = form,
                            .in = {{DIMS(1, 5)}, {DIMS(3, 5)}, {DIMS(3)}},
                            .out = {{DIMS(1, 3)}}});
        op_check(&(op_case){.rounds_between = true,
                            .label = "no bias, two leading axes",
                            .attributes = form,
                            .in = {{DIMS(2, 3, 7)}, {DIMS(8, 7)}, {.absent = true}},
                            .out = {{DIMS(2, 3, 8)}}});
        op_check(&(op_case){.rounds_between = true,
                            .label = "sixteen columns",
                            .attributes = form,
                            .in = {{DIMS(5, 3)}, {DIMS(16, 3)}, {DIMS(16)}},
                            .out = {{DIMS(5, 16)}}});
    }
    op_check(&(op_case){.rounds_between = true,
                        .label = "one past a tile both ways",
                        .attributes = &gelu_forms[0],
                        .in = {{DIMS(65, 3)}, {DIMS(129, 3)}, {DIMS(129)}},
                        .out = {{DIMS(65, 129)}}});
    op_check(&(op_case){.rounds_between = true,
                        .label = "no gradient: nothing saved",
                        .attributes = &gelu_forms[0],
                        .in = {{DIMS(5, 3), .no_gradient = true},
                               {DIMS(16, 3), .no_gradient = true},
                               {DIMS(16), .no_gradient = true}},
                        .out = {{DIMS(5, 16), .no_gradient = true}}});
    op_check(&(op_case){.rounds_between = true,
                        .label = "an empty batch",
                        .attributes = &gelu_forms[0],
                        .in = {{DIMS(0, 5)}, {DIMS(8, 5)}, {DIMS(8)}},
                        .out = {{DIMS(0, 8)}}});
}

static void check_pairs(const void *attributes) {
    op_check(&(op_case){.rounds_between = true,
                        .label = "one row",
                        .attributes = attributes,
                        .in = {{DIMS(1, 5)}, {DIMS(3, 5)}, {DIMS(3)}, {DIMS(2, 3)}, {DIMS(2)}},
                        .out = {{DIMS(1, 2)}}});
    op_check(&(op_case){
        .rounds_between = true,

        .label = "no biases, two leading axes",
        .attributes = attributes,
        .in = {{DIMS(2, 3, 7)}, {DIMS(8, 7)}, {.absent = true}, {DIMS(4, 8)}, {.absent = true}},
        .out = {{DIMS(2, 3, 4)}}});
    op_check(
        &(op_case){.rounds_between = true,
                   .label = "sixteen hidden, the second bias alone",
                   .attributes = attributes,
                   .in = {{DIMS(5, 3)}, {DIMS(16, 3)}, {.absent = true}, {DIMS(4, 16)}, {DIMS(4)}},
                   .out = {{DIMS(5, 4)}}});
    op_check(&(op_case){
        .rounds_between = true,

        .label = "x without a gradient",
        .attributes = attributes,
        .in = {{DIMS(5, 3), .no_gradient = true}, {DIMS(8, 3)}, {DIMS(8)}, {DIMS(4, 8)}, {DIMS(4)}},
        .out = {{DIMS(5, 4)}}});
    op_check(&(op_case){.rounds_between = true,
                        .label = "only the second layer learns",
                        .attributes = attributes,
                        .in = {{DIMS(5, 3), .no_gradient = true},
                               {DIMS(8, 3), .no_gradient = true},
                               {DIMS(8), .no_gradient = true},
                               {DIMS(4, 8)},
                               {DIMS(4)}},
                        .out = {{DIMS(5, 4)}}});
    op_check(&(op_case){.rounds_between = true,
                        .label = "no gradient: nothing saved",
                        .attributes = attributes,
                        .in = {{DIMS(5, 3), .no_gradient = true},
                               {DIMS(8, 3), .no_gradient = true},
                               {DIMS(8), .no_gradient = true},
                               {DIMS(4, 8), .no_gradient = true},
                               {DIMS(4), .no_gradient = true}},
                        .out = {{DIMS(5, 4), .no_gradient = true}}});
    op_check(&(op_case){.rounds_between = true,
                        .label = "an empty batch",
                        .attributes = attributes,
                        .in = {{DIMS(0, 5)}, {DIMS(8, 5)}, {DIMS(8)}, {DIMS(3, 8)}, {DIMS(3)}},
                        .out = {{DIMS(0, 3)}}});
}

void op_cases_linear_relu_linear(void) {
    check_pairs(NULL);
    op_check(
        &(op_case){.rounds_between = true,
                   .label = "one past a tile and a mask's word",
                   .in = {{DIMS(65, 3)}, {DIMS(129, 3)}, {DIMS(129)}, {DIMS(5, 129)}, {DIMS(5)}},
                   .out = {{DIMS(65, 5)}}});
}

void op_cases_linear_gelu_linear(void) {
    for (int exact = 0; exact < 2; exact++) check_pairs(&gelu_forms[exact]);
    op_check(
        &(op_case){.rounds_between = true,
                   .label = "one past a tile",
                   .attributes = &gelu_forms[0],
                   .in = {{DIMS(65, 3)}, {DIMS(129, 3)}, {DIMS(129)}, {DIMS(5, 129)}, {DIMS(5)}},
                   .out = {{DIMS(65, 5)}}});
}

void op_cases_matmul(void) {
    op_check(&(op_case){.label = "plain",
                        .attributes = &(quern_matmul_desc){0},
                        .in = {{DIMS(3, 5)}, {DIMS(5, 4)}},
                        .out = {{DIMS(3, 4)}}});
    op_check(&(op_case){.label = "a transposed, a batch",
                        .attributes = &(quern_matmul_desc){.transpose_a = true},
                        .in = {{DIMS(2, 3, 5, 2)}, {DIMS(2, 3, 5, 4)}},
                        .out = {{DIMS(2, 3, 2, 4)}}});
    op_check(&(op_case){.label = "b transposed, a batch",
                        .attributes = &(quern_matmul_desc){.transpose_b = true},
                        .in = {{DIMS(3, 2, 5)}, {DIMS(3, 7, 5)}},
                        .out = {{DIMS(3, 2, 7)}}});
    op_check(&(op_case){.label = "both transposed, one past a tile",
                        .attributes = &(quern_matmul_desc){true, true},
                        .in = {{DIMS(2, 65)}, {DIMS(129, 2)}},
                        .out = {{DIMS(65, 129)}}});
}

void op_cases_conv2d(void) {
    static const quern_conv2d_desc plain = {{1, 1}, {0, 0}, {1, 1}, 1};
    static const quern_conv2d_desc padded = {{1, 1}, {2, 1}, {1, 1}, 1};
    static const quern_conv2d_desc all = {{2, 1}, {1, 2}, {1, 2}, 2};
    op_check(&(op_case){.label = "one image",
                        .attributes = &plain,
                        .in = {{DIMS(1, 2, 5, 6)}, {DIMS(3, 2, 3, 2)}, {DIMS(3)}},
                        .out = {{DIMS(1, 3, 3, 5)}}});
    op_check(&(op_case){.label = "stride, padding, dilation and groups",
                        .attributes = &all,
                        .in = {{DIMS(2, 4, 7, 5)}, {DIMS(6, 2, 3, 2)}, {DIMS(6)}},
                        .out = {{DIMS(2, 6, 4, 7)}}});
    op_check(&(op_case){.label = "nine images, two blocks of channels, odd width",
                        .attributes = &padded,
                        .in = {{DIMS(9, 2, 4, 5)}, {DIMS(7, 2, 3, 3)}, {DIMS(7)}},
                        .out = {{DIMS(9, 7, 6, 5)}}});
    op_check(&(op_case){.label = "eight images, many channels in, wide, no bias",
                        .attributes = &plain,
                        .in = {{DIMS(8, 8, 3, 10)}, {DIMS(2, 8, 2, 2)}, {.absent = true}},
                        .out = {{DIMS(8, 2, 2, 9)}}});
    op_check(&(op_case){.label = "a window of one pixel",
                        .attributes = &plain,
                        .in = {{DIMS(10, 3, 2, 3)}, {DIMS(4, 3, 1, 1)}, {DIMS(4)}},
                        .out = {{DIMS(10, 4, 2, 3)}}});
    op_check(&(op_case){.label = "one channel to eight, a bias",
                        .attributes = &padded,
                        .in = {{DIMS(2, 1, 3, 4)}, {DIMS(8, 1, 3, 3)}, {DIMS(8)}},
                        .out = {{DIMS(2, 8, 5, 4)}}});
}

/* Odd numbers of channels and what makes whole packs, in a window of three by two. */
static void pool_channels(bool exclude) {
    static const int64_t channels[] = {1, 7, 8, 31, 33};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++)
        op_check(&(op_case){.label = "channels",
                            .attributes = &(quern_pool2d_desc){{3, 2}, {2, 1}, {1, 1}, exclude},
                            .in = {{DIMS(2, channels[i], 4, 3), .domain = OP_DISTINCT}},
                            .out = {{DIMS(2, channels[i], 2, 4)}}});
}

void op_cases_max_pool2d(void) {
    op_check(&(op_case){.label = "two by two",
                        .attributes = &(quern_pool2d_desc){{2, 2}, {2, 2}, {0, 0}, false},
                        .in = {{DIMS(2, 3, 6, 8), .domain = OP_DISTINCT}},
                        .out = {{DIMS(2, 3, 3, 4)}}});
    op_check(&(op_case){.label = "two by two, a row and a column left over",
                        .attributes = &(quern_pool2d_desc){{2, 2}, {2, 2}, {0, 0}, false},
                        .in = {{DIMS(1, 2, 5, 19), .domain = OP_DISTINCT}},
                        .out = {{DIMS(1, 2, 2, 9)}}});
    op_check(&(op_case){.label = "overlapping and padded",
                        .attributes = &(quern_pool2d_desc){{3, 2}, {2, 1}, {1, 1}, false},
                        .in = {{DIMS(2, 2, 6, 5), .domain = OP_DISTINCT}},
                        .out = {{DIMS(2, 2, 3, 6)}}});
    pool_channels(false);
}

void op_cases_avg_pool2d(void) {
    op_check(&(op_case){.label = "two by two",
                        .attributes = &(quern_pool2d_desc){{2, 2}, {2, 2}, {0, 0}, false},
                        .in = {{DIMS(2, 3, 5, 4)}},
                        .out = {{DIMS(2, 3, 2, 2)}}});
    op_check(&(op_case){.label = "overlapping, padding counts",
                        .attributes = &(quern_pool2d_desc){{3, 2}, {2, 1}, {1, 1}, false},
                        .in = {{DIMS(2, 2, 6, 5)}},
                        .out = {{DIMS(2, 2, 3, 6)}}});
    op_check(&(op_case){.label = "overlapping, padding does not count",
                        .attributes = &(quern_pool2d_desc){{3, 2}, {2, 1}, {1, 1}, true},
                        .in = {{DIMS(2, 2, 6, 5)}},
                        .out = {{DIMS(2, 2, 3, 6)}}});
    pool_channels(true);
}

void op_cases_global_avg_pool2d(void) {
    op_check(&(op_case){.label = "odd planes", .in = {{DIMS(2, 3, 5, 7)}}, .out = {{DIMS(2, 3)}}});
    op_check(&(op_case){.label = "one pixel", .in = {{DIMS(3, 2, 1, 1)}}, .out = {{DIMS(3, 2)}}});
    static const int64_t channels[] = {1, 7, 8, 31, 33};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++)
        op_check(&(op_case){.label = "channels",
                            .in = {{DIMS(2, channels[i], 3, 5)}},
                            .out = {{DIMS(2, channels[i])}}});
    op_check(
        &(op_case){.label = "large planes", .in = {{DIMS(2, 16, 13, 10)}}, .out = {{DIMS(2, 16)}}});
}

void op_cases_batch_norm(void) {
    static const quern_batch_norm_desc desc = {1e-5f, 0.1f};
    static const int64_t dims[][4] = {{4, 3, 5, 7},  {2, 1, 3, 4},  {3, 7, 2, 3}, {2, 8, 3, 3},
                                      {2, 31, 2, 2}, {2, 33, 2, 3}, {3, 16, 9, 8}};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        const int64_t *d = dims[i], c = d[1];
        op_check(&(op_case){.label = "images",
                            .attributes = &desc,
                            .in = {{DIMS(d[0], c, d[2], d[3])},
                                   {DIMS(c)},
                                   {DIMS(c)},
                                   {DIMS(c), .no_gradient = true},
                                   {DIMS(c), .domain = OP_POSITIVE, .no_gradient = true}},
                            .out = {{DIMS(d[0], c, d[2], d[3])},
                                    {DIMS(c), .no_gradient = true},
                                    {DIMS(c), .no_gradient = true}}});
    }
    op_check(&(op_case){
        .label = "vectors, far from zero",
        .attributes = &desc,
        .in = {{DIMS(33, 5), .offset = 8},
               {DIMS(5)},
               {DIMS(5)},
               {DIMS(5), .no_gradient = true},
               {DIMS(5), .domain = OP_POSITIVE, .no_gradient = true}},
        .out = {{DIMS(33, 5)}, {DIMS(5), .no_gradient = true}, {DIMS(5), .no_gradient = true}}});
}

void op_cases_layer_norm(void) {
    static const quern_layer_norm_desc desc = {1e-5f};
    op_check(&(op_case){.label = "three axes",
                        .attributes = &desc,
                        .in = {{DIMS(2, 3, 33)}, {DIMS(33)}, {DIMS(33)}},
                        .out = {{DIMS(2, 3, 33)}}});
    op_check(&(op_case){.label = "many rows, no bias",
                        .attributes = &desc,
                        .in = {{DIMS(70, 5)}, {DIMS(5)}, {.absent = true}},
                        .out = {{DIMS(70, 5)}}});
    /* From 264 on: each number of 16-byte packs that a thread of a warp or a block may hold. */
    static const int64_t shapes[][2] = {{0, 7},    {1, 1},    {3, 127},  {300, 8},
                                        {2, 1025}, {2, 1032}, {5, 264},  {5, 512},
                                        {2, 768},  {2, 1000}, {2, 3072}, {2, 4096}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t rows = shapes[i][0], size = shapes[i][1];
        op_check(&(op_case){.label = "rows",
                            .attributes = &desc,
                            .in = {{DIMS(rows, size)}, {DIMS(size)}, {DIMS(size)}},
                            .out = {{DIMS(rows, size)}}});
    }
}

void op_cases_add_layer_norm(void) {
    static const quern_layer_norm_desc desc = {1e-5f};
    op_check(&(op_case){.label = "three axes",
                        .attributes = &desc,
                        .rounds_between = true,
                        .in = {{DIMS(2, 3, 33)}, {DIMS(2, 3, 33)}, {DIMS(33)}, {DIMS(33)}},
                        .out = {{DIMS(2, 3, 33)}, {DIMS(2, 3, 33)}}});
    op_check(&(op_case){.label = "many rows, no bias",
                        .attributes = &desc,
                        .rounds_between = true,
                        .in = {{DIMS(70, 5)}, {DIMS(70, 5)}, {DIMS(5)}, {.absent = true}},
                        .out = {{DIMS(70, 5)}, {DIMS(70, 5)}}});
    op_check(&(op_case){.label = "nobody else reads the sum",
                        .attributes = &desc,
                        .rounds_between = true,
                        .in = {{DIMS(9, 32)}, {DIMS(9, 32)}, {DIMS(32)}, {DIMS(32)}},
                        .out = {{DIMS(9, 32), .no_gradient = true}, {DIMS(9, 32)}}});
    op_check(&(op_case){.label = "nobody reads y",
                        .attributes = &desc,
                        .rounds_between = true,
                        .in = {{DIMS(9, 32)}, {DIMS(9, 32)}, {DIMS(32)}, {DIMS(32)}},
                        .out = {{DIMS(9, 32)}, {DIMS(9, 32), .no_gradient = true}}});
    op_check(&(op_case){
        .label = "one operand's gradient",
        .attributes = &desc,
        .rounds_between = true,
        .in = {{DIMS(9, 32), .no_gradient = true}, {DIMS(9, 32)}, {DIMS(32)}, {DIMS(32)}},
        .out = {{DIMS(9, 32)}, {DIMS(9, 32)}}});
    static const int64_t shapes[][2] = {{0, 7},   {1, 1},   {3, 127}, {300, 8},  {2, 1032},
                                        {5, 264}, {5, 512}, {2, 768}, {2, 1000}, {2, 3072}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t rows = shapes[i][0], size = shapes[i][1];
        op_check(
            &(op_case){.label = "rows",
                       .attributes = &desc,
                       .rounds_between = true,
                       .in = {{DIMS(rows, size)}, {DIMS(rows, size)}, {DIMS(size)}, {DIMS(size)}},
                       .out = {{DIMS(rows, size)}, {DIMS(rows, size)}}});
    }
}

void op_cases_softmax_cross_entropy(void) {
    static const double targets[] = {3, -1, 0, 9, -1};
    op_check(&(op_case){.label = "ten classes",
                        .attributes = &(quern_softmax_cross_entropy_desc){0},
                        .in = {{DIMS(33, 10)}, {DIMS(33), INDEX(10)}},
                        .out = {{SCALAR}}});
    op_check(&(op_case){.label = "smoothed, leading axes, more classes than lanes",
                        .attributes = &(quern_softmax_cross_entropy_desc){.label_smoothing = 0.1f},
                        .in = {{DIMS(2, 3, 37)}, {DIMS(2, 3), INDEX(37)}},
                        .out = {{SCALAR}}});
    op_check(&(op_case){.label = "ignored rows",
                        .attributes =
                            &(quern_softmax_cross_entropy_desc){.ignore = true, .ignore_index = -1},
                        .in = {{DIMS(5, 10)}, {DIMS(5), INDEX(10), .values = targets}},
                        .out = {{SCALAR}}});
    static const int64_t shapes[][2] = {{0, 7},    {127, 31}, {300, 1},
                                        {2, 1025}, {2, 1032}, {2, 50257}}; /* GPT-2's vocabulary */
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t rows = shapes[i][0], classes = shapes[i][1];
        op_check(
            &(op_case){.label = "rows",
                       .attributes = &(quern_softmax_cross_entropy_desc){.label_smoothing = 0.25f},
                       .in = {{DIMS(rows, classes)}, {DIMS(rows), INDEX(classes)}},
                       .out = {{SCALAR}}});
    }
}

static void pair_cases(const void *attributes, op_domain target) {
    op_check(&(op_case){.label = "33",
                        .attributes = attributes,
                        .in = {{DIMS(3, 11)}, {DIMS(3, 11), .domain = target}},
                        .out = {{SCALAR}}});
    op_check(&(op_case){.label = "one",
                        .attributes = attributes,
                        .in = {{DIMS(1)}, {DIMS(1), .domain = target}},
                        .out = {{SCALAR}}});
    static const int64_t counts[] = {0, 31, 1025, 16385};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        op_check(&(op_case){.label = "row",
                            .attributes = attributes,
                            .in = {{DIMS(counts[i])}, {DIMS(counts[i]), .domain = target}},
                            .out = {{SCALAR}}});
}

/* Differences of these are far from the kinks at 0 and at delta: p in [2.5, 4], t below 2. */
static void kinked_cases(const void *attributes) {
    op_check(&(op_case){.label = "above",
                        .attributes = attributes,
                        .in = {{DIMS(37), .domain = OP_POSITIVE, .offset = 2}, {DIMS(37)}},
                        .out = {{SCALAR}}});
    op_check(&(op_case){.label = "below",
                        .attributes = attributes,
                        .in = {{DIMS(37)}, {DIMS(37), .domain = OP_POSITIVE, .offset = 2}},
                        .out = {{SCALAR}}});
}

void op_cases_binary_cross_entropy_with_logits(void) { pair_cases(NULL, OP_PROBABILITY); }

void op_cases_mse(void) { pair_cases(NULL, OP_ANY); }

void op_cases_l1(void) { kinked_cases(NULL); }

void op_cases_huber(void) {
    kinked_cases(&(quern_huber_desc){8});     /* all within delta */
    kinked_cases(&(quern_huber_desc){0.25f}); /* all outside */
}
