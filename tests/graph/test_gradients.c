/* Whole graphs against central differences in F64: what autodiff decides about writers, aliases
 * and fills, beyond what each kernel's own gradient check sees. */
#include "graph_fixture.h"

static quern_tensor *input(fixture *f, int64_t a, int64_t b) {
    return quern_input(f->graph,
                       &(quern_input_desc){.name = "x", .rank = b ? 3 : 2, .dim = {QUERN_B, a, b}});
}

/* A smooth scalar of everything in t. */
static quern_tensor *total(fixture *f, quern_tensor *t) {
    return quern_sum(f->graph, quern_mul(f->graph, t, quern_sigmoid(f->graph, t)), NULL);
}

static void run(fixture *f, quern_tensor *loss) {
    fixture_check_gradients(f, loss, 4);
    fixture_close(f);
}

TEST_CASE(Gradients, flow_through_a_dense_network_with_a_loss) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = input(&f, 5, 0), *y = quern_labels(f.graph, "y");
    quern_tensor *h = quern_relu(f.graph, quern_dense(f.graph, x, &(quern_dense_desc){.units = 7}));
    quern_tensor *z = quern_dense(f.graph, h, &(quern_dense_desc){.units = 3});
    run(&f, quern_softmax_cross_entropy(f.graph, z, y, NULL));
}

TEST_CASE(Gradients, add_up_where_a_parameter_is_used_twice) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 5, 5, 0, 0);
    quern_tensor *h = quern_tanh(f.graph, quern_linear(f.graph, x, w, NULL));
    run(&f, total(&f, quern_linear(f.graph, h, w, NULL)));
}

static quern_tensor *layer(fixture *f, quern_tensor *x, int64_t units) {
    return quern_dense(f->graph, x, &(quern_dense_desc){.units = units});
}

TEST_CASE(Gradients, flow_through_layers_and_the_activations_between_them) {
    for (int form = 0; form < 3; form++) {
        fixture f = fixture_open(QUERN_F64);
        quern_tensor *h = input(&f, 5, 3);
        for (int i = 0; i < 3; i++) {
            h = layer(&f, h, 4 + i);
            const quern_gelu_desc desc = {.tanh = form == 1};
            h = form == 2 ? quern_relu(f.graph, h) : quern_gelu(f.graph, h, &desc);
        }
        run(&f, total(&f, layer(&f, h, 3)));
    }
}

TEST_CASE(Gradients, add_up_where_two_layers_that_become_one_share_what_they_have) {
    for (int relu = 0; relu < 2; relu++) {
        fixture f = fixture_open(QUERN_F64);
        quern_tensor *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 5, 5, 0, 0);
        quern_tensor *b = fixture_parameter(&f, "b", 5, 0, 0, 0);
        quern_tensor *h = quern_linear(f.graph, x, w, b);
        h = relu ? quern_relu(f.graph, h) : quern_gelu(f.graph, h, NULL);
        run(&f, total(&f, quern_linear(f.graph, h, w, b)));
    }
}

/* What lies between is read by another node too; a second weight is made after the first layer. */
TEST_CASE(Gradients, add_up_where_layers_cannot_become_one_or_only_later) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 3, 6, 0, 0);
    quern_tensor *h = quern_gelu(f.graph, layer(&f, x, 5), NULL);
    quern_tensor *wide = quern_gelu(f.graph, layer(&f, quern_add(f.graph, h, x), 6), NULL);
    quern_tensor *made = quern_tanh(f.graph, w);
    run(&f, total(&f, quern_linear(f.graph, wide, made, NULL)));
}

TEST_CASE(Gradients, add_up_where_both_inputs_are_one_tensor) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 5, 5, 0, 0);
    quern_tensor *h = quern_linear(f.graph, x, w, NULL);
    run(&f, total(&f, quern_mul(f.graph, h, h)));
}

TEST_CASE(Gradients, add_up_over_a_residual_branch) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 5, 5, 0, 0);
    quern_tensor *h = quern_linear(f.graph, x, w, NULL);
    quern_tensor *branch =
        quern_silu(f.graph, quern_dense(f.graph, h, &(quern_dense_desc){.units = 5}));
    run(&f, total(&f, quern_add(f.graph, h, quern_add(f.graph, branch, h))));
}

