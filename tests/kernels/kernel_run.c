#include "kernel_run.h"
#include <quern/host.h>
#include <stdlib.h>
#include <string.h>

quern_view view_of(void *data, quern_dtype dtype, int32_t rank, const int64_t *dim) {
    quern_view v = {.data = data, .count = 1, .rank = rank, .dtype = dtype};
    for (int32_t i = rank - 1; i >= 0; i--) {
        v.dim[i] = dim[i];
        v.stride[i] = v.count;
        v.count *= dim[i];
    }
    return v;
}

/* SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014). */
void fill_random(double *out, int64_t count, uint32_t seed) {
    for (int64_t i = 0; i < count; i++) {
        uint64_t z = ((uint64_t)seed << 32 | (uint64_t)i) * UINT64_C(0x9E3779B97F4A7C15);
        z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
        out[i] = (double)((z ^ z >> 31) >> 40) / (1 << 23) - 1;
    }
}

void fill_random_f32(float *out, int64_t count, uint32_t seed) {
    for (int64_t i = 0; i < count; i++) {
        double value;
        fill_random(&value, 1, seed * 1000003u + (uint32_t)i);
        out[i] = (float)value;
    }
}

static void *not_a_number(size_t bytes) {
    const size_t whole = (bytes + 127) / 64 * 64;
    void *p = aligned_alloc(64, whole);
    if (p != NULL) memset(p, 0xFF, whole);
    return p;
}

static quern_status run_on(quern_stream *stream, const kernel_run *run) {
    const quern_kernel *kernel = quern_backend_cpu.kernels[run->op];
    const bool backward = run->grad_out[0].data != NULL;
    quern_kernel_args args = {.attributes = run->attributes,
                              .input_count = run->input_count,
                              .output_count = run->output_count,
                              .in = run->in,
                              .out = run->out,
                              .grad_out = run->grad_out,
                              .grad_in = run->grad_in,
                              .accumulate = run->accumulate,
                              .training = !run->evaluation,
                              .deterministic = true,
                              .stream = stream};
    quern_kernel_plan plan = {.args = &args, .backward = backward, .wanted = UINT32_MAX};
    quern_status status = kernel->plan != NULL ? kernel->plan(&plan) : QUERN_OK;
    if (status != QUERN_OK) return status;
    quern_kernel_args back = args;
    void *saved = not_a_number(plan.saved_bytes);
    args.saved = back.saved = plan.saved_bytes > 0 ? saved : NULL;
    args.scratch = not_a_number(plan.forward_scratch_bytes);
    back.scratch = not_a_number(plan.backward_scratch_bytes);
    args.plan = back.plan = plan.plan;
    status = quern_backend_cpu.call(stream, kernel->forward, &args);
    if (status == QUERN_OK && backward)
        status = quern_backend_cpu.call(stream, kernel->backward, &back);
    const quern_status waited = quern_backend_cpu.stream_wait(stream);
    if (kernel->drop != NULL) kernel->drop(plan.plan);
    free(saved);
    free(args.scratch);
    free(back.scratch);
    return status != QUERN_OK ? status : waited;
}

quern_status kernel_run_all(const kernel_run *run) {
    const quern_host host = quern_host_default();
    const backend_open_desc desc = {.thread_count = run->thread_count > 0 ? run->thread_count : 2,
                                    .host = &host};
    backend_device *device = NULL;
    quern_stream *stream = NULL;
    quern_status status = quern_backend_cpu.open(&device, &desc);
    if (status != QUERN_OK) return status;
    status = quern_backend_cpu.stream_create(device, &stream, "test");
    if (status == QUERN_OK) {
        status = run_on(stream, run);
        quern_backend_cpu.stream_destroy(stream);
    }
    quern_backend_cpu.close(device);
    return status;
}
