/* field_plan.h - a field's plan carried out on the host. */
#ifndef QUERN_KERNELS_CPU_FIELD_PLAN_H
#define QUERN_KERNELS_CPU_FIELD_PLAN_H

#include "../field_plan.h"

/* Writes one sample. The crop and the flip are drawn from (seed, epoch, sample) alone. */
void field_plan_apply(const field_plan *plan, const void *from, void *to, uint64_t seed,
                      int64_t epoch, int64_t sample);

#endif
