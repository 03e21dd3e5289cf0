/* floor.h - what this machine can do at most, measured with the same library and threads.
 *
 * The floor of a step is the larger of its flops over the matrix rate and its bytes over the
 * memory rate. Both rates are measured, in the run that uses them. */
#ifndef QUERN_BENCH_FLOOR_H
#define QUERN_BENCH_FLOOR_H

#include <quern/quern.h>

typedef enum model_kind { MODEL_MLP, MODEL_LENET } model_kind;

double clock_seconds(void); /* monotonic, the same clock for all processes */

/* Multiplications and additions of one step's forward and backward products: 209 M for the MLP and
 * 290 M for LeNet at batch 128. The input needs no gradient. */
double model_flops(model_kind model, int64_t batch);

/* Bytes that a step cannot but move: each parameter is read forward, its gradient written, and the
 * update reads gradient, value and state and writes value and state; the batch is read twice. */
double model_bytes(int64_t parameter_count, int64_t sample_bytes, int64_t batch, int state_count);

/* Graphs that hold nothing but the step's own products, plus one large square product. */
typedef struct products products;
QUERN_MUST_CHECK quern_status products_create(products **out, quern_device *device,
                                              model_kind model, int64_t batch);
void products_destroy(products *p);

typedef struct product_rates {
    double own, large; /* flops per second at the step's own shapes, and at 768 x 768 x 768 */
} product_rates;
QUERN_MUST_CHECK quern_status products_measure(products *p, double seconds, product_rates *out);

/* Bytes read and written per second by memcpy of 64 MiB blocks on `thread_count` threads; 0 when
 * memory or threads were refused. */
double copy_rate(int32_t thread_count, double seconds);

#endif
