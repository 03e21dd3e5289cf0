/* parameter_copies.c - the 16-bit copies of parameters, which programs of that precision read.
 *
 * They lie in a block of the values' layout. An update renews them as it writes the values; after
 * anything else that has written values they are stale, and who next issues work that reads them
 * has them rounded anew first. Rounded by chance, the draws are those of the last update, so that
 * the copies are a function of the values and of how many updates there were: nothing to be saved.
 */
#include "parameters.h"

#include "../base/size.h"
#include "../device/device.h"

static quern_status block_bytes(const quern_parameters *p, size_t *out) {
    *out = 0;
    if (p->copy_dtype == QUERN_F32) return QUERN_OK;
    if (count_bytes(p->value_count, quern_dtype_bytes(p->copy_dtype), out)) return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "%lld parameters are more than fit", (long long)p->value_count);
}

size_t parameters_copy_bytes(const quern_parameters *p) {
    size_t bytes = 0;
    return block_bytes(p, &bytes) == QUERN_OK ? bytes : SIZE_MAX;
}

quern_status parameters_copies_allocate(quern_parameters *p) {
    const quern_device *device = p->graph->device;
    size_t bytes = 0;
    QUERN_TRY(block_bytes(p, &bytes));
    if (bytes > 0) QUERN_TRY(device->backend->allocate(device->memory, &p->copies, bytes));
    p->round = (task_round){
        .from = p->values, .to = p->copies, .count = p->value_count, .dtype = p->copy_dtype};
    p->round_args = (quern_kernel_args){.attributes = &p->round, .stream = device->stream};
    p->stale = true;
    return QUERN_OK;
}

void parameters_copies_release(quern_parameters *p) {
    const quern_device *device = p->graph->device;
    if (p->copies) device->backend->release(device->memory, p->copies, parameters_copy_bytes(p));
    p->copies = NULL;
}

/* What was issued reads `round` until it has run, or has been dropped with a failure. */
quern_status parameters_copies_follow(quern_parameters *p, const task_state *state) {
    quern_status status = QUERN_OK;
    if (p->copies) status = device_wait_stream(p->graph->device, p->round_args.stream);
    p->round.state = state;
    p->round.stochastic = p->stochastic && state;
    p->stale = true;
    return status;
}

quern_status parameters_copies_issue(quern_parameters *p, quern_stream *stream) {
    const quern_backend *backend = p->graph->device->backend;
    if (!p->copies) return QUERN_OK;
    if (p->round_args.stream != stream) p->round_args.stream = stream; /* it may be being read */
    return backend->call(stream, backend->tasks[TASK_round], &p->round_args);
}

quern_status parameters_copies_renew(quern_parameters *p, quern_stream *stream) {
    if (!p->copies || !p->stale) return QUERN_OK;
    QUERN_TRY(parameters_copies_issue(p, stream));
    p->stale = false;
    return QUERN_OK;
}