/* A norm whose weight is what it normalises, which a fused norm would have to make before it. */
TEST_CASE(Gradients, add_up_where_a_sum_is_the_weight_of_its_own_norm) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *row = quern_tanh(f.graph, fixture_parameter(&f, "r", 5, 0, 0, 0));
    quern_tensor *sum = quern_add(f.graph, row, fixture_parameter(&f, "s", 5, 0, 0, 0));
    run(&f, total(&f, quern_layer_norm(f.graph, sum, sum, NULL, NULL)));
}

TEST_CASE(Gradients, add_up_where_an_operand_is_the_weight_of_the_norm_behind_a_sum) {
    for (int k = 0; k < 2; k++) {
        fixture f = fixture_open(QUERN_F64);
        quern_tensor *both[2] = {fixture_parameter(&f, "r", 5, 0, 0, 0),
                                 fixture_parameter(&f, "s", 5, 0, 0, 0)};
        for (int i = 0; i < 2; i++) both[i] = quern_tanh(f.graph, both[i]);
        quern_tensor *sum = quern_add(f.graph, both[0], both[1]);
        run(&f, total(&f, quern_layer_norm(f.graph, sum, both[k], NULL, NULL)));
    }
}

/* Nothing flows back to a sum of what is not trained, though the norm behind it is: there may be
 * no way back from there. */
TEST_CASE(Gradients, stop_at_a_sum_that_depends_on_nothing_but_has_a_trained_norm) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 5, 0, 0, 0);
    quern_tensor *sum = quern_add(f.graph, x, quern_tanh(f.graph, x));
    quern_tensor *y = quern_layer_norm(f.graph, sum, w, NULL, NULL);
    run(&f, quern_mul(f.graph, total(&f, y), quern_element_count(f.graph, sum)));
}

/* A row and what it is added to take as many bytes of the arena, which counts in whole lines. */
TEST_CASE(Gradients, add_up_where_a_short_operand_is_added_to_every_row) {
    for (int form = 0; form < 3; form++) {
        fixture f = fixture_open(QUERN_F64);
        quern_tensor *x = input(&f, 2, 0), *w = fixture_parameter(&f, "w", 2, 2, 0, 0);
        quern_tensor *h = quern_linear(f.graph, x, w, NULL); /* (B, 2) */
        quern_tensor *row = quern_neg(f.graph, fixture_parameter(&f, "r", 2, 0, 0, 0));
        if (form == 2) h = quern_slice(f.graph, h, &(quern_slice_desc){1, 0, 1});
        if (form == 2) h = quern_tanh(f.graph, h); /* (B, 1): both are spread */
        quern_tensor *sum = form == 1 ? quern_add(f.graph, h, row) : quern_add(f.graph, row, h);
        run(&f, total(&f, sum));
    }
}

TEST_CASE(Gradients, of_disjoint_slices_that_cover_a_tensor_each_write_their_part) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *parts[3], *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 6, 5, 0, 0);
    quern_split(f.graph, quern_linear(f.graph, x, w, NULL), 1, 3, NULL, parts);
    quern_tensor *q = quern_mul(f.graph, parts[0], parts[1]);
    run(&f, total(&f, quern_add(f.graph, q, quern_exp(f.graph, parts[2]))));
}

TEST_CASE(Gradients, of_slices_that_leave_a_hole_are_zero_there) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 6, 5, 0, 0);
    quern_tensor *h = quern_linear(f.graph, x, w, NULL);
    quern_tensor *a = quern_slice(f.graph, h, &(quern_slice_desc){1, 0, 2});
    quern_tensor *b = quern_slice(f.graph, h, &(quern_slice_desc){1, 4, 6});
    run(&f, total(&f, quern_mul(f.graph, a, b)));
}

TEST_CASE(Gradients, of_overlapping_slices_add_up) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 6, 5, 0, 0);
    quern_tensor *h = quern_linear(f.graph, x, w, NULL);
    quern_tensor *a = quern_slice(f.graph, h, &(quern_slice_desc){1, 0, 4});
    quern_tensor *b = quern_slice(f.graph, h, &(quern_slice_desc){1, 2, 6});
    run(&f, total(&f, quern_mul(f.graph, a, b)));
}

