/* loss_sum.h - a loss is a sum over chunks: each chunk leaves its part in scratch as a double, and
 * the parts are added in order, so the sum does not depend on the threads. */
#ifndef QUERN_KERNELS_CPU_LOSS_SUM_H
#define QUERN_KERNELS_CPU_LOSS_SUM_H

#include "../../host/base/size.h"
#include "cpu.h"
#include "real.h"

static inline quern_status loss_plan(quern_kernel_plan *plan, int64_t chunks) {
    if (count_bytes(chunks, sizeof(double), &plan->forward_scratch_bytes)) return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "the chunks' sums do not fit in 64 bits");
}

static inline void loss_add_chunks(const quern_kernel_args *args, int64_t chunks) {
    const double *part = args->scratch;
    double sum = 0;
    for (int64_t i = 0; i < chunks; i++) sum += part[i];
    if (args->out[0].dtype == QUERN_F32)
        *(float *)args->out[0].data = (float)sum;
    else
        *(double *)args->out[0].data = sum;
}

#endif
