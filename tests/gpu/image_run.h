/* image_run.h - a short training of one of the image models (verify_models.h), and what it left:
 * bits to be compared, numbers to be near. */
#ifndef QUERN_TESTS_GPU_IMAGE_RUN_H
#define QUERN_TESTS_GPU_IMAGE_RUN_H

#include "verify/verify_models.h"

typedef struct image_run_desc {
    quern_status (*build)(void *self, quern_graph *g, quern_verify_model *out);
    quern_device_kind kind;
    bool no_capture;
    quern_precision precision;
    int64_t accumulate; /* default 1 */
    const char *save;   /* directory; NULL: nothing is saved */
    bool resume, tune;
    int64_t step_limit; /* default 3 */
    quern_host host;
} image_run_desc;

typedef struct image_run {
    char digest[33]; /* of parameters, running statistics and all other state */
    float *values;   /* the parameters and buffers, one after another */
    int64_t value_count;
    quern_result result;
} image_run;

/* SGD over batches of 8 of 40 samples. After a failure there is nothing to release. */
quern_status image_run_fit(image_run *out, const image_run_desc *desc);
void image_run_release(image_run *r);
/* The largest difference of two values, relative to those above 1; NaN when one is, or they are not
 * of one model. */
double image_run_distance(const image_run *a, const image_run *b);

#endif
