/* absent_kernels.c - stands in, in the module's table, for kernels that an executable is linked
 * without: those of NVIDIA's libraries where there are no headers of theirs, all of them where only
 * what lies around the kernels is tested. A real one of the same name takes its place. */
#include "kernels/cuda/table.h"

#include "host/base/report.h"

#define ABSENT __attribute__((weak))

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    extern const quern_kernel quern_cuda_##name;                                                   \
    ABSENT const quern_kernel quern_cuda_##name = {0};
#include <quern/ops.def>
#undef QUERN_OP

#define ABSENT_FUNCTION(name)                                                                      \
    quern_status name(const quern_kernel_args *args);                                              \
    ABSENT quern_status name(const quern_kernel_args *args) {                                      \
        (void)args;                                                                                \
        return quern_fail(QUERN_UNSUPPORTED, #name " is not linked");                              \
    }
#define X(name) ABSENT_FUNCTION(quern_cuda_task_##name)
TASK_LIST(X)
#undef X
#define X(constant, name, states, reads) ABSENT_FUNCTION(quern_cuda_update_##name)
QUERN_OPTIMIZER_LIST(X)
#undef X
