/* slow_clock.h - a clock that the test moves. */
#ifndef QUERN_TESTS_TRAIN_SLOW_CLOCK_H
#define QUERN_TESTS_TRAIN_SLOW_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

/* Every look at it costs step_ns; the test moves it too. */
typedef struct slow_clock {
    _Atomic int64_t now_ns; /* a save looks at it from its thread */
    int64_t step_ns;
} slow_clock;

static inline int64_t slow_now(void *self) {
    slow_clock *c = self;
    return atomic_fetch_add(&c->now_ns, c->step_ns) + c->step_ns;
}

#endif
