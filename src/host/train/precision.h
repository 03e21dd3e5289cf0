/* precision.h - the trainer's precision and loss scale, as the desc has them. */
#ifndef QUERN_TRAIN_PRECISION_H
#define QUERN_TRAIN_PRECISION_H

#include "../../kernels/task.h"
#include <quern/train.h>

QUERN_MUST_CHECK quern_status trainer_precision_check(const quern_trainer_desc *desc);
void trainer_precision_defaults(quern_trainer_desc *desc);
/* Of a resolved desc. */
bool loss_scale_is_on(const quern_trainer_desc *desc);
task_scaler loss_scale_task(const quern_trainer_desc *desc);

#endif
