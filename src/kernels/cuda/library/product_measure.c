/* product_measure.c - times the proposals for a product on this device, when tuning was asked for.
 */
#include "measure.h"
#include "product_parts.h"

#include <math.h>

typedef struct trial {
    product *product;
    const product_choice *choice;
    quern_stream *stream;
} trial;

/* operands: a, b, c, bias, aux */
static quern_status run_once(void *self, void *const *operands, void *scratch) {
    const trial *t = self;
    return product_call(t->product,
                        &(product_run_desc){.a = operands[0],
                                            .b = operands[1],
                                            .c = operands[2],
                                            .bias = operands[3],
                                            .aux = operands[4],
                                            .scratch = scratch,
                                            .stream = t->stream},
                        t->choice);
}

static measure_desc describe(const product *p, const product_choice *proposals, int count) {
    const product_desc *d = &p->desc;
    measure_desc out = {.what = p->what, .count = 5};
    out.elements[0] = d->m * d->k * d->batch;
    out.elements[1] = d->k * d->n * d->batch;
    out.elements[2] = d->m * d->n * d->batch;
    out.elements[3] = product_has_bias(p) ? (d->m > d->n ? d->m : d->n) : 0;
    out.elements[4] = (int64_t)(product_aux_bytes(p) / p->element_bytes);
    for (int i = 0; i < out.count; i++) out.dtype[i] = d->dtype;
    if (d->wide) out.dtype[2] = out.dtype[3] = QUERN_F32;
    for (int i = 0; i < count; i++)
        if (proposals[i].scratch_bytes > out.scratch_bytes)
            out.scratch_bytes = proposals[i].scratch_bytes;
    return out;
}

quern_status product_measure(product *p, quern_stream *stream, const product_choice *proposals,
                             int count, int *fastest) {
    const measure_desc d = describe(p, proposals, count);
    double best = (double)INFINITY;
    bool there;
    measure m;
    *fastest = -1;
    quern_status status = measure_begin(&m, stream, &d, &there);
    for (int i = 0; i < count && there && status == QUERN_OK; i++) {
        trial t = {p, &proposals[i], stream};
        double taken;
        status = measure_time(&m, run_once, &t, &taken);
        if (status == QUERN_OK && taken < best) best = taken, *fastest = i;
    }
    measure_end(&m);
    return status;
}
