/* sums_real.h - the functions of sums.h for one REAL; included by it alone. */

static inline REAL REAL_NAME(sum_of_lanes)(const REAL lane[SUM_LANES]) {
    REAL half[8];
    for (int i = 0; i < 8; i++) half[i] = lane[i] + lane[i + 8];
    return ((half[0] + half[4]) + (half[2] + half[6])) +
           ((half[1] + half[5]) + (half[3] + half[7]));
}

/* The sum of (x_i - shift). */
static inline REAL REAL_NAME(sum_of_shifted)(const REAL *x, int64_t count, REAL shift) {
    REAL total = 0;
    for (int64_t start = 0; start < count; start += SUM_BLOCK) {
        const int64_t stop = smaller(start + SUM_BLOCK, count);
        REAL lane[SUM_LANES] = {0}, rest = 0;
        int64_t i = start;
        for (; i + SUM_LANES <= stop; i += SUM_LANES)
            for (int j = 0; j < SUM_LANES; j++) lane[j] += x[i + j] - shift;
        for (; i < stop; i++) rest += x[i] - shift;
        total += REAL_NAME(sum_of_lanes)(lane) + rest;
    }
    return total;
}

static inline REAL REAL_NAME(sum_of)(const REAL *x, int64_t count) {
    return REAL_NAME(sum_of_shifted)(x, count, 0);
}

/* The sum of (x_i - x_shift) (y_i - y_shift). */
static inline REAL REAL_NAME(sum_of_products)(const REAL *x, REAL x_shift, const REAL *y,
                                              REAL y_shift, int64_t count) {
    REAL total = 0;
    for (int64_t start = 0; start < count; start += SUM_BLOCK) {
        const int64_t stop = smaller(start + SUM_BLOCK, count);
        REAL lane[SUM_LANES] = {0}, rest = 0;
        int64_t i = start;
        for (; i + SUM_LANES <= stop; i += SUM_LANES)
            for (int j = 0; j < SUM_LANES; j++)
                lane[j] += (x[i + j] - x_shift) * (y[i + j] - y_shift);
        for (; i < stop; i++) rest += (x[i] - x_shift) * (y[i] - y_shift);
        total += REAL_NAME(sum_of_lanes)(lane) + rest;
    }
    return total;
}