TEST_CASE(Gradients, of_slices_and_of_the_whole_add_up) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *parts[2], *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 6, 5, 0, 0);
    quern_tensor *h = quern_linear(f.graph, x, w, NULL);
    quern_split(f.graph, h, 1, 2, NULL, parts);
    quern_tensor *product = quern_mul(f.graph, parts[0], parts[1]);
    quern_tensor *both[2] = {product, product};
    quern_tensor *wide = quern_concat(f.graph, both, 2, &(quern_concat_desc){1});
    run(&f, total(&f, quern_add(f.graph, wide, h)));
}

TEST_CASE(Gradients, of_slices_used_before_and_after_the_whole_add_up) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *parts[2], *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 6, 5, 0, 0);
    quern_tensor *h = quern_linear(f.graph, x, w, NULL);
    quern_split(f.graph, h, 1, 2, NULL, parts);
    quern_tensor *early = total(&f, parts[0]);
    quern_tensor *middle = total(&f, h);
    quern_tensor *late = total(&f, parts[1]);
    run(&f, quern_add(f.graph, early, quern_mul(f.graph, middle, late)));
}

TEST_CASE(Gradients, of_nested_slices_and_permutations) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = input(&f, 3, 4), *w = fixture_parameter(&f, "w", 6, 4, 0, 0);
    quern_tensor *h = quern_linear(f.graph, x, w, NULL); /* (B, 3, 6) */
    quern_tensor *p = quern_permute(f.graph, h, &(quern_permute_desc){{0, 2, 1}});
    quern_tensor *s = quern_slice(f.graph, p, &(quern_slice_desc){1, 1, 5});
    quern_tensor *t = quern_slice(f.graph, s, &(quern_slice_desc){2, 1, 3});
    quern_tensor *r = quern_reshape(f.graph, quern_contiguous(f.graph, t),
                                    &(quern_reshape_desc){2, {QUERN_B, 8}});
    run(&f, quern_add(f.graph, total(&f, r), total(&f, quern_tanh(f.graph, p))));
}

TEST_CASE(Gradients, of_attention_over_a_packed_projection) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = input(&f, 3, 4), *w = fixture_parameter(&f, "w", 12, 4, 0, 0), *qkv[3];
    quern_split(f.graph, quern_linear(f.graph, x, w, NULL), 2, 3, NULL, qkv);
    quern_tensor *scores =
        quern_matmul(f.graph, qkv[0], qkv[1], &(quern_matmul_desc){.transpose_b = true});
    quern_tensor *p = quern_softmax(f.graph, scores, NULL);
    run(&f, total(&f, quern_matmul(f.graph, p, qkv[2], NULL)));
}

TEST_CASE(Gradients, of_parameters_that_the_loss_does_not_use_are_zero) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 6, 5, 0, 0);
    (void)fixture_parameter(&f, "unused", 3, 0, 0, 0);
    run(&f, total(&f, quern_linear(f.graph, x, w, NULL)));
}

TEST_CASE(Gradients, of_a_slice_of_a_parameter) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = input(&f, 5, 0), *w = fixture_parameter(&f, "w", 6, 5, 0, 0);
    quern_tensor *half = quern_slice(f.graph, w, &(quern_slice_desc){0, 1, 4});
    run(&f, total(&f, quern_linear(f.graph, x, half, NULL)));
}

TEST_CASE(Gradients, of_a_convolutional_network_with_norms_and_pools) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *x = quern_input(
        f.graph, &(quern_input_desc){.name = "x", .rank = 4, .dim = {QUERN_B, 2, 6, 6}});
    quern_tensor *h = quern_conv(f.graph, x, &(quern_conv_desc){.channels = 3, .window = {3, 3}});
    h = quern_gelu(f.graph, quern_batch_normalize(f.graph, h, NULL), NULL);
    h = quern_avg_pool2d(f.graph, h, &(quern_avg_pool2d_desc){.window = {2, 2}});
    h = quern_layer_normalize(f.graph, quern_flatten(f.graph, h), NULL);
    quern_tensor *z = quern_dense(f.graph, h, &(quern_dense_desc){.units = 3});
    run(&f, quern_softmax_cross_entropy(f.graph, z, quern_labels(f.graph, "y"),
                                        &(quern_softmax_cross_entropy_desc){.label_smoothing = 0.1f,
                                                                            .ignore = true,
                                                                            .ignore_index = 2}));
}

