#include "weights.h"

#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../graph/graph.h"

#include <inttypes.h>
#include <string.h>

static quern_status widen(const quern_host *host, const quern_safetensors_entry *e, int64_t count,
                          quern_parameters *parameters, const quern_tensor *tensor) {
    double *wide = NULL;
    QUERN_TRY(memory_allocate(host, &wide, count, sizeof *wide, "weights as F64"));
    for (int64_t i = 0; i < count; i++) {
        float narrow; /* the file's data is not aligned */
        memcpy(&narrow, (const char *)e->data + (size_t)i * sizeof narrow, sizeof narrow);
        wide[i] = (double)narrow;
    }
    const quern_status status =
        quern_parameters_write(parameters, tensor, wide, (size_t)count * sizeof *wide);
    memory_release(host, wide, count, sizeof *wide);
    return status;
}

static quern_status load_one(const quern_safetensors *from, quern_graph *graph,
                             quern_parameters *parameters, const quern_tensor *tensor) {
    const quern_safetensors_entry *e = quern_safetensors_find(from, tensor->name);
    int64_t count = 1;
    for (int32_t i = 0; i < tensor->shape.rank; i++) count *= tensor->shape.dim[i];
    if (!e || e->dtype != QUERN_F32 || e->bytes != (size_t)count * sizeof(float))
        return quern_fail(QUERN_INPUT,
                          "verify: the weights hold no tensor %s of %" PRId64 " values of F32",
                          tensor->name, count);
    return widen(graph->host, e, count, parameters, tensor);
}

quern_status weights_load(const quern_safetensors *from, quern_graph *graph,
                          quern_parameters *parameters) {
    const int32_t count = quern_graph_parameter_count(graph);
    if (count == 0 || quern_graph_parameter(graph, 0)->shape.dtype == QUERN_F32)
        return quern_safetensors_load(from, graph, parameters);
    for (int32_t i = 0; i < count; i++)
        QUERN_TRY(load_one(from, graph, parameters, quern_graph_parameter(graph, i)));
    return QUERN_OK;
}
