/* contiguous - y = x, row-major or, between two layouts of images, in y's strides;  gx = gy into
 * x's strides.
 * Any dtype forward, real ones backward. Cost: 1 read and 1 write per element; where what is
 * innermost in y is not in x, through squares in shared memory if x's innermost axis is y's last
 * but one, else by single elements.
 * Deterministic: yes, no reduction. */
#include "copy.h"

static quern_status forward(const quern_kernel_args *args) {
    return copy_view(args->stream, &args->out[0], &args->in[0], false);
}

static quern_status backward(const quern_kernel_args *args) {
    if (args->grad_in[0].data == NULL) return QUERN_OK;
    return copy_view(args->stream, &args->grad_in[0], &args->grad_out[0], args->accumulate[0]);
}

const quern_kernel quern_cuda_contiguous = {copy_plan, forward, backward, NULL};
