/* op_check.h - what the generated main of the op tests needs of op_check. */
#ifndef QUERN_TESTS_KERNELS_OP_CHECK_H
#define QUERN_TESTS_KERNELS_OP_CHECK_H

#include "op_case.h"

/* Runs cases() with op_check checking `op`; F32 against F64 within these unless a case says else.
 */
void op_cases_run(quern_op_id op, double forward_tolerance, double backward_tolerance,
                  void (*cases)(void));

#endif
