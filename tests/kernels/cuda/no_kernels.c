/* no_kernels.c - the module's tables without a kernel in them, in the place of table.c: for tests
 * of all else, which then need neither nvcc's kernels nor the emulation's. */
#include "kernels/cuda/cuda.h"

const quern_kernel *const cuda_kernels[QUERN_OP_ID_COUNT] = {NULL};
const quern_kernel_function cuda_tasks[TASK_COUNT] = {NULL};
const quern_kernel_function cuda_update_rules[QUERN_OPTIMIZER_COUNT] = {NULL};
