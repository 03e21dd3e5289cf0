/* architecture.h - which devices the kernels of this build run on. */
#ifndef QUERN_KERNELS_CUDA_ARCHITECTURE_H
#define QUERN_KERNELS_CUDA_ARCHITECTURE_H

#include <stdbool.h>

/* `built` is what nvcc compiled for, as CMake writes it: "90" is machine code and PTX, "90-real"
 * and "90-virtual" are one of them, "90a" is machine code for 9.0 alone; separated by commas.
 * Machine code runs on its own major version from its minor on; PTX on everything from its
 * capability on, compiled by the driver when it is first used: *from_ptx. A word without a number
 * ("native") is taken to cover everything. */
bool architecture_covers(const char *built, int capability, bool *from_ptx);

#endif
