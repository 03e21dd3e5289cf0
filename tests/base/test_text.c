/* Bounded text, and JSON that stays JSON whatever goes in. */
#include "quern_test.h"

#include "host/base/text.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TEST_CASE(Text, collects_what_fits_and_says_when_something_did_not) {
    char buffer[8];
    text t = text_over(buffer, sizeof buffer);
    text_add(&t, "%d-%s", 12, "ab");
    CHECK_TEXT(buffer, "12-ab");
    CHECK(t.length == 5 && !t.overflow);
    text_add(&t, "cd");
    CHECK(t.length == 7 && !t.overflow);
    text_add(&t, "e");
    CHECK(t.overflow);
    text_add(&t, "%s", "");
    CHECK_TEXT(buffer, "12-abcd");
    CHECK(t.length == 7);
}

TEST_CASE(Text, a_buffer_of_no_bytes_is_never_touched) {
    char untouched = 'x';
    text t = text_over(&untouched, 0);
    text_add(&t, "abc");
    CHECK(untouched == 'x' && t.overflow && t.length == 0);
}

static const char *json_string(const char *value) {
    static char buffer[256];
    text t = text_over(buffer, sizeof buffer);
    text_add_json_string(&t, value);
    CHECK(!t.overflow);
    return buffer;
}

TEST_CASE(Text, json_strings_escape_what_json_wants_escaped) {
    CHECK_TEXT(json_string(""), "\"\"");
    CHECK_TEXT(json_string("train/loss"), "\"train/loss\"");
    CHECK_TEXT(json_string("a\"b\\c\n\r\t\x01\x1f\x7f"),
               "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u001f\x7f\"");
}

TEST_CASE(Text, json_strings_keep_utf8_and_replace_what_is_none) {
    CHECK_TEXT(json_string("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
               "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    CHECK_TEXT(json_string("a\xff"
                           "b"),
               "\"a\\ufffdb\"");
    CHECK_TEXT(json_string("\xc3"), "\"\\ufffd\"");                       /* cut at the end */
    CHECK_TEXT(json_string("\xe2\x82"), "\"\\ufffd\\ufffd\"");            /* cut at the end */
    CHECK_TEXT(json_string("\xc0\xaf"), "\"\\ufffd\\ufffd\"");            /* overlong */
    CHECK_TEXT(json_string("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\""); /* a surrogate */
    CHECK_TEXT(json_string("\xf4\x90\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
}

static const char *json_number(double value) {
    static char buffer[64];
    text t = text_over(buffer, sizeof buffer);
    text_add_json_number(&t, value);
    CHECK(!t.overflow);
    return buffer;
}

TEST_CASE(Text, the_sign_of_a_nan_is_not_printed) {
    char found[32];
    snprintf(found, sizeof found, "%g %g", text_plain_nan(-(double)NAN), text_plain_nan(-INFINITY));
    CHECK_TEXT(found, "nan -inf");
}

TEST_CASE(Text, json_numbers_are_the_shortest_that_read_back) {
    CHECK_TEXT(json_number(0), "0");
    CHECK_TEXT(json_number(-0.0), "-0");
    CHECK_TEXT(json_number(100000), "100000");
    CHECK_TEXT(json_number(-123456789012345), "-123456789012345");
    CHECK_TEXT(json_number(0.1), "0.1");
    CHECK_TEXT(json_number(0.1 + 0.2), "0.30000000000000004");
    CHECK_TEXT(json_number(1e300), "1e+300");
    CHECK_TEXT(json_number(5e-324), "5e-324");
    CHECK_TEXT(json_number(NAN), "null");
    CHECK_TEXT(json_number(INFINITY), "null");
    CHECK_TEXT(json_number(-INFINITY), "null");
    uint64_t bits = 1;
    for (int i = 0; i < 2000; i++) {
        bits = bits * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) continue;
        const double back = strtod(json_number(value), NULL);
        REQUIRE_SAY(memcmp(&back, &value, sizeof back) == 0, "%.17g became %s", value,
                    json_number(value));
    }
}

TEST_CASE(Text, json_numbers_have_a_point_in_every_locale) {
    static const char *const with_comma[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE"};
    const char *found = NULL;
    for (int i = 0; i < 3 && found == NULL; i++) found = setlocale(LC_NUMERIC, with_comma[i]);
    if (found == NULL) SKIP_TEST("no locale with a decimal comma is installed");
    CHECK_TEXT(json_number(0.5), "0.5");
    setlocale(LC_NUMERIC, "C");
}
