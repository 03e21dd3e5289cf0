/* report.h - the failure sentence, the log and the trace, for the library's own files. */
#ifndef QUERN_BASE_REPORT_H
#define QUERN_BASE_REPORT_H

#include <quern/host.h>

/* Passes a failure up; only in functions that own nothing. */
#define QUERN_TRY(expression)                                                                      \
    do {                                                                                           \
        const quern_status try_status_ = (expression);                                             \
        if (try_status_ != QUERN_OK) return try_status_;                                           \
    } while (0)

/* A broken invariant of ours: INTERNAL in release builds, abort in debug builds. */
#ifdef NDEBUG
#define QUERN_ENSURE(condition)                                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return quern_fail(QUERN_INTERNAL, "%s:%d: %s", __FILE__, __LINE__, #condition);        \
    } while (0)
#else
#define QUERN_ENSURE(condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) __builtin_trap();                                                        \
    } while (0)
#endif

/* Puts "prefix: " before this thread's sentence and returns `status`. */
quern_status error_prefix(quern_status status, const char *format, ...) QUERN_PRINTF(2, 3);

/* Worker threads hand their failure over: copy it out there, restore it here. */
typedef struct error_text {
    char text[1024];
} error_text;
void error_save(error_text *out);
void error_restore(const error_text *saved);

/* The system's words for a negated errno, which any thread may ask for. */
typedef struct error_cause {
    char text[128];
} error_cause;
error_cause error_cause_of(int64_t failure);

void log_write(const quern_host *host, quern_log_level level, const char *format, ...)
    QUERN_PRINTF(3, 4);
void trace_begin(const quern_host *host, const char *category, const char *name, int64_t value);
void trace_end(const quern_host *host);

#endif
