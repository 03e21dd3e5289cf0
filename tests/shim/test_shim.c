#include "quern_test.h"

#include <math.h>

TEST_CASE(Shim, passes_what_holds) {
    CHECK(1 + 1 == 2);
    REQUIRE(1 + 1 == 2);
    CHECK_NEAR(1.0, 1.0 + 1e-9, 1e-8);
    CHECK_NEAR((double)INFINITY, (double)INFINITY, 0.0);
    CHECK_TEXT("abc", "abc");
    CHECK_HAS("abc", "bc");
    CHECK_SAY(true, "never shown");
    CHECK(!quern_test_failed());
}

TEST_CASE(Shim, checks_a_status_and_its_sentence) {
    CHECK_STATUS(quern_fail(QUERN_SHAPE, "add: (%d) and (%d) differ", 2, 3), QUERN_SHAPE);
    CHECK_ERROR_HAS("(2) and (3)");
    CHECK_OK(QUERN_OK);
}

static int evaluations;

static int counted(void) { return ++evaluations; }

TEST_CASE(Shim, evaluates_each_argument_once) {
    evaluations = 0;
    CHECK(counted() == 1);
    CHECK_NEAR(counted(), 2, 0);
    CHECK(evaluations == 2);
}
