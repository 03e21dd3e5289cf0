/* model.h - a graph with parameters of several ranks and a buffer, for saving and loading. */
#ifndef QUERN_TESTS_SAFETENSORS_MODEL_H
#define QUERN_TESTS_SAFETENSORS_MODEL_H

#include <quern/quern.h>

typedef struct small_model {
    quern_device *device;
    quern_graph *graph;
    quern_parameters *parameters;
} small_model;

/* host may be NULL; width: units of the first layer; destroy after a failure too. */
quern_status small_model_create(small_model *m, const quern_host *host, uint64_t seed,
                                int64_t width);
void small_model_destroy(small_model *m);

/* Whether every parameter and buffer has the same bits in both. */
bool small_model_equal(const small_model *a, const small_model *b);

#endif
