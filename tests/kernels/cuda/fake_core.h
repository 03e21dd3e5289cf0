/* fake_core.h - the CUDA module opened as the core opens it, on the fake device. */
#ifndef QUERN_TESTS_KERNELS_CUDA_FAKE_CORE_H
#define QUERN_TESTS_KERNELS_CUDA_FAKE_CORE_H

#include "fake_device.h"
#include "kernels/module.h"

/* The backend's table, with this process's core behind it. */
const quern_backend *fake_core_open(void);
const quern_services *fake_core_services(void);
const quern_backend *quern_cuda_open(uint32_t abi, uint64_t op_table_hash,
                                     const quern_services *services);
const module_tools *quern_cuda_tools(uint32_t abi, uint64_t op_table_hash,
                                     const quern_services *services);

#endif
