/* profile.h - what a profiler sees of a run.
 *
 * Every step, phase, op, batch and checkpoint is a range of the host's trace (host.h). A CUDA
 * device whose host has no trace sink of its own sends them to NVTX, and so does a CPU device when
 * NVTX_INJECTION64_PATH is set, as a profiler does: Nsight shows them without further ado. */
#ifndef QUERN_PROFILE_H
#define QUERN_PROFILE_H

#include <quern/host.h>

QUERN_BEGIN_C

/* A sink that makes NVTX ranges: domain "quern", categories, registered names, values as payload.
 * Needs the CUDA module, but no GPU. NO_DEVICE (the module cannot be loaded), UNSUPPORTED (it is
 * of another version). */
QUERN_API QUERN_MUST_CHECK quern_status quern_trace_nvtx(quern_trace_sink *out);

/* cudaProfilerStart and cudaProfilerStop: what `nsys --capture-range=cudaProfilerApi` waits for.
 * For the begin and end of a quern_profile_range (callbacks.h). */
QUERN_API quern_status quern_profiler_start(void);
QUERN_API quern_status quern_profiler_stop(void);

QUERN_END_C
#endif
