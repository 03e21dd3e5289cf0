/* quern_test.h - write tests in C, have them run by GoogleTest.
 *
 *     TEST_CASE(Shape, broadcast_takes_the_larger_dimension) {
 *         REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){0}));
 *         CHECK(quern_tensor_rank(y) == 2);
 *     }
 *
 * A CHECK that fails is reported with file and line, and the test goes on; a REQUIRE that fails
 * returns from the function it stands in, which must return void. Both may be used on any thread.
 * Every argument is evaluated once. Comparisons of numbers are written so that NaN fails. */
#ifndef QUERN_TEST_H
#define QUERN_TEST_H

#include <quern/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*quern_test_body)(void);

void quern_test_register(const char *suite, const char *name, quern_test_body body,
                         const char *file, int line);
/* Each returns whether the check held, and records a failure if it did not. */
bool quern_test_check(bool held, const char *condition, const char *file, int line);
bool quern_test_check_say(bool held, const char *file, int line, const char *format, ...)
    QUERN_PRINTF(4, 5);
bool quern_test_check_status(quern_status found, quern_status expected, const char *expression,
                             const char *file, int line);
bool quern_test_check_near(double found, double expected, double tolerance, const char *what,
                           const char *file, int line);
bool quern_test_check_text(const char *found, const char *expected, const char *what,
                           const char *file, int line);
bool quern_test_check_has(const char *text, const char *part, const char *file, int line);
void quern_test_skip(const char *reason, const char *file, int line);
/* Whether the running test has failed so far: to stop a long loop at its first failure. */
bool quern_test_failed(void);

#ifdef __cplusplus
}
#endif

#define TEST_CASE(suite, name)                                                                     \
    static void suite##_##name(void);                                                              \
    __attribute__((constructor)) static void suite##_##name##_register(void) {                     \
        quern_test_register(#suite, #name, suite##_##name, __FILE__, __LINE__);                    \
    }                                                                                              \
    static void suite##_##name(void)

#define CHECK(condition) ((void)quern_test_check((condition), #condition, __FILE__, __LINE__))
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!quern_test_check((condition), #condition, __FILE__, __LINE__)) return;                \
    } while (0)

/* CHECK_SAY(x == 3, "case %d: x is %d", i, x): the sentence replaces the condition's text. */
#define CHECK_SAY(condition, ...)                                                                  \
    ((void)quern_test_check_say((condition), __FILE__, __LINE__, __VA_ARGS__))
#define REQUIRE_SAY(condition, ...)                                                                \
    do {                                                                                           \
        if (!quern_test_check_say((condition), __FILE__, __LINE__, __VA_ARGS__)) return;           \
    } while (0)

#define CHECK_STATUS(expression, expected)                                                         \
    ((void)quern_test_check_status((expression), (expected), #expression, __FILE__, __LINE__))
#define CHECK_OK(expression) CHECK_STATUS(expression, QUERN_OK)
#define REQUIRE_STATUS(expression, expected)                                                       \
    do {                                                                                           \
        if (!quern_test_check_status((expression), (expected), #expression, __FILE__, __LINE__))   \
            return;                                                                                \
    } while (0)
#define REQUIRE_OK(expression) REQUIRE_STATUS(expression, QUERN_OK)

#define CHECK_NEAR(found, expected, tolerance)                                                     \
    ((void)quern_test_check_near((found), (expected), (tolerance), #found, __FILE__, __LINE__))
#define CHECK_TEXT(found, expected)                                                                \
    ((void)quern_test_check_text((found), (expected), #found, __FILE__, __LINE__))
#define CHECK_HAS(text, part) ((void)quern_test_check_has((text), (part), __FILE__, __LINE__))
#define CHECK_ERROR_HAS(part) CHECK_HAS(quern_error(), part)

/* Leaves the test as skipped, with a reason that ctest shows. */
#define SKIP_TEST(reason)                                                                          \
    do {                                                                                           \
        quern_test_skip((reason), __FILE__, __LINE__);                                             \
        return;                                                                                    \
    } while (0)

#endif
