/* linear_relu - y = max(x W^T + b, 0), in one call where cuBLASLt has the epilogue.
 * With m = gy where y > 0, else 0:  gx = m W;  gW = m^T x;  gb = column sums of m.
 * Shapes, cost and determinism as linear, plus one pass over gy into scratch (gy is not ours to
 * change). No auxiliary bit mask: y itself is there to be read. */
#include "linear.h"

#include "../../host/base/size.h"
#include "rows.h"

/* Where the products' scratch begins, behind the masked gradient. */
static bool masked_bytes(const quern_view *y, size_t *bytes) {
    return count_bytes(y->count, cuda_dtype_bytes(y->dtype), bytes) && size_align(*bytes, bytes);
}

static quern_status plan(quern_kernel_plan *plan) {
    size_t masked;
    QUERN_TRY(cuda_linear_plan(plan, "linear_relu", true));
    if (!plan->backward) return QUERN_OK;
    if (masked_bytes(&plan->args->out[0], &masked) &&
        size_add(plan->backward_scratch_bytes, masked, &plan->backward_scratch_bytes))
        return QUERN_OK;
    cuda_linear_drop(plan->plan);
    plan->plan = NULL;
    return cuda_fail(QUERN_SHAPE, "the masked gradient's bytes do not fit in 64 bits");
}

static quern_status forward(const quern_kernel_args *args) { return cuda_linear_forward(args); }

static quern_status backward(const quern_kernel_args *args) {
    const quern_view *gy = &args->grad_out[0], *y = &args->out[0];
    const rows_shape flat = {gy->dtype, 1, gy->count};
    size_t masked = 0;
    (void)masked_bytes(y, &masked); /* fitted when it was planned */
    QUERN_TRY(rows_mask(args->stream, flat, args->scratch, gy->data, y->data));
    return cuda_linear_backward(args, args->scratch, (char *)args->scratch + masked);
}

const quern_kernel quern_cuda_linear_relu = {plan, forward, backward, cuda_linear_drop};
