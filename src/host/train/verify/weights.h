/* weights.h - the values that a run of a verification begins with, where they are trained ones. */
#ifndef QUERN_TRAIN_VERIFY_WEIGHTS_H
#define QUERN_TRAIN_VERIFY_WEIGHTS_H

#include "../../graph/parameters.h"
#include <quern/safetensors.h>

/* Parameters and running statistics become those of the file; a graph of F64 gets F32 widened.
 * INPUT names the tensor that is not there, or is another. */
QUERN_MUST_CHECK quern_status weights_load(const quern_safetensors *from, quern_graph *graph,
                                           quern_parameters *parameters);

#endif
