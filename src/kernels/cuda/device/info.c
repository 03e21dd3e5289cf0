/* info.c - what this module was built with, and what it finds on this machine. */
#include "device.h"
#include "driver_release.h"
#include "../library/library_report.h"

#include <stdio.h>

quern_status cuda_info(quern_cuda_info *out) {
    int driver = 0, runtime = 0;
    *out = (quern_cuda_info){0};
    if (cuda_driver.cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    if (cuda_driver.cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
    IGNORED(cudaGetLastError, ());
    out->driver_version = driver;
    out->runtime_version = runtime;
    driver_release_read(DRIVER_RELEASE_FILE, out->driver_release, sizeof out->driver_release);
    snprintf(out->architectures, sizeof out->architectures, "%s", QUERN_CUDA_ARCHITECTURES);
    library_report(out->libraries);
    return QUERN_OK;
}
