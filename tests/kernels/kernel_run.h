/* kernel_run.h - one kernel of the CPU backend on the test's own arrays: plan, forward and, where
 * grad_out is given, backward; scratch and saved bytes start as NaN. */
#ifndef QUERN_TESTS_KERNELS_KERNEL_RUN_H
#define QUERN_TESTS_KERNELS_KERNEL_RUN_H

#include "kernels/backend.h"

typedef struct kernel_run {
    quern_op_id op;
    const void *attributes;
    int32_t input_count, output_count;
    quern_view in[QUERN_INPUT_MAX], out[QUERN_OUTPUT_MAX];
    quern_view grad_out[QUERN_OUTPUT_MAX], grad_in[QUERN_INPUT_MAX];
    bool accumulate[QUERN_INPUT_MAX];
    bool evaluation;
    int32_t thread_count; /* 0: 2 */
} kernel_run;

/* A contiguous view of an array; rank 0 … 8. */
quern_view view_of(void *data, quern_dtype dtype, int32_t rank, const int64_t *dim);
#define VIEW(data, dtype, ...)                                                                     \
    view_of((data), (dtype), (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),        \
            (int64_t[]){__VA_ARGS__})
#define SCALAR_VIEW(data, dtype) view_of((data), (dtype), 0, NULL)

/* The status of the first that fails. */
QUERN_MUST_CHECK quern_status kernel_run_all(const kernel_run *run);

/* Numbers in [-1, 1) that depend on the seed alone. */
void fill_random(double *out, int64_t count, uint32_t seed);
void fill_random_f32(float *out, int64_t count, uint32_t seed);

#endif
