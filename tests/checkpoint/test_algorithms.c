/* The text of an algorithm record: what is one, and how two of them differ. */
#include "quern_test.h"

#include "host/train/checkpoint/algorithms.h"

#include <string.h>

#define LINE(library, shape, algorithm) library "; Fake H200 sm_90; " shape "\t" algorithm "\n"

TEST_CASE(Algorithms, a_text_is_lines_of_source_key_and_algorithm) {
    static const char *const whole[] = {"", LINE("blas 1", "a", "0"),
                                        LINE("blas 1", "a", "0") LINE("dnn 2", "b", "{\"x\": 1}"),
                                        LINE("blas 1", "a; b; c", "0")};
    static const char *const broken[] = {
        "\n",
        "x",
        "x\ty\n",
        "blas 1; device\ty\n",
        "a; b; c\n",
        "a; b; \ty\n",
        "a; b; c\t\n",
        "a; b; c\ty",
        "a; b; c\ty\r\n",
        "a; b; c\ty\tz\n",
        "a; b; c\ty\n\n",
        LINE("blas 1", "a", "0") "garbage",
    };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        CHECK_SAY(algorithms_are_whole(whole[i]), "whole %d", (int)i);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        CHECK_SAY(!algorithms_are_whole(broken[i]), "broken %d", (int)i);
}

static void check(const char *before, const char *now, int changed, int foreign, int added,
                  const char *key) {
    const algorithms_difference d = algorithms_compare(before, now);
    CHECK_SAY(d.changed == changed && d.foreign == foreign && d.added == added,
              "%d changed, %d foreign, %d added", (int)d.changed, (int)d.foreign, (int)d.added);
    CHECK((d.key == NULL) == (key == NULL));
    if (d.key != NULL && key != NULL)
        CHECK(d.key_length == strlen(key) && memcmp(d.key, key, d.key_length) == 0);
}

TEST_CASE(Algorithms, a_change_is_told_from_an_addition_and_from_another_library) {
    const char *a = LINE("blas 1", "a", "0"),
               *ab = LINE("blas 1", "b", "7") LINE("blas 1", "a", "0");
    check("", "", 0, 0, 0, NULL);
    check(a, a, 0, 0, 0, NULL);
    check(ab, a, 0, 0, 0, NULL);
    check(a, ab, 0, 0, 1, NULL);
    check(a, LINE("blas 1", "a", "01"), 1, 0, 0, "blas 1; Fake H200 sm_90; a");
    check(a, LINE("blas 2", "a", "0"), 0, 1, 0, "blas 2; Fake H200 sm_90; a");
    check(a, LINE("blas 1", "b", "1") LINE("dnn 1", "a", "0"), 0, 1, 1,
          "dnn 1; Fake H200 sm_90; a");
    check("", a, 0, 1, 0, "blas 1; Fake H200 sm_90; a");
    check(a, "", 0, 1, 0, "blas 1; Fake H200 sm_90; a");
}
