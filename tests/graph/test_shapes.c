/* Shape rules through the builders: what fits gives the right shape, what does not gives SHAPE or
 * INVALID and a sentence that names op and shapes. Batch stays symbolic. */
#include "graph_fixture.h"

#include <stdio.h>
#include <string.h>

static quern_tensor *leaf(fixture *f, quern_dtype dtype, int32_t rank, const int64_t *dim) {
    char name[32];
    static _Thread_local int count;
    snprintf(name, sizeof name, "t%d", count++);
    quern_input_desc desc = {.name = name, .rank = rank, .dtype = dtype};
    memcpy(desc.dim, dim, (size_t)rank * sizeof *dim);
    return quern_input(f->graph, &desc);
}

#define DIM(...)                                                                                   \
    (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) { __VA_ARGS__ }
#define F(...) leaf(&f, QUERN_F32, DIM(__VA_ARGS__))
#define I(...) leaf(&f, QUERN_I32, DIM(__VA_ARGS__))

static void expect(const quern_tensor *t, int32_t rank, const int64_t *dim, const char *file,
                   int line) {
    if (!quern_test_check_say(t != NULL, file, line, "no tensor: %s", quern_error())) return;
    const quern_shape s = quern_tensor_shape(t);
    bool equal = s.rank == rank;
    for (int32_t i = 0; equal && i < rank; i++) equal = s.dim[i] == dim[i];
    quern_test_check_say(equal, file, line, "rank %d, dims %lld %lld %lld %lld", (int)s.rank,
                         (long long)s.dim[0], (long long)s.dim[1], (long long)s.dim[2],
                         (long long)s.dim[3]);
}
#define SHAPE_IS(t, ...) expect((t), DIM(__VA_ARGS__), __FILE__, __LINE__)

/* The builder in `expression` must fail, on a graph of its own. */
#define REFUSED(expression, status, sentence)                                                      \
    do {                                                                                           \
        fixture f = fixture_open(QUERN_F32);                                                       \
        quern_graph *g = f.graph;                                                                  \
        CHECK((expression) == NULL);                                                               \
        CHECK_STATUS(quern_graph_status(g), status);                                               \
        CHECK_ERROR_HAS(sentence);                                                                 \
        fixture_close(&f);                                                                         \
    } while (0)

TEST_CASE(Shapes, of_element_wise_ops_broadcast_as_numpy_does) {
    {
        fixture f = fixture_open(QUERN_F32);
        quern_graph *g = f.graph;
        SHAPE_IS(quern_add(g, F(QUERN_B, 3), F(3)), QUERN_B, 3);
        SHAPE_IS(quern_mul(g, F(QUERN_B, 1, 4), F(5, 1)), QUERN_B, 5, 4);
        SHAPE_IS(quern_div(g, F(1), F(QUERN_B, 2)), QUERN_B, 2);
        SHAPE_IS(quern_sub(g, F(0, 3), F(1, 3)), 0, 3);
        SHAPE_IS(quern_prelu(g, F(QUERN_B, 3, 2, 2), F(3)), QUERN_B, 3, 2, 2);
        fixture_close(&f);
    }
    REFUSED(quern_add(g, F(QUERN_B, 3), F(4)), QUERN_SHAPE,
            "add: cannot broadcast F32 (B, 3) and F32 (4)");
    REFUSED(quern_add(g, F(QUERN_B), F(2 * QUERN_B)), QUERN_SHAPE, "(B) and F32 (2B)");
    REFUSED(quern_relu(g, I(3)), QUERN_SHAPE, "relu: needs a floating-point input, not I32 (3)");
    REFUSED(quern_clamp(g, F(3), &(quern_clamp_desc){1, 1}), QUERN_INVALID, "clamp: low 1");
    REFUSED(quern_dropout(g, F(3), &(quern_dropout_desc){1}), QUERN_INVALID, "outside [0, 1)");
    REFUSED(quern_prelu(g, F(QUERN_B, 3), F(2)), QUERN_SHAPE, "prelu: weight");
}

