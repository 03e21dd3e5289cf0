/* status.h - how a call says that it failed, and why.
 *
 * Every function that can fail returns a quern_status and, when it is not QUERN_OK, leaves one
 * sentence in quern_error(): written where the reason is known, it names the op, the tensors and
 * both shapes, or the file, the offset, what was expected and what was found. The sentence belongs
 * to the calling thread and stays until that thread's next failure. Worker threads hand theirs
 * over together with their status. Nothing else in the library is global. */
#ifndef QUERN_STATUS_H
#define QUERN_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define QUERN_BEGIN_C extern "C" {
#define QUERN_END_C }
#else
#define QUERN_BEGIN_C
#define QUERN_END_C
#endif

#if defined(QUERN_BUILD)
#define QUERN_API __attribute__((visibility("default")))
#else
#define QUERN_API
#endif
#define QUERN_MUST_CHECK __attribute__((warn_unused_result))
#define QUERN_PRINTF(string, first) __attribute__((format(printf, string, first)))

QUERN_BEGIN_C

/* One table: the code, the exit code of the quern command, the meaning. A code exists only where a
 * caller would do something different. */
/* clang-format off */
#define QUERN_STATUS_LIST(X)                                                       \
    X(OK,            0,  "success")                                                \
    X(INVALID,       2,  "invalid argument or description")                        \
    X(SHAPE,         2,  "tensor shapes or dtypes do not fit")                     \
    X(UNSUPPORTED,   2,  "not available on this device or in this build")          \
    X(INPUT,         3,  "input file or value missing, unreadable or lying")       \
    X(IO,            4,  "writing failed")                                         \
    X(HOST_MEMORY,   5,  "out of host memory")                                     \
    X(DEVICE_MEMORY, 6,  "out of device memory")                                   \
    X(DEVICE_LOST,   7,  "device or driver failure")                               \
    X(PEER_LOST,     8,  "another rank is gone")                                   \
    X(NOT_FINITE,    9,  "loss or gradient not finite")                            \
    X(NO_DEVICE,     10, "no such device")                                         \
    X(CALLBACK,      11, "a callback asked to fail, or asked for what is illegal") \
    X(INTERNAL,      1,  "a broken invariant of the library itself")
/* clang-format on */

#define X(name, exit_code, text) QUERN_##name,
typedef enum quern_status { QUERN_STATUS_LIST(X) QUERN_STATUS_COUNT } quern_status;
#undef X

QUERN_API const char *quern_status_name(quern_status status); /* "QUERN_SHAPE" */
QUERN_API const char *quern_status_text(quern_status status); /* "tensor shapes …" */
QUERN_API int quern_status_exit_code(quern_status status);    /* 2 */

/* This thread's last failure as one sentence without a trailing newline; "" if there was none. */
QUERN_API const char *quern_error(void);

/* Leaves the formatted sentence (cut at 1023 bytes) for this thread and returns `status`. For the
 * application's own datasets, ops, optimizers, metrics and callbacks. */
QUERN_API quern_status quern_fail(quern_status status, const char *format, ...) QUERN_PRINTF(2, 3);

/* A float field whose zero is not its default takes QUERN_ZERO to say exactly zero. */
#define QUERN_ZERO (-0.0f)

QUERN_END_C
#endif
