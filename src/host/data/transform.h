/* transform.h - the application's transforms, and the plans that follow from them; what a plan does
 * to a sample is said in kernels/field_plan.h. */
#ifndef QUERN_DATA_TRANSFORM_H
#define QUERN_DATA_TRANSFORM_H

#include "../../kernels/cpu/field_plan.h"
#include "dataset.h"

/* Fills in the defaults, in place; INVALID for a number that makes no sense. */
QUERN_MUST_CHECK quern_status transform_resolve(quern_transform *transform);

/* transform: resolved, or NULL. augment: keep crop and flip. SHAPE, INVALID: names both sides. */
QUERN_MUST_CHECK quern_status field_plan_make(field_plan *out, const quern_field *field,
                                              const quern_transform *transform,
                                              const char *input_name, quern_dtype to,
                                              int64_t input_count, bool augment);

#endif