TEST_CASE(Shapes, of_reductions_follow_axes_and_keep) {
    {
        fixture f = fixture_open(QUERN_F32);
        quern_graph *g = f.graph;
        quern_tensor *x = F(QUERN_B, 3, 4);
        const quern_shape all = quern_tensor_shape(quern_sum(g, x, NULL));
        CHECK(all.rank == 0);
        SHAPE_IS(quern_mean(g, x, &(quern_mean_desc){.axis_count = 1, .axes = {-1}}), QUERN_B, 3);
        SHAPE_IS(quern_max(g, x, &(quern_max_desc){2, {0, 2}, true}), 1, 3, 1);
        SHAPE_IS(quern_argmax(g, x, NULL), QUERN_B, 3);
        SHAPE_IS(quern_argmax(g, x, &(quern_argmax_desc){.first = true}), 3, 4);
        SHAPE_IS(quern_softmax(g, x, &(quern_softmax_desc){.axis = 1}), QUERN_B, 3, 4);
        fixture_close(&f);
    }
    REFUSED(quern_sum(g, F(2, 3), &(quern_sum_desc){2, {1, -1}, false}), QUERN_INVALID,
            "named twice");
    REFUSED(quern_sum(g, F(2, 3), &(quern_sum_desc){1, {2}, false}), QUERN_SHAPE,
            "axis 2 of a tensor of rank 2");
    REFUSED(quern_argmax(g, F(2, 0), NULL), QUERN_SHAPE, "empty axis");
}

TEST_CASE(Shapes, of_views_keep_the_batch) {
    {
        fixture f = fixture_open(QUERN_F32);
        quern_graph *g = f.graph;
        quern_tensor *x = F(QUERN_B, 3, 4), *parts[2];
        SHAPE_IS(quern_reshape(g, x, &(quern_reshape_desc){2, {3 * QUERN_B, 4}}), 3 * QUERN_B, 4);
        SHAPE_IS(quern_permute(g, x, &(quern_permute_desc){{2, 0, 1}}), 4, QUERN_B, 3);
        SHAPE_IS(quern_slice(g, x, &(quern_slice_desc){-1, 1, 3}), QUERN_B, 3, 2);
        quern_split(g, x, 2, 2, (int64_t[]){1, 3}, parts);
        SHAPE_IS(parts[1], QUERN_B, 3, 3);
        SHAPE_IS(quern_concat(g, parts, 2, &(quern_concat_desc){2}), QUERN_B, 3, 4);
        SHAPE_IS(quern_gather(g, F(7, 2), I(QUERN_B, 3)), QUERN_B, 3, 2);
        SHAPE_IS(quern_embedding(g, F(7, 2), I(QUERN_B)), QUERN_B, 2);
        fixture_close(&f);
    }
    REFUSED(quern_reshape(g, F(QUERN_B, 3), &(quern_reshape_desc){2, {QUERN_B, 4}}), QUERN_SHAPE,
            "reshape: counts differ: F32 (B, 3) and F32 (B, 4)");
    REFUSED(quern_reshape(g, F(QUERN_B, 3), &(quern_reshape_desc){2, {QUERN_B, QUERN_B}}),
            QUERN_SHAPE, "counts differ");
    REFUSED(quern_slice(g, F(QUERN_B, 3), &(quern_slice_desc){0, 0, 1}), QUERN_SHAPE,
            "the batch axis");
    REFUSED(quern_slice(g, F(QUERN_B, 3), &(quern_slice_desc){1, 1, 4}), QUERN_SHAPE,
            "[1 : 4] of an axis of 3");
    REFUSED(quern_permute(g, F(2, 3), &(quern_permute_desc){{0, 0}}), QUERN_INVALID, "permutation");
    REFUSED(quern_gather(g, F(2, 3), F(2)), QUERN_SHAPE, "needs I32 indices");
}