TEST_CASE(Gradients, of_embeddings_gathers_and_dropout) {
    fixture f = fixture_open(QUERN_F64);
    quern_tensor *table = fixture_parameter(&f, "table", 4, 6, 0, 0);
    quern_tensor *h = quern_embedding(f.graph, table, quern_labels(f.graph, "index"));
    h = quern_dropout(f.graph, h, &(quern_dropout_desc){0.25f});
    quern_tensor *again = quern_gather(f.graph, table, quern_labels(f.graph, "other"));
    run(&f, total(&f, quern_mul(f.graph, h, again)));
}

/* The classifier's gradient may lie over its logits, but not where they are read again. */
TEST_CASE(Gradients, of_logits_that_another_part_of_the_loss_reads) {
    for (int before = 0; before < 2; before++) {
        fixture f = fixture_open(QUERN_F64);
        quern_tensor *x = input(&f, 5, 0), *y = quern_labels(f.graph, "y");
        quern_tensor *z = quern_dense(f.graph, x, &(quern_dense_desc){.units = 3});
        quern_tensor *other = before ? total(&f, z) : NULL;
        quern_tensor *loss = quern_softmax_cross_entropy(f.graph, z, y, NULL);
        run(&f, quern_add(f.graph, loss, other ? other : total(&f, z)));
    }
}

TEST_CASE(Gradients, flow_through_residual_sums_and_the_norms_behind_them) {
    const quern_layer_normalize_desc norm = {0};
    for (int swapped = 0; swapped < 2; swapped++) {
        fixture f = fixture_open(QUERN_F64);
        quern_tensor *h = quern_dense(f.graph, input(&f, 5, 0), &(quern_dense_desc){.units = 7});
        for (int block = 0; block < 2; block++) {
            quern_tensor *b = quern_dense(f.graph, quern_layer_normalize(f.graph, h, &norm),
                                          &(quern_dense_desc){.units = 7});
            h = swapped ? quern_add(f.graph, b, h) : quern_add(f.graph, h, b);
        }
        quern_tensor *y = quern_layer_normalize(f.graph, h, &norm);
        /* the last sum is read by its norm alone, or by the loss too */
        run(&f, swapped ? total(&f, y) : quern_add(f.graph, total(&f, y), total(&f, h)));
    }
}

/* The sum and what a norm makes of it meet again: their gradients are one, and the step that reads
 * both writes over neither before it has. */
TEST_CASE(Gradients, flow_into_a_sum_and_its_norm_that_are_added_again) {
    const quern_layer_normalize_desc norm = {0};
    for (int form = 0; form < 6; form++) {
        fixture f = fixture_open(QUERN_F64);
        quern_tensor *x = quern_dense(f.graph, input(&f, 5, 0), &(quern_dense_desc){.units = 7});
        quern_tensor *b = quern_dense(f.graph, x, &(quern_dense_desc){.units = 7});
        quern_tensor *sum = quern_add(f.graph, x, b);
        quern_tensor *y = quern_layer_normalize(f.graph, sum, &norm);
        if (form % 3 == 1) sum = quern_silu(f.graph, sum);
        if (form % 3 == 2) y = quern_silu(f.graph, y);
        run(&f, total(&f, form < 3 ? quern_add(f.graph, sum, y) : quern_add(f.graph, y, sum)));
    }
}

/* The product's backward pass adds to the gradient of h while it reads the branch's. */
TEST_CASE(Gradients, flow_into_a_branch_of_one_product_beside_h) {
    for (int swapped = 0; swapped < 2; swapped++) {
        fixture f = fixture_open(QUERN_F64);
        quern_tensor *h = quern_dense(f.graph, input(&f, 5, 0), &(quern_dense_desc){.units = 7});
        quern_tensor *b = quern_dense(f.graph, h, &(quern_dense_desc){.units = 7});
        run(&f, total(&f, swapped ? quern_add(f.graph, b, h) : quern_add(f.graph, h, b)));
    }
}
