/* draw.h - starting values as a pure function of (seed, full name, element): neither the order of
 * creation nor other parameters matter, and F32 and F64 graphs start from the same floats. */
#ifndef QUERN_NN_DRAW_H
#define QUERN_NN_DRAW_H

#include "../base/random.h"
#include <quern/graph.h>

/* A distribution with its numbers worked out: constant a; uniform [a, b); normal (a, b). */
typedef struct draw {
    random_key key;
    quern_init_kind kind; /* CONSTANT, UNIFORM, NORMAL or TRUNCATED_NORMAL */
    float a, b;
} draw;

draw draw_of(const quern_init *init, const quern_shape *shape, const char *name, uint64_t seed);

/* Elements start … start + count - 1; start is a multiple of 4. */
void draw_values(const draw *d, int64_t start, int64_t count, float *out);

#endif
