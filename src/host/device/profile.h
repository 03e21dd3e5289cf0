/* profile.h - where the ranges of a device go that was given no trace sink. */
#ifndef QUERN_DEVICE_PROFILE_H
#define QUERN_DEVICE_PROFILE_H

#include <quern/host.h>

/* NVTX on CUDA, and where a profiler asks for it; else the silent sink that the host has. */
void trace_choose(quern_host *host, bool is_cuda);

#endif
