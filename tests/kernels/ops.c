/* ops.c - a test for each row of op_cases.def, and the proof that no op lacks one: an op of ops.def
 * without a row leaves HAS_ROW_<op> undeclared here, a row without cases an undefined symbol. */
#include "op_check.h"

#include "kernels/op_row.h"
#include "tolerances.h"

#define OP_ALIAS(op)
#define OP_CASES(op, forward, backward)                                                            \
    extern void op_cases_##op(void);                                                               \
    TEST_CASE(Op, op) { op_cases_run(QUERN_OP_ID_##op, forward, backward, op_cases_##op); }
#include "op_cases.def"
#undef OP_CASES
#undef OP_ALIAS

enum {
#define OP_ALIAS(op) HAS_ROW_##op = QUERN_OP_ALIAS,
#define OP_CASES(op, forward, backward) HAS_ROW_##op = 0,
#include "op_cases.def"
#undef OP_CASES
#undef OP_ALIAS
};

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    _Static_assert(((flags)&ALIAS) == HAS_ROW_##name,                                              \
                   "an op needs cases in op_cases.def, an alias a row OP_ALIAS");
#include <quern/ops.def>
#undef QUERN_OP
