/* linear_relu - y = max(x W^T + b, 0), the clamp done while a tile of the product is in cache.
 * With m = gy where y > 0, else 0:  gx = m W;  gW = m^T x;  gb = column sums of m.
 * Shapes, cost and determinism as linear, plus one pass over gy into scratch (gy is not ours to
 * change). */
#ifndef REAL
#include "../../host/base/size.h"
#include "half_kernel.h"
#include "linear.h"
#include "real.h"

enum { MASK_CHUNK = 16384 };

#define REAL_FILE "linear_relu.c"
#include "each_real.h"

static quern_status plan(quern_kernel_plan *plan) {
    QUERN_TRY(linear_plan(plan));
    const quern_view *y = &plan->args->out[0];
    if (!plan->backward) return QUERN_OK;
    if (count_bytes(y->count, quern_dtype_bytes(y->dtype), &plan->backward_scratch_bytes))
        return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "the masked gradient's bytes do not fit in 64 bits");
}

static quern_status forward(const quern_kernel_args *args) {
    linear_forward(args, true);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    const quern_view *gy = &args->grad_out[0];
    quern_cpu_parallel(args->stream, count_divide_up(gy->count, MASK_CHUNK),
                       REAL_PICK(gy->dtype, mask), (void *)(uintptr_t)args);
    linear_backward(args, args->scratch);
    return QUERN_OK;
}

/* To round before the clamp or after it is the same. */
static const quern_kernel wide = {plan, forward, backward, NULL};
HALF_KERNEL(, quern_cpu_linear_relu, wide, true);

#else

static void REAL_NAME(mask)(void *context, int64_t chunk) {
    const quern_kernel_args *args = context;
    const REAL *y = args->out[0].data, *gy = args->grad_out[0].data;
    REAL *masked = args->scratch;
    const int64_t stop = smaller((chunk + 1) * MASK_CHUNK, args->out[0].count);
    for (int64_t i = chunk * MASK_CHUNK; i < stop; i++) masked[i] = y[i] > 0 ? gy[i] : 0;
}

#endif
