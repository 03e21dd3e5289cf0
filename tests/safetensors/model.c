#include "model.h"

#include <string.h>

quern_status small_model_create(small_model *m, const quern_host *host, uint64_t seed,
                                int64_t width) {
    *m = (small_model){0};
    quern_device_desc desc = {.kind = QUERN_DEVICE_CPU, .thread_count = 1, .seed = seed};
    if (host) desc.host = *host;
    quern_status status = quern_device_create(&m->device, &desc);
    if (status == QUERN_OK) status = quern_graph_create(&m->graph, m->device, NULL);
    if (status != QUERN_OK) return status;
    quern_graph *g = m->graph;
    quern_tensor *x =
        quern_input(g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 3}});
    x = quern_dense(g, x, &(quern_dense_desc){.units = width, .name = "fc1"});
    quern_dense(g, x, &(quern_dense_desc){.units = 2, .name = "fc2", .no_bias = true});
    quern_buffer(g, &(quern_parameter_desc){.name = "mean \"quoted\"", .rank = 1, .dim = {4}});
    quern_buffer(g, &(quern_parameter_desc){.name = "count"});
    status = quern_graph_status(g);
    return status == QUERN_OK ? quern_parameters_create(&m->parameters, g, NULL) : status;
}

void small_model_destroy(small_model *m) {
    quern_parameters_destroy(m->parameters);
    quern_graph_destroy(m->graph);
    quern_device_destroy(m->device);
    *m = (small_model){0};
}

bool small_model_equal(const small_model *a, const small_model *b) {
    for (int32_t i = 0; i < quern_graph_parameter_count(a->graph); i++) {
        const quern_tensor *x = quern_graph_parameter(a->graph, i);
        const quern_tensor *y = quern_graph_parameter(b->graph, i);
        const quern_shape shape = quern_tensor_shape(x);
        size_t bytes = sizeof(float);
        for (int32_t k = 0; k < shape.rank; k++) bytes *= (size_t)shape.dim[k];
        float left[64], right[64];
        if (bytes > sizeof left ||
            quern_parameters_read(a->parameters, x, left, bytes) != QUERN_OK ||
            quern_parameters_read(b->parameters, y, right, bytes) != QUERN_OK ||
            memcmp(left, right, bytes) != 0)
            return false;
    }
    return true;
}
