/* profile.h - what --trace, --nvtx and --profile-steps ask for. */
#ifndef QUERN_TOOL_PROFILE_H
#define QUERN_TOOL_PROFILE_H

#include "options.h"

#include <quern/profile.h>

typedef struct profile {
    quern_trace_file *file;     /* NULL without --trace */
    quern_trace_sink sink;      /* of the device; empty without --trace and --nvtx */
    quern_profile_range *range; /* NULL without --profile-steps */
} profile;

/* INVALID: the range is none, or two sinks are asked for: before anything is opened. */
quern_status profile_check(const options *o);
/* Before the device is created. */
quern_status profile_open(profile *p, const options *o);
/* After it; the range is then a callback. */
quern_status profile_open_range(profile *p, const options *o, quern_device *device);
/* The range before the device is destroyed, the rest after it. */
void profile_release_range(profile *p);
quern_status profile_release(profile *p);

#endif
