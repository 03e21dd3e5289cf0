/* library_report.h - which of the vendor's libraries this machine has. */
#ifndef QUERN_KERNELS_CUDA_LIBRARY_REPORT_H
#define QUERN_KERNELS_CUDA_LIBRARY_REPORT_H

#include <quern/device.h>

/* Loads each, as the first kernel that needs it would. */
void library_report(quern_library_info out[QUERN_CUDA_LIBRARY_COUNT]);
/* UNSUPPORTED where cuBLASLt, without which no product is computed, cannot be loaded. */
QUERN_MUST_CHECK quern_status library_require(void);
/* "13.1.0" for 130100, as all three libraries number their versions. */
void library_version(char *to, size_t bytes, int64_t version);

#endif
