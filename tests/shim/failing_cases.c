/* Cases that must fail; tests/shim/CMakeLists.txt expects it of each. */
#include "quern_test.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

TEST_CASE(Failing, check) { CHECK(1 + 1 == 3); }

TEST_CASE(Failing, require) {
    REQUIRE(1 + 1 == 3);
    puts("went on after a failed REQUIRE");
}

TEST_CASE(Failing, status) { CHECK_STATUS(quern_fail(QUERN_IO, "disk %d", 7), QUERN_SHAPE); }
TEST_CASE(Failing, near_nan) { CHECK_NEAR((double)NAN, 1.0, 1e9); }
TEST_CASE(Failing, near_far) { CHECK_NEAR(1.0, 1.1, 0.05); }
TEST_CASE(Failing, text) { CHECK_TEXT("abc", "abd"); }
TEST_CASE(Failing, has) { CHECK_HAS("abc", "x"); }
TEST_CASE(Failing, say) { CHECK_SAY(false, "case %d", 3); }

static void *fail_here(void *unused) {
    CHECK(unused != NULL);
    return NULL;
}

TEST_CASE(Failing, thread) {
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, fail_here, NULL) == 0);
    pthread_join(thread, NULL);
}
