/* cudnn_measure.c - how long a plan takes on this device, when tuning was asked for. */
#include "cudnn_plan_parts.h"
#include "measure.h"

#include <math.h>

typedef struct trial {
    cudnn_plan *plan;
    const cudnn_graph *graph;
    quern_stream *stream;
} trial;

static quern_status run_once(void *self, void *const *operands, void *scratch) {
    const trial *t = self;
    cudnn_plan_run_desc run = {
        .count = t->graph->tensor_count, .scratch = scratch, .stream = t->stream};
    for (int32_t i = 0; i < run.count; i++) {
        run.ids[i] = t->graph->tensors[i].id;
        run.pointers[i] = operands[i];
    }
    return cudnn_plan_run(t->plan, &run);
}

quern_status cudnn_measure(cudnn_plan *p, const cudnn_graph *g, quern_stream *stream,
                           double *milliseconds, bool *measured) {
    trial t = {p, g, stream};
    measure m;
    measure_desc d = {
        .what = g->op, .count = g->tensor_count, .scratch_bytes = cudnn_plan_scratch_bytes(p)};
    for (int32_t i = 0; i < d.count; i++) {
        d.dtype[i] = g->tensors[i].dtype;
        d.elements[i] = g->tensors[i].elements;
    }
    *milliseconds = (double)INFINITY;
    quern_status status = measure_begin(&m, stream, &d, measured);
    if (status == QUERN_OK && *measured) status = measure_time(&m, run_once, &t, milliseconds);
    measure_end(&m);
    return status;
}
