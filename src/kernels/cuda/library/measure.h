/* measure.h - how long a way of computing takes on this device, for libraries that propose several.
 *
 *   operands  seeded random numbers: a card's clock depends on what its wires carry
 *   cold      each run has operands of its own, and what the second-level cache holds of the row
 *             before is overwritten: a step's operands come from memory too
 *   row       the runs are recorded and launched as a whole, so that small ones are measured and
 *             not the host's launches; by the device's own clock, the best of three rows
 *
 * Only plan() may measure, and only when tuning was asked for: what is fastest differs from one run
 * to the next, so a run that measures is reproducible only through what it remembers. No work is
 * left behind. */
#ifndef QUERN_KERNELS_CUDA_MEASURE_H
#define QUERN_KERNELS_CUDA_MEASURE_H

#include "libraries.h"

enum { MEASURE_OPERANDS = 6 };

typedef struct measure_desc {
    const char *what; /* for sentences */
    int32_t count;
    quern_dtype dtype[MEASURE_OPERANDS]; /* real */
    int64_t elements[MEASURE_OPERANDS];
    size_t scratch_bytes;
} measure_desc;

typedef struct measure {
    quern_stream *stream;
    int32_t count, turns; /* operands; copies of all of them */
    size_t offsets[MEASURE_OPERANDS], turn_bytes, flush_bytes;
    unsigned char *block; /* the copies, then what the cache is overwritten through, then scratch */
    cudaEvent_t start, stop;
} measure;

/* One run, issued to the stream with one copy of the operands; scratch is on 256 bytes. */
typedef quern_status (*measure_run)(void *self, void *const *operands, void *scratch);

/* *there false, with QUERN_OK: the device has no memory for it, which has been said. */
QUERN_MUST_CHECK quern_status measure_begin(measure *m, quern_stream *stream,
                                            const measure_desc *desc, bool *there);
void measure_end(measure *m); /* in any case */

/* The milliseconds of a run; infinity, with QUERN_OK, when it fails: it is no choice then. */
QUERN_MUST_CHECK quern_status measure_time(measure *m, measure_run run, void *self,
                                           double *milliseconds);

#endif
