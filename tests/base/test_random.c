/* Philox 4x32-10 against the published vectors (Random123, kat_vectors), and the counter's fields
 * against each other. */
#include "quern_test.h"

#include "host/base/random.h"

#include <string.h>

static void check_vector(const uint32_t counter[4], const uint32_t key[2],
                         const uint32_t expected[4]) {
    uint32_t c[4];
    memcpy(c, counter, sizeof c);
    philox_4x32_10(c, key);
    for (int i = 0; i < 4; i++)
        CHECK_SAY(c[i] == expected[i], "word %d is %08x, published %08x", i, c[i], expected[i]);
}

TEST_CASE(Random, philox_gives_the_published_numbers) {
    check_vector((uint32_t[4]){0, 0, 0, 0}, (uint32_t[2]){0, 0},
                 (uint32_t[4]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    check_vector((uint32_t[4]){~0u, ~0u, ~0u, ~0u}, (uint32_t[2]){~0u, ~0u},
                 (uint32_t[4]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    check_vector((uint32_t[4]){0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                 (uint32_t[2]){0xa4093822, 0x299f31d0},
                 (uint32_t[4]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE(Random, a_draw_is_the_word_of_its_block) {
    const random_key key = {.seed = 42, .purpose = 300, .attempt = 7, .microbatch = 3};
    for (int64_t block = 0; block < 5; block++) {
        uint32_t four[4];
        random_block(&key, block, four);
        for (int i = 0; i < 4; i++) CHECK(random_u32(&key, 4 * block + i) == four[i]);
    }
}

TEST_CASE(Random, each_field_of_the_key_changes_the_draw) {
    const random_key base = {.seed = 1, .purpose = 2, .attempt = 3, .microbatch = 4};
    const random_key others[] = {
        {.seed = 2, .purpose = 2, .attempt = 3, .microbatch = 4},
        {.seed = 1 + (UINT64_C(1) << 32), .purpose = 2, .attempt = 3, .microbatch = 4},
        {.seed = 1, .purpose = 3, .attempt = 3, .microbatch = 4},
        {.seed = 1, .purpose = 2 + (1u << 23), .attempt = 3, .microbatch = 4},
        {.seed = 1, .purpose = 2, .attempt = 4, .microbatch = 4},
        {.seed = 1, .purpose = 2, .attempt = 3 + (INT64_C(1) << 39), .microbatch = 4},
        {.seed = 1, .purpose = 2, .attempt = 3, .microbatch = 5},
        {.seed = 1, .purpose = 2, .attempt = 3, .microbatch = 4 + (1u << 15)},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        CHECK_SAY(random_u32(&base, 0) != random_u32(&others[i], 0), "key %zu draws the same", i);
    CHECK(random_u32(&base, 0) != random_u32(&base, INT64_C(1) << 40));
}

TEST_CASE(Random, uniforms_lie_in_0_1_and_have_the_mean_and_variance_of_their_law) {
    const random_key key = {.seed = 5, .purpose = RANDOM_INIT};
    enum { COUNT = 100000 };
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        const double u = (double)random_uniform(random_u32(&key, i));
        REQUIRE(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
    }
    CHECK_NEAR(sum / COUNT, 0.5, 4 * 0.2887 / 316.2); /* 4 standard errors */
    CHECK_NEAR(squares / COUNT, 1.0 / 3, 4 * 0.2981 / 316.2);
    CHECK(random_uniform(UINT32_MAX) < 1.0f);
}
