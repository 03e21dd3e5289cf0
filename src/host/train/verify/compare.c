#include "compare.h"

#include <math.h>

static const double ROUNDING = 0x1p-23; /* two neighbours of F32, at most, relative to either */

double largest_magnitude(const double *values, int64_t count) {
    double largest = 0;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs(values[i]));
    return largest;
}

int64_t first_not_finite(const double *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return i;
    return -1;
}

/* Nothing may be off where there is no scale. */
static double ratio(double difference, double scale) {
    if (difference == 0) return 0;
    return scale > 0 ? difference / scale : (double)INFINITY;
}

static int64_t largest_difference(const comparison *c) {
    int64_t index = c->count > 0 ? 0 : -1;
    double largest = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const double difference = fabs(c->found[i] - c->reference[i]);
        if (!(difference > largest)) continue;
        largest = difference;
        index = i;
    }
    return index;
}

static double by_element(const comparison *c, int64_t index) {
    const double scale = fmax(largest_magnitude(c->reference, c->count),
                              fmax(largest_magnitude(c->found, c->count), c->floor));
    return ratio(fabs(c->found[index] - c->reference[index]), scale);
}

static double by_norm(const comparison *c) {
    double difference = 0, reference = 0, found = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const double apart = c->found[i] - c->reference[i];
        difference += apart * apart;
        reference += c->reference[i] * c->reference[i];
        found += c->found[i] * c->found[i];
    }
    const double least = c->floor * sqrt((double)c->count);
    return ratio(sqrt(difference), fmax(sqrt(fmax(reference, found)), least));
}

static double of_change(const comparison *c, int64_t index) {
    double change = 0;
    for (int64_t i = 0; i < c->count; i++)
        change = fmax(change, fabs(c->reference[i] - c->before[i]));
    const double rounding = ROUNDING * largest_magnitude(c->reference, c->count);
    const double difference = fabs(c->found[index] - c->reference[index]);
    return ratio(fmax(difference - rounding, 0), change);
}

distance distance_measure(const comparison *c) {
    const int64_t bad = first_not_finite(c->found, c->count);
    if (bad >= 0) return (distance){(double)NAN, bad};
    const int64_t index = largest_difference(c);
    if (index < 0) return (distance){0, -1};
    if (c->before) return (distance){of_change(c, index), index};
    return (distance){c->by_norm ? by_norm(c) : by_element(c, index), index};
}
