/* graph_fixture.h - a device, a graph on it, and one training step of it, for the tests here. */
#ifndef QUERN_TESTS_GRAPH_FIXTURE_H
#define QUERN_TESTS_GRAPH_FIXTURE_H

#include "quern_test.h"
#include <quern/quern.h>

typedef struct fixture {
    quern_device *device;
    quern_graph *graph;
} fixture;

fixture fixture_open(quern_dtype dtype);
void fixture_close(fixture *f);

/* A parameter drawn from [-1, 1), named `name`, of up to four dims (0 ends). */
quern_tensor *fixture_parameter(fixture *f, const char *name, int64_t a, int64_t b, int64_t c,
                                int64_t d);

/* Compiles the F64 graph for `batch`, checks d(loss / weight)/d(parameter) of every unfrozen
 * parameter against central differences (DESIGN 9.1), fused and unfused, first and following
 * microbatch. Inputs are filled from a fixed sequence; I32 inputs with 0, 1, 2, 0, 1, … */
void fixture_check_gradients(fixture *f, quern_tensor *loss, int64_t batch);

#endif
