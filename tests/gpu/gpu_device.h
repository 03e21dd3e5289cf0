/* gpu_device.h - whether there is a CUDA device to test on. */
#ifndef QUERN_TESTS_GPU_GPU_DEVICE_H
#define QUERN_TESTS_GPU_GPU_DEVICE_H

#include <stdbool.h>

/* The running test fails where a GPU is required, and is skipped elsewhere. */
void gpu_leave_out(const char *reason);
/* False: the test has been left out. */
bool gpu_has_device(void);

#endif
