/* fault.h - how a kernel says that its data is wrong: an index outside of its table, a target that
 * is no class. Nothing waits for it: the stream keeps one record in pinned memory that the device
 * can write, and whoever waits for the stream next gets it as INPUT with a sentence. Until then
 *   - the kernel that found it goes on without reading or writing out of bounds: what a bad index
 *     would have chosen counts as zero;
 *   - the task `decide` sees it and freezes the run, so that no update is made from such data. */
#ifndef QUERN_KERNELS_CUDA_FAULT_H
#define QUERN_KERNELS_CUDA_FAULT_H

#include "../kernel.h"

/* The first to change `claimed` from 0 (atomicCAS) fills the rest, `code` last, behind a fence: the
 * host reads the record while kernels run. */
typedef struct cuda_fault {
    int32_t code; /* 0: none, or not whole yet; else 1 + quern_op_id of the op that found it */
    int32_t claimed;
    int64_t position, value, limit; /* element `position` is `value`, legal are 0 … limit - 1 */
} cuda_fault;

#endif
