/* Status codes and the failure sentence of each thread. */
#include "quern_test.h"

#include "host/base/report.h"

#include <pthread.h>
#include <string.h>

TEST_CASE(Status, every_code_has_a_name_a_text_and_the_documented_exit_code) {
    static const int exit_codes[] = {0, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1};
    REQUIRE(sizeof exit_codes / sizeof exit_codes[0] == QUERN_STATUS_COUNT);
    for (int i = 0; i < QUERN_STATUS_COUNT; i++) {
        const quern_status status = (quern_status)i;
        CHECK(quern_status_exit_code(status) == exit_codes[i]);
        CHECK(strncmp(quern_status_name(status), "QUERN_", 6) == 0);
        CHECK(strlen(quern_status_text(status)) > 5);
    }
    CHECK_TEXT(quern_status_name(QUERN_DEVICE_LOST), "QUERN_DEVICE_LOST");
    CHECK_TEXT(quern_status_text(QUERN_HOST_MEMORY), "out of host memory");
}

TEST_CASE(Status, a_number_that_is_no_code_is_named_as_such) {
    CHECK_TEXT(quern_status_name((quern_status)QUERN_STATUS_COUNT), "QUERN_?");
    CHECK_TEXT(quern_status_name((quern_status)-1), "QUERN_?");
    CHECK(quern_status_exit_code((quern_status)1000) == 1);
}

TEST_CASE(Status, fail_leaves_its_sentence_and_returns_its_status) {
    CHECK_STATUS(quern_fail(QUERN_SHAPE, "(%d, %d) and (%d) differ", 2, 3, 4), QUERN_SHAPE);
    CHECK_TEXT(quern_error(), "(2, 3) and (4) differ");
    CHECK_STATUS(quern_fail(QUERN_INPUT, "short"), QUERN_INPUT);
    CHECK_TEXT(quern_error(), "short");
}

TEST_CASE(Status, a_sentence_may_quote_the_one_before_it) {
    CHECK_STATUS(quern_fail(QUERN_IO, "disk full"), QUERN_IO);
    CHECK_STATUS(quern_fail(QUERN_IO, "saving step %d: %s", 7, quern_error()), QUERN_IO);
    CHECK_TEXT(quern_error(), "saving step 7: disk full");
    CHECK_STATUS(error_prefix(QUERN_CALLBACK, "callback \"%s\"", "saver"), QUERN_CALLBACK);
    CHECK_TEXT(quern_error(), "callback \"saver\": saving step 7: disk full");
}

TEST_CASE(Status, a_long_sentence_is_cut_at_1023_bytes) {
    char longer[3000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    CHECK_STATUS(quern_fail(QUERN_INVALID, "%s", longer), QUERN_INVALID);
    CHECK(strlen(quern_error()) == 1023);
    CHECK_STATUS(error_prefix(QUERN_INVALID, "%s", longer), QUERN_INVALID);
    CHECK(strlen(quern_error()) == 1023);
}

static void *fail_elsewhere(void *context) {
    CHECK_TEXT(quern_error(), "");
    CHECK_STATUS(quern_fail(QUERN_DEVICE_LOST, "said by the worker"), QUERN_DEVICE_LOST);
    error_save(context);
    return NULL;
}

TEST_CASE(Status, a_sentence_belongs_to_its_thread_until_it_is_handed_over) {
    CHECK_STATUS(quern_fail(QUERN_INVALID, "said by the caller"), QUERN_INVALID);
    pthread_t worker;
    error_text saved;
    REQUIRE(pthread_create(&worker, NULL, fail_elsewhere, &saved) == 0);
    pthread_join(worker, NULL);
    CHECK_TEXT(quern_error(), "said by the caller");
    error_restore(&saved);
    CHECK_TEXT(quern_error(), "said by the worker");
}
