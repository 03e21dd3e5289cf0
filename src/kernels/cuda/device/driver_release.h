/* driver_release.h - the release of the NVIDIA driver, "580.65.06", which CUDA itself does not
 * tell. */
#ifndef QUERN_KERNELS_CUDA_DRIVER_RELEASE_H
#define QUERN_KERNELS_CUDA_DRIVER_RELEASE_H

#include <stddef.h>

/* The driver writes it here. */
#define DRIVER_RELEASE_FILE "/proc/driver/nvidia/version"
/* The first release whose driver supports CUDA 13. */
#define DRIVER_RELEASE_OF_CUDA_13 "580"

/* "" when the file is not there or names none. */
void driver_release_read(const char *path, char *to, size_t bytes);

#endif
