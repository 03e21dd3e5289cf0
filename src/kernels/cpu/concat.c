/* concat - y = the parts one after another along an axis;  g part = its piece of gy.
 * Any dtype forward. With (outer, length, inner) around the axis, part p is copied as `outer` runs
 * of length_p inner elements. Cost: 1 read and 1 write per element. Deterministic: yes. */
#include "axis.h"
#include "cpu.h"
#include "walk.h"
#include "../../host/base/report.h"
#include <string.h>

typedef struct concat_work {
    char *part, *whole;
    size_t part_pitch, whole_pitch; /* bytes from run to run */
    quern_dtype dtype;
    int64_t run; /* elements of a run of the part */
    int64_t outer;
    bool backward, accumulate;
} concat_work;

static void copy_chunk(void *context, int64_t chunk) {
    const concat_work *w = context;
    const cpu_range range = cpu_chunk_range(chunk, cpu_rows_per_chunk(w->run), w->outer);
    for (int64_t i = range.start; i < range.end; i++) {
        char *part = w->part + (size_t)i * w->part_pitch;
        char *whole = w->whole + (size_t)i * w->whole_pitch;
        if (!w->backward)
            memcpy(whole, part, w->part_pitch);
        else if (w->accumulate)
            row_add(w->dtype, part, whole, w->run);
        else
            memcpy(part, whole, w->part_pitch);
    }
}

/* Every part against its place in `whole`. */
static void run(const quern_kernel_args *args, const quern_view *whole, const quern_view *parts,
                bool backward) {
    const quern_concat_desc *d = args->attributes;
    const axis_split all = axis_split_of(whole, d->axis);
    const size_t bytes = quern_dtype_bytes(whole->dtype);
    size_t offset = 0;
    for (int32_t p = 0; p < args->input_count; p++) {
        const axis_split s = axis_split_of(&args->in[p], d->axis);
        concat_work work = {.part = parts[p].data,
                            .whole = (char *)whole->data + offset,
                            .part_pitch = (size_t)(s.length * s.inner) * bytes,
                            .whole_pitch = (size_t)(all.length * all.inner) * bytes,
                            .dtype = whole->dtype,
                            .run = s.length * s.inner,
                            .outer = all.outer,
                            .backward = backward,
                            .accumulate = backward && args->accumulate[p]};
        offset += work.part_pitch;
        if (work.part == NULL || work.run == 0) continue;
        quern_cpu_parallel(args->stream, cpu_chunk_count(work.outer, cpu_rows_per_chunk(work.run)),
                           copy_chunk, &work);
    }
}

static quern_status plan(quern_kernel_plan *p) {
    const quern_dtype dtype = p->args->in[0].dtype;
    if (p->backward && dtype != QUERN_F32 && dtype != QUERN_F64)
        return quern_fail(QUERN_UNSUPPORTED, "the CPU adds gradients in F32 and F64, not %s",
                          quern_dtype_name(dtype));
    return QUERN_OK;
}

static quern_status forward(const quern_kernel_args *args) {
    run(args, &args->out[0], args->in, false);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    run(args, &args->grad_out[0], args->grad_in, true);
    return QUERN_OK;
}

const quern_kernel quern_cpu_concat = {.plan = plan, .forward = forward, .backward = backward};
