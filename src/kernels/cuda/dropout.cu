/* dropout - training: y = x / (1 - p) where u_i >= p, else 0;  gx = gy by the same mask.
 *           evaluation: y = x;  gx = gy.
 * u_i is uniform number i of the node's stream (random.h), a function of (seed, purpose, attempt,
 * microbatch, i) alone: backward draws the mask again instead of saving it, and the CPU draws the
 * same one.
 * Cost: 1 read, 1 write and a quarter of a Philox block per element (F64, and buffers that are not
 * aligned: one). Deterministic: yes.
 * Source: Srivastava et al. 2014, the inverted form. */
#include "../../host/base/random.h"
#include "map.h"

namespace {

struct keep : map_op {
    const quern_run *run;
    uint32_t purpose;
    float probability; /* 0 in evaluation: everything is kept */
    random_key key;

    __device__ void load() { key = {run->seed, purpose, run->attempt, (uint32_t)run->microbatch}; }

    template <typename R> __device__ R operator()(uint32_t bits, R x) const {
        if (probability == 0) return x;
        const R factor = (R)1 / ((R)1 - (R)probability);
        return random_uniform(bits) >= probability ? x * factor : (R)0;
    }
};

} // namespace

/* A pack of 4 or 8 begins where a block of draws does; 2 are the half of one. */
template <int WIDTH> struct map_part<WIDTH, keep> {
    const keep &op;
    uint32_t bits[WIDTH] = {};
    __device__ map_part(const keep &whole, int64_t index) : op(whole) {
        if (op.probability == 0) return;
        if constexpr (WIDTH < 4) {
            for (int j = 0; j < WIDTH; j++) bits[j] = random_u32(&op.key, index + j);
        } else {
            LAUNCH_UNROLLED
            for (int j = 0; j < WIDTH; j += 4) random_block(&op.key, (index + j) >> 2, bits + j);
        }
    }
    template <typename R> __device__ R operator()(int j, R x) const { return op(bits[j], x); }
};

namespace {

quern_status run(const quern_kernel_args *args, const quern_view *from, const quern_view *to,
                 bool add) {
    const quern_dropout_desc *d = (const quern_dropout_desc *)args->attributes;
    keep op = {};
    op.run = args->run;
    op.purpose = args->purpose;
    op.probability = args->training ? d->probability : 0;
    if (op.probability == 0 && from->data == to->data) return QUERN_OK;
    return real_dispatch(to->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return map(args->stream, to->count, op, add, (T *)to->data, (const T *)from->data);
    });
}

quern_status forward(const quern_kernel_args *args) {
    return run(args, &args->in[0], &args->out[0], false);
}

quern_status backward(const quern_kernel_args *args) {
    if (args->grad_in[0].data == NULL) return QUERN_OK;
    return run(args, &args->grad_out[0], &args->grad_in[0], args->accumulate[0]);
}

} // namespace

const quern_kernel quern_cuda_dropout = {real_plan, forward, backward, NULL};
