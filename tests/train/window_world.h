/* window_world.h - what the tests of windows share: networks over the world's data with the things
 * that a window must treat right (rows that do not count, batch norm, dropout), and a brute-force
 * list of which samples each update of a run consumes. */
#ifndef QUERN_TESTS_TRAIN_WINDOW_WORLD_H
#define QUERN_TESTS_TRAIN_WINDOW_WORLD_H

#include "world.h"

enum { WINDOW_STATE_MAX = 512, WINDOWS_MAX = 64, WINDOW_SAMPLES_MAX = 128, IGNORED_LABEL = 2 };

typedef struct network_desc {
    quern_dtype dtype;
    bool ignore; /* rows labelled IGNORED_LABEL count for nothing */
    bool batch_norm;
    bool dropout;
    bool plain; /* the loss is a sum made of plain ops: the samples are its weight */
} network_desc;

/* Puts another graph in place of the world's, over the same data. */
quern_status world_network(world *w, const network_desc *desc);

/* Every parameter and buffer of the trainer, as doubles; returns how many. */
int64_t window_state(world *w, double *out);
/* The largest difference, relative to the largest number. */
double window_state_difference(const double *a, const double *b, int64_t count);

/* The samples of each window of a run without shuffle, counted out by hand. */
typedef struct window_list {
    int32_t count, left_over; /* batches that wait or were dropped at the run's end */
    int32_t sample_count[WINDOWS_MAX];
    int32_t samples[WINDOWS_MAX][WINDOW_SAMPLES_MAX];
} window_list;

typedef struct window_run_desc {
    int64_t length, batch_size, accumulate, epochs;
    quern_tail tail;
} window_run_desc;

void window_list_make(window_list *out, const window_run_desc *desc);

/* Trains desc without its data set: one batch, as large as it takes, for each window of the list.
 */
quern_status window_list_train(world *w, quern_trainer_desc desc, const window_list *list);

#endif
