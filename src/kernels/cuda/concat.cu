/* concat - y = the parts one after another along an axis;  g part = its piece of gy.
 * Any dtype forward, real ones backward. A launch a part. Cost: 1 read and 1 write per element.
 * Deterministic: yes. */
#include "copy.h"

/* The piece of `whole` that starts `start` elements behind its first along the axis. */
static quern_view piece_of(const quern_view *whole, const quern_view *part, int32_t axis,
                           int64_t start) {
    quern_view piece = *whole;
    piece.data =
        (char *)whole->data + (size_t)(start * whole->stride[axis]) * dtype_bytes(whole->dtype);
    piece.dim[axis] = part->dim[axis];
    piece.count = part->count;
    return piece;
}

static quern_status run(const quern_kernel_args *args, const quern_view *whole,
                        const quern_view *parts, bool backward) {
    const int32_t axis = ((const quern_concat_desc *)args->attributes)->axis;
    int64_t start = 0;
    for (int32_t p = 0; p < args->input_count; p++) {
        const quern_view *part = &parts[p];
        const quern_view piece = piece_of(whole, &args->in[p], axis, start);
        start += args->in[p].dim[axis];
        if (part->data == NULL || piece.count == 0) continue;
        QUERN_TRY(copy_view(args->stream, backward ? part : &piece, backward ? &piece : part,
                            backward && args->accumulate[p]));
    }
    return QUERN_OK;
}

static quern_status forward(const quern_kernel_args *args) {
    return run(args, &args->out[0], args->in, false);
}

static quern_status backward(const quern_kernel_args *args) {
    return run(args, &args->grad_out[0], args->grad_in, true);
}

const quern_kernel quern_cuda_concat = {copy_plan, forward, backward, NULL};
