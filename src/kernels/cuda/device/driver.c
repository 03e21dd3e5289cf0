/* driver.c - the table of CUDA calls filled with the CUDA runtime itself. */
#include "driver.h"

#include <cuda_profiler_api.h>

const cuda_driver_table cuda_driver = {
#define X(name, parameters) .name = name,
    CUDA_DRIVER_LIST(X)
#undef X
        .cudaGetErrorName = cudaGetErrorName,
    .cudaGetErrorString = cudaGetErrorString,
};