TEST_CASE(Shapes, of_products_and_convolutions) {
    {
        fixture f = fixture_open(QUERN_F32);
        quern_graph *g = f.graph;
        SHAPE_IS(quern_linear(g, F(QUERN_B, 5, 4), F(7, 4), F(7)), QUERN_B, 5, 7);
        SHAPE_IS(quern_matmul(g, F(QUERN_B, 2, 3), F(QUERN_B, 3, 5), NULL), QUERN_B, 2, 5);
        SHAPE_IS(quern_matmul(g, F(3, 2), F(5, 3), &(quern_matmul_desc){true, true}), 2, 5);
        SHAPE_IS(quern_conv2d(g, F(QUERN_B, 4, 9, 8), F(6, 2, 3, 3), NULL,
                              &(quern_conv2d_desc){{2, 1}, {1, 0}, {2, 1}, 2}),
                 QUERN_B, 6, 4, 6);
        SHAPE_IS(
            quern_max_pool2d(g, F(QUERN_B, 4, 9, 8), &(quern_max_pool2d_desc){.window = {2, 3}}),
            QUERN_B, 4, 4, 2);
        SHAPE_IS(quern_global_avg_pool2d(g, F(QUERN_B, 4, 9, 8)), QUERN_B, 4);
        fixture_close(&f);
    }
    REFUSED(quern_linear(g, F(QUERN_B, 4), F(7, 4), F(6)), QUERN_SHAPE,
            "linear: bias must be F32 (7), is F32 (6)");
    REFUSED(quern_matmul(g, F(2, 3), F(4, 5), NULL), QUERN_SHAPE, "matmul: inner axes differ");
    REFUSED(quern_conv2d(g, F(QUERN_B, 4, 9, 8), F(6, 3, 3, 3), NULL, NULL), QUERN_SHAPE,
            "channels and groups");
    REFUSED(quern_conv2d(g, F(QUERN_B, 4, 2, 2), F(6, 4, 3, 3), NULL, NULL), QUERN_SHAPE,
            "the window does not fit");
    REFUSED(quern_max_pool2d(g, F(QUERN_B, 4, 9, 8), NULL), QUERN_INVALID, "window 0");
}

TEST_CASE(Shapes, of_norms_losses_and_metrics) {
    {
        fixture f = fixture_open(QUERN_F32);
        quern_graph *g = f.graph;
        quern_tensor *z = F(QUERN_B, 10), *t = I(QUERN_B),
                     *loss = quern_softmax_cross_entropy(g, z, t, NULL);
        REQUIRE(loss && quern_loss_weight(loss));
        CHECK(quern_tensor_shape(loss).rank == 0);
        CHECK(quern_tensor_shape(quern_loss_weight(loss)).dtype == QUERN_F32);
        CHECK(quern_loss_weight(z) == NULL);
        CHECK(quern_loss_weight(quern_mse(g, z, z)) != NULL);
        SHAPE_IS(quern_confusion_matrix(g, z, t, NULL), 10, 10);
        SHAPE_IS(quern_regression_sums(g, z, z), 4);
        CHECK(quern_tensor_shape(quern_regression_sums(g, z, z)).dtype == QUERN_F64);
        SHAPE_IS(quern_layer_norm(g, z, F(10), NULL, NULL), QUERN_B, 10);
        SHAPE_IS(quern_batch_norm(g, F(QUERN_B, 3, 2, 2), F(3), F(3), F(3), F(3), NULL), QUERN_B, 3,
                 2, 2);
        fixture_close(&f);
    }
    REFUSED(quern_softmax_cross_entropy(g, F(QUERN_B, 10), I(QUERN_B, 1), NULL), QUERN_SHAPE,
            "logits and target do not fit");
    REFUSED(quern_softmax_cross_entropy(g, F(QUERN_B, 10), I(QUERN_B),
                                        &(quern_softmax_cross_entropy_desc){.ignore_index = -1}),
            QUERN_INVALID, "without ignore");
    REFUSED(quern_mse(g, F(QUERN_B, 10), F(QUERN_B, 1)), QUERN_SHAPE,
            "prediction and target differ");
    REFUSED(quern_batch_norm(g, F(QUERN_B, 3), F(3), F(3), F(2), F(3), NULL), QUERN_SHAPE,
            "running_mean must be F32 (3)");
    REFUSED(quern_top_k_correct(g, F(QUERN_B, 3), I(QUERN_B), &(quern_top_k_correct_desc){.k = 4}),
            QUERN_INVALID, "k = 4 of 3 classes");
    REFUSED(quern_huber(g, F(3), F(3), &(quern_huber_desc){-1}), QUERN_INVALID, "delta -1");
}
