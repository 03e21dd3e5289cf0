/* dropout - training: y = x / (1 - p) where u_i >= p, else 0;  gx = gy by the same mask.
 *           evaluation: y = x;  gx = gy.
 * u_i is uniform number i of the node's stream (random.h), a function of (seed, purpose, attempt,
 * microbatch, i) alone: backward draws the mask again instead of saving it.
 * Cost: 1 read, 1 write and a quarter of a Philox block per element. Deterministic: yes.
 * Source: Srivastava et al. 2014, the inverted form. */
#ifndef REAL
#include "../../host/base/random.h"
#include "cpu.h"
#include "real.h"
#include "vector_math.h"
#include <string.h>

typedef struct dropout_work {
    random_key key;
    const void *from;
    void *to;
    int64_t count;
    float probability; /* 0 in evaluation: everything is kept */
    bool accumulate;
} dropout_work;

enum { DRAW_BLOCKS = 64, DRAWS = 4 * DRAW_BLOCKS }; /* a chunk is a multiple of DRAWS */

static void draw(const random_key *key, int64_t first, uint32_t out[DRAWS]) {
    for (int64_t b = 0; b < DRAW_BLOCKS; b++) random_block(key, first / 4 + b, &out[4 * b]);
}

#define REAL_FILE "dropout.c"
#include "each_real.h"

static quern_status run(const quern_kernel_args *args, const void *from, const quern_view *to,
                        bool accumulate) {
    const quern_dropout_desc *d = args->attributes;
    dropout_work work = {.from = from, .to = to->data, .count = to->count};
    work.accumulate = accumulate;
    if (args->training && d->probability > 0) {
        work.probability = d->probability;
        work.key = (random_key){args->run->seed, args->purpose, args->run->attempt,
                                (uint32_t)args->run->microbatch};
    } else if (from == to->data) {
        return QUERN_OK;
    }
    cpu_parallel(args->stream, to->count, REAL_PICK(to->dtype, mask_chunk), &work);
    return QUERN_OK;
}

static quern_status forward(const quern_kernel_args *args) {
    return run(args, args->in[0].data, &args->out[0], false);
}

static quern_status backward(const quern_kernel_args *args) {
    if (args->grad_in[0].data == NULL) return QUERN_OK;
    return run(args, args->grad_out[0].data, &args->grad_in[0], args->accumulate[0]);
}

const quern_kernel quern_cpu_dropout = {
    .plan = real_plan, .forward = forward, .backward = backward};

#else

static void REAL_NAME(mask_chunk)(void *context, int64_t chunk) {
    const dropout_work *w = context;
    const cpu_range range = cpu_parallel_range(chunk, w->count);
    const REAL *from = w->from;
    REAL *to = w->to;
    const float probability = w->probability;
    const REAL factor = (REAL)1 / ((REAL)1 - (REAL)probability);
    uint32_t bits[DRAWS] = {0};
    for (int64_t start = range.start; start < range.end; start += DRAWS) {
        const int64_t count = cpu_min(DRAWS, range.end - start);
        if (probability > 0) draw(&w->key, start, bits);
        REAL masked[DRAWS];
        for (int64_t i = 0; i < count; i++)
            masked[i] = random_uniform(bits[i]) >= probability ? from[start + i] * factor : (REAL)0;
        for (int64_t i = 0; i < count; i++)
            to[start + i] = w->accumulate ? to[start + i] + masked[i] : masked[i];
    }
}

#endif
