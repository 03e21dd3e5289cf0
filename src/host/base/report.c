/* report.c - causes in words; log lines and trace ranges, handed to the host's sinks. */
#include "report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

error_cause error_cause_of(int64_t failure) {
    error_cause cause;
    if (failure < -4095 || failure > 0 ||
        strerror_r((int)-failure, cause.text, sizeof cause.text) != 0)
        snprintf(cause.text, sizeof cause.text, "error %" PRId64, -failure);
    return cause;
}

void log_write(const quern_host *host, quern_log_level level, const char *format, ...) {
    char line[1024];
    va_list list;
    va_start(list, format);
    const int length = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    if (length >= 0) host->log.write(host->log.self, level, line);
}

void trace_begin(const quern_host *host, const char *category, const char *name, int64_t value) {
    host->trace.begin(host->trace.self, category, name, value);
}

void trace_end(const quern_host *host) { host->trace.end(host->trace.self); }
