/* ops.c - a test for each row of op_cases.def, and the proof that no op lacks one: an op of ops.def
 * without a row leaves HAS_ROW_<op> undeclared here, a row without cases an undefined symbol. */
#include "op_check.h"
#include "tolerances.h"

#define OP_CASES(op, forward, backward)                                                            \
    extern void op_cases_##op(void);                                                               \
    TEST_CASE(Op, op) { op_cases_run(QUERN_OP_ID_##op, forward, backward, op_cases_##op); }
#include "op_cases.def"
#undef OP_CASES

enum {
#define OP_CASES(op, forward, backward) HAS_ROW_##op = 1,
#include "op_cases.def"
#undef OP_CASES
    HAS_ROW_reshape = 1, /* aliases run no kernel */
    HAS_ROW_permute = 1,
    HAS_ROW_slice = 1,
};

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    _Static_assert(HAS_ROW_##name == 1, "an op of ops.def has no row in op_cases.def");
#include <quern/ops.def>
#undef QUERN_OP
