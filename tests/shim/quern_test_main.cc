// The C++ side of quern_test.h: hands the registered C functions to GoogleTest and turns failed
// checks into its failures, which it takes from any thread.
#include "quern_test.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

struct Case {
    const char *suite, *name;
    quern_test_body body;
    const char *file;
    int line;
};

// A function's static: constructors of the C files run before those of this one.
std::vector<Case> &cases() {
    static std::vector<Case> list;
    return list;
}

class CTest : public testing::Test {
  public:
    explicit CTest(quern_test_body body) : body_(body) {}
    void TestBody() override { body_(); }

  private:
    quern_test_body body_;
};

const char *shown(const char *text) { return text != nullptr ? text : "(null)"; }

} // namespace

void quern_test_register(const char *suite, const char *name, quern_test_body body,
                         const char *file, int line) {
    cases().push_back({suite, name, body, file, line});
}

bool quern_test_check(bool held, const char *condition, const char *file, int line) {
    if (!held) ADD_FAILURE_AT(file, line) << "does not hold: " << condition;
    return held;
}

bool quern_test_check_say(bool held, const char *file, int line, const char *format, ...) {
    if (held) return true;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ADD_FAILURE_AT(file, line) << text;
    return false;
}

bool quern_test_check_status(quern_status found, quern_status expected, const char *expression,
                             const char *file, int line) {
    if (found == expected) return true;
    ADD_FAILURE_AT(file, line) << expression << "\n  returned " << quern_status_name(found)
                               << ", expected " << quern_status_name(expected)
                               << (found != QUERN_OK ? "\n  " : "")
                               << (found != QUERN_OK ? quern_error() : "");
    return false;
}

bool quern_test_check_near(double found, double expected, double tolerance, const char *what,
                           const char *file, int line) {
    if (found == expected) return true; // equal infinities differ by NaN
    const double difference = std::fabs(found - expected);
    if (difference <= tolerance) return true;
    char text[256];
    std::snprintf(text, sizeof text, "  is %.17g, expected %.17g within %g, off by %g", found,
                  expected, tolerance, difference);
    ADD_FAILURE_AT(file, line) << what << "\n" << text;
    return false;
}

bool quern_test_check_text(const char *found, const char *expected, const char *what,
                           const char *file, int line) {
    if (found != nullptr && expected != nullptr && std::strcmp(found, expected) == 0) return true;
    ADD_FAILURE_AT(file, line) << what << "\n  is       \"" << shown(found) << "\"\n  expected \""
                               << shown(expected) << "\"";
    return false;
}

bool quern_test_check_has(const char *text, const char *part, const char *file, int line) {
    if (text != nullptr && std::strstr(text, part) != nullptr) return true;
    ADD_FAILURE_AT(file, line) << "\"" << part << "\" is not in\n  \"" << shown(text) << "\"";
    return false;
}

void quern_test_skip(const char *reason, const char *file, int line) {
    GTEST_MESSAGE_AT_(file, line, reason, testing::TestPartResult::kSkip);
}

bool quern_test_failed(void) { return testing::Test::HasFailure(); }

int main(int argc, char **argv) {
    testing::InitGoogleTest(&argc, argv);
    for (const Case &c : cases())
        testing::RegisterTest(c.suite, c.name, nullptr, nullptr, c.file, c.line,
                              [body = c.body]() -> testing::Test * { return new CTest(body); });
    return RUN_ALL_TESTS();
}
