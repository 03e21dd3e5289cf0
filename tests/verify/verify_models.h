/* verify_models.h - models and data that quern_verify is tried on, on any device. */
#ifndef QUERN_TESTS_VERIFY_MODELS_H
#define QUERN_TESTS_VERIFY_MODELS_H

#include <quern/quern.h>

/* Builders for quern_verify_desc; self: NULL, except where said. */
quern_status build_mlp(void *self, quern_graph *g, quern_verify_model *out);   /* image, label */
quern_status build_lenet(void *self, quern_graph *g, quern_verify_model *out); /* image, label */
/* image, label: convolution with a bias that batch norm takes away, batch norm, GELU, dropout. */
quern_status build_normalised(void *self, quern_graph *g, quern_verify_model *out);
/* token (5), label: embedding, layer norm, dropout, a residual dense layer, mean, softmax. */
quern_status build_tokens(void *self, quern_graph *g, quern_verify_model *out);

/* Samples made up: image (1, 28, 28) U8 and label, or token (5) I32 and label. */
quern_status open_images(quern_dataset **out, quern_device *device);
quern_status open_tokens(quern_dataset **out, quern_device *device);

/* The n-th model with its data. */
typedef struct verify_case {
    const char *name;
    quern_status (*build)(void *self, quern_graph *g, quern_verify_model *out);
    quern_status (*open)(quern_dataset **out, quern_device *device);
} verify_case;
extern const verify_case verify_cases[];
extern const int verify_case_count;

#endif
