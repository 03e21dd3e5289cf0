/* profile.c - the ways to look into a run: a trace file, ranges for Nsight, and the steps that a
 * profiler is to capture. */
#include "profile.h"

#include <inttypes.h>
#include <stdlib.h>

/* "10:12" */
static bool read_range(const char *text, int64_t *first, int64_t *last) {
    char *end = NULL;
    if (*text < '0' || *text > '9') return false;
    *first = strtoll(text, &end, 10);
    if (*end != ':' || end[1] < '0' || end[1] > '9') return false;
    *last = strtoll(end + 1, &end, 10);
    return *end == '\0' && *first <= *last && *last < INT64_C(1000000000000);
}

quern_status profile_check(const options *o) {
    int64_t first, last;
    if (o->trace && o->nvtx)
        return quern_fail(QUERN_INVALID, "--nvtx: the ranges go to --trace already");
    if (o->profile_steps && !read_range(o->profile_steps, &first, &last))
        return quern_fail(QUERN_INVALID, "--profile-steps: expected A:B, found \"%s\"",
                          o->profile_steps);
    return QUERN_OK;
}

quern_status profile_open(profile *p, const options *o) {
    *p = (profile){0};
    if (o->nvtx) return quern_trace_nvtx(&p->sink);
    if (!o->trace) return QUERN_OK;
    const quern_status status = quern_trace_file_create(&p->file, o->trace, NULL);
    if (status == QUERN_OK) p->sink = quern_trace_file_sink(p->file);
    return status;
}

/* A profiler that cannot be reached is no reason to stop a run. */
static void warn(quern_status status) {
    if (status != QUERN_OK) fprintf(stderr, "quern: warning: --profile-steps: %s\n", quern_error());
}
static void range_begin(void *self) { (void)self, warn(quern_profiler_start()); }
static void range_end(void *self) { (void)self, warn(quern_profiler_stop()); }

quern_status profile_open_range(profile *p, const options *o, quern_device *device) {
    quern_profile_range_desc desc = {.begin = range_begin, .end = range_end};
    if (!o->profile_steps) return QUERN_OK;
    (void)read_range(o->profile_steps, &desc.first, &desc.last);
    return quern_profile_range_create(&p->range, device, &desc);
}

void profile_release_range(profile *p) {
    quern_profile_range_destroy(p->range);
    p->range = NULL;
}

quern_status profile_release(profile *p) {
    const quern_status status = p->file ? quern_trace_file_close(p->file) : QUERN_OK;
    quern_trace_file_destroy(p->file);
    *p = (profile){0};
    return status;
}
