/* kinks.h - where two runs of one model took different branches. */
#ifndef QUERN_TRAIN_VERIFY_KINKS_H
#define QUERN_TRAIN_VERIFY_KINKS_H

#include "../../graph/graph.h"

/* The branches that differ in the ops that read `tensor`, whose values a and b are. */
int64_t kinks_count(const quern_tensor *tensor, int64_t batch_size, const double *a,
                    const double *b);

#endif
