#include "../../src/kernels/sampler.h"

#include "quern_test.h"

#include <string.h>

/* The expected orders come from a separate implementation in Python. */
TEST_CASE(Sampler, order_of_an_epoch_is_golden) {
    static const struct {
        uint64_t seed;
        int64_t epoch, order[10];
    } golden[] = {{1, 0, {8, 2, 9, 3, 5, 1, 0, 6, 4, 7}},
                  {1, 1, {3, 2, 6, 4, 0, 7, 9, 8, 5, 1}},
                  {2, 0, {0, 1, 8, 3, 5, 6, 7, 2, 9, 4}}};
    for (int g = 0; g < 3; g++) {
        const sampler s = sampler_of_epoch(10, true, golden[g].seed, golden[g].epoch);
        for (int64_t i = 0; i < 10; i++) CHECK(sampler_index(&s, i) == golden[g].order[i]);
    }
    static const int64_t large[] = {47849, 2932, 8587, 14312, 23746, 51957, 26304, 30966};
    const sampler s = sampler_of_epoch(60000, true, 7, 3);
    for (int64_t i = 0; i < 8; i++) CHECK(sampler_index(&s, i) == large[i]);
}

TEST_CASE(Sampler, every_length_is_a_permutation) {
    static bool seen[5000];
    for (int64_t length = 1; length <= 5000; length += length < 70 ? 1 : 493) {
        const sampler s = sampler_of_epoch(length, true, 11, length);
        memset(seen, 0, sizeof seen);
        for (int64_t i = 0; i < length; i++) {
            const int64_t index = sampler_index(&s, i);
            REQUIRE(index >= 0 && index < length);
            REQUIRE(!seen[index]);
            seen[index] = true;
        }
    }
}

TEST_CASE(Sampler, without_shuffle_position_is_sample) {
    const sampler s = sampler_of_epoch(9, false, 1, 1);
    for (int64_t i = 0; i < 9; i++) CHECK(sampler_index(&s, i) == i);
}

TEST_CASE(Sampler, lengths_beyond_32_bits_stay_in_range) {
    const int64_t length = (INT64_C(1) << 40) + 12345;
    const sampler s = sampler_of_epoch(length, true, 3, 4);
    for (int64_t i = 0; i < 1000; i++) {
        const int64_t index = sampler_index(&s, length - 1 - i);
        CHECK(index >= 0 && index < length);
    }
}

/* Chi-square of "which sample comes first" over many epochs: 6 degrees of freedom, 22.46 is its
 * 0.999 quantile. A fixed seed: passes always or never. */
TEST_CASE(Sampler, every_sample_comes_first_equally_often) {
    int64_t count[7] = {0};
    const int64_t epochs = 7000;
    for (int64_t e = 0; e < epochs; e++) {
        const sampler s = sampler_of_epoch(7, true, 123, e);
        count[sampler_index(&s, 0)]++;
    }
    double chi = 0;
    for (int i = 0; i < 7; i++) {
        const double d = (double)count[i] - (double)epochs / 7;
        chi += d * d / ((double)epochs / 7);
    }
    CHECK_SAY(chi < 22.46, "chi-square is %g", chi);
}

/* All 24 orders of 4 samples appear about equally often: 23 degrees of freedom, 49.73. */
TEST_CASE(Sampler, every_order_of_four_appears) {
    int64_t count[256] = {0};
    const int64_t epochs = 24000;
    for (int64_t e = 0; e < epochs; e++) {
        const sampler s = sampler_of_epoch(4, true, 5, e);
        int64_t code = 0;
        for (int64_t i = 0; i < 4; i++) code = code * 4 + sampler_index(&s, i);
        count[code]++;
    }
    int orders = 0;
    double chi = 0;
    for (int i = 0; i < 256; i++) {
        if (count[i] == 0) continue;
        orders++;
        chi += ((double)count[i] - 1000) * ((double)count[i] - 1000) / 1000;
    }
    CHECK_SAY(orders == 24 && chi < 49.73, "%d orders, chi-square %g", orders, chi);
}
