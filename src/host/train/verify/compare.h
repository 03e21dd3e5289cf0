/* compare.h - how far two tensors lie apart; verify.h says what each error means. */
#ifndef QUERN_TRAIN_VERIFY_COMPARE_H
#define QUERN_TRAIN_VERIFY_COMPARE_H

#include <quern/verify.h>

typedef struct comparison {
    const double *reference, *found;
    const double *before; /* of a weight: its value before the update; else NULL */
    int64_t count;
    double floor; /* the scale is at least this (by norm: this in every element) */
    bool by_norm;
} comparison;

typedef struct distance {
    double error;  /* NaN when something found is not finite */
    int64_t index; /* of the largest difference, or the first value that is not finite; -1: empty */
} distance;

distance distance_measure(const comparison *c);

/* The largest magnitude; 0 of an empty tensor. */
double largest_magnitude(const double *values, int64_t count);
/* The first value that is not finite; -1: all are. */
int64_t first_not_finite(const double *values, int64_t count);

#endif
