/* world.h - a small network over made data, from which a trainer test starts: 4 numbers a sample,
 * dense(8), ReLU, dense(3), softmax cross-entropy, accuracy and confusion. */
#ifndef QUERN_TESTS_TRAIN_WORLD_H
#define QUERN_TESTS_TRAIN_WORLD_H

#include <quern/quern.h>

enum { WORLD_FEATURES = 4, WORLD_HIDDEN = 8, WORLD_CLASSES = 3, WORLD_SAMPLES_MAX = 64 };

typedef struct world {
    quern_device *device;
    quern_graph *graph;
    quern_dataset *train, *valid;
    quern_tensor *x, *label, *logits, *loss;
    quern_metric metrics[2];
    quern_trainer_desc desc; /* to be changed by the test before create */
    quern_trainer *trainer;
    float train_x[WORLD_SAMPLES_MAX][WORLD_FEATURES], valid_x[WORLD_SAMPLES_MAX][WORLD_FEATURES];
    int32_t train_label[WORLD_SAMPLES_MAX], valid_label[WORLD_SAMPLES_MAX];
} world;

typedef struct world_desc {
    int64_t train_length, valid_length; /* default 10; valid -1: none */
    int64_t batch_size;                 /* default 4: an epoch of 4, 4, 2 */
    int32_t thread_count;               /* default 1; of the CPU */
    bool cuda;                          /* else the CPU */
    bool tune;                          /* the device */
    bool trace_ops;
    bool dropout; /* with probability 1/4 between the layers */
    quern_host host;
} world_desc;

/* On failure everything made so far is destroyed again. */
quern_status world_open(world *w, const world_desc *desc);
void world_close(world *w); /* the trainer too */

/* All parameters one after another; returns how many floats. */
int64_t world_weights(world *w, float *out, int64_t capacity);

/* Mean loss and accuracy of the parameters as they are, computed here in double. */
typedef struct world_score {
    double loss, accuracy;
    double confusion[WORLD_CLASSES * WORLD_CLASSES];
} world_score;
world_score world_brute_force(world *w, bool valid);

/* desc with a callback list. */
quern_trainer_desc world_with(const world *w, const quern_callback *callbacks, int32_t count);

#endif
