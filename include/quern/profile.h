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

/* A sink that writes a file in Chrome's trace format (chrome://tracing, Perfetto). Give it to the
 * devices whose ranges it is to hold (quern_host.trace), with quern_device_desc.trace_ops if the
 * times of ops are wanted; close it once they are destroyed. host NULL: the default. Safe from any
 * thread. INVALID, IO, HOST_MEMORY; IO of writing is returned by close. */
typedef struct quern_trace_file quern_trace_file;
QUERN_API QUERN_MUST_CHECK quern_status quern_trace_file_create(quern_trace_file **out,
                                                                const char *path,
                                                                const quern_host *host);
QUERN_API quern_trace_sink quern_trace_file_sink(quern_trace_file *file);
QUERN_API QUERN_MUST_CHECK quern_status quern_trace_file_close(quern_trace_file *file);
QUERN_API void quern_trace_file_destroy(quern_trace_file *file);

QUERN_END_C
#endif
