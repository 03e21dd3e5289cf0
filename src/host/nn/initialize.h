/* initialize.h - starting values, again. */
#ifndef QUERN_NN_INITIALIZE_H
#define QUERN_NN_INITIALIZE_H

#include <quern/program.h>

/* Every parameter and buffer gets the value that quern_parameters_create gave it. */
QUERN_MUST_CHECK quern_status parameters_initialize(quern_parameters *p);

#endif
