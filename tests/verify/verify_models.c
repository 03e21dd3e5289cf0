#include "verify_models.h"

enum { TOKENS = 5, VOCABULARY = 11, WIDTH = 8, SAMPLES = 40 };

static quern_tensor *image(quern_graph *g) {
    return quern_input(
        g, &(quern_input_desc){.name = "image", .rank = 4, .dim = {QUERN_B, 1, 28, 28}});
}

static quern_status finish(quern_graph *g, quern_tensor *logits, quern_verify_model *out) {
    out->loss = quern_softmax_cross_entropy(g, logits, quern_labels(g, "label"), NULL);
    return quern_graph_status(g);
}

quern_status build_mlp(void *self, quern_graph *g, quern_verify_model *out) {
    (void)self;
    return finish(g,
                  quern_mlp(g, quern_flatten(g, image(g)),
                            &(quern_mlp_desc){.hidden_count = 2, .hidden = {24, 16}}),
                  out);
}

quern_status build_lenet(void *self, quern_graph *g, quern_verify_model *out) {
    (void)self;
    return finish(g, quern_lenet(g, image(g), NULL), out);
}

quern_status build_normalised(void *self, quern_graph *g, quern_verify_model *out) {
    (void)self;
    quern_tensor *h =
        quern_conv(g, image(g), &(quern_conv_desc){.channels = 4, .window = {5, 5}, .name = "c"});
    h = quern_gelu(g, quern_batch_normalize(g, h, NULL), NULL);
    h = quern_max_pool2d(g, h, &(quern_max_pool2d_desc){.window = {4, 4}});
    h = quern_dropout(g, quern_flatten(g, h), &(quern_dropout_desc){.probability = 0.25f});
    return finish(g, quern_dense(g, h, &(quern_dense_desc){.units = 10, .name = "out"}), out);
}

quern_status build_tokens(void *self, quern_graph *g, quern_verify_model *out) {
    (void)self;
    quern_tensor *token = quern_input(
        g, &(quern_input_desc){
               .name = "token", .rank = 2, .dim = {QUERN_B, TOKENS}, .dtype = QUERN_I32});
    quern_tensor *table =
        quern_parameter(g, &(quern_parameter_desc){.name = "table",
                                                   .rank = 2,
                                                   .dim = {VOCABULARY, WIDTH},
                                                   .init = {.kind = QUERN_INIT_NORMAL, .b = 1}});
    quern_tensor *h = quern_layer_normalize(g, quern_embedding(g, table, token), NULL);
    quern_tensor *d = quern_silu(g, quern_dense(g, h, &(quern_dense_desc){.units = WIDTH}));
    h = quern_add(g, h, quern_dropout(g, d, &(quern_dropout_desc){.probability = 0.25f}));
    h = quern_mean(g, h, &(quern_mean_desc){.axis_count = 1, .axes = {1}});
    return finish(g, quern_dense(g, h, &(quern_dense_desc){.units = 10, .name = "out"}), out);
}

quern_status open_images(quern_dataset **out, quern_device *device) {
    return quern_dataset_synthetic(out, device, &(quern_synthetic_desc){.length = SAMPLES});
}

quern_status open_tokens(quern_dataset **out, quern_device *device) {
    static int32_t tokens[SAMPLES][TOKENS], labels[SAMPLES];
    for (int n = 0; n < SAMPLES; n++) {
        labels[n] = n % 10;
        for (int i = 0; i < TOKENS; i++) tokens[n][i] = (n * 7 + i * i) % VOCABULARY;
    }
    return quern_dataset_arrays(
        out, device,
        &(quern_arrays_desc){
            .length = SAMPLES,
            .field_count = 2,
            .fields = {{.name = "token", .dtype = QUERN_I32, .rank = 1, .dim = {TOKENS}},
                       {.name = "label", .dtype = QUERN_I32, .class_count = 10}},
            .data = {tokens, labels}});
}

const verify_case verify_cases[] = {{"mlp", build_mlp, open_images},
                                    {"lenet", build_lenet, open_images},
                                    {"normalised", build_normalised, open_images},
                                    {"tokens", build_tokens, open_tokens}};
const int verify_case_count = sizeof verify_cases / sizeof *verify_cases;
