/* profile.c - the way to the CUDA module's tools for profilers, which need no device. */
#include "profile.h"

#include "../base/report.h"
#include "module.h"
#include <quern/profile.h>

#include <stdlib.h>

quern_status quern_trace_nvtx(quern_trace_sink *out) {
    const module_tools *tools;
    if (out == NULL) return quern_fail(QUERN_INVALID, "quern_trace_nvtx: out is NULL");
    *out = (quern_trace_sink){0};
    QUERN_TRY(module_tools_open(&tools));
    *out = tools->nvtx();
    return QUERN_OK;
}

static quern_status profiler(bool active) {
    const module_tools *tools;
    QUERN_TRY(module_tools_open(&tools));
    return tools->profiler(active);
}

quern_status quern_profiler_start(void) { return profiler(true); }
quern_status quern_profiler_stop(void) { return profiler(false); }

void trace_choose(quern_host *host, bool is_cuda) {
    const char *injection = getenv("NVTX_INJECTION64_PATH");
    if (!is_cuda && (injection == NULL || injection[0] == 0)) return;
    error_text before; /* a run without ranges is as good */
    error_save(&before);
    quern_trace_sink sink;
    if (quern_trace_nvtx(&sink) == QUERN_OK)
        host->trace = sink;
    else if (!is_cuda)
        log_write(host, QUERN_LOG_WARNING, "NVTX_INJECTION64_PATH is set, but %s", quern_error());
    error_restore(&before);
}
