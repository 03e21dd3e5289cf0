/* builders.c - the public builder of every row of ops.def, and quern_split. */
#include "graph.h"

#include <quern/ops.h>

#include "../../kernels/kernel.h"
#include "../base/size.h"

/* the inputs as parameters, and as the array and count that graph_apply takes */
#define TAKE_IN1(a) quern_tensor *a
#define TAKE_IN2(a, b) quern_tensor *a, quern_tensor *b
#define TAKE_IN3_OPT1(a, b, c) quern_tensor *a, quern_tensor *b, quern_tensor *c
#define TAKE_IN5(a, b, c, d, e)                                                                    \
    quern_tensor *a, quern_tensor *b, quern_tensor *c, quern_tensor *d, quern_tensor *e
#define TAKE_IN_LIST(a) quern_tensor *const *a, int32_t count
#define PASS_IN1(a) (quern_tensor *[]){a}, 1
#define PASS_IN2(a, b) (quern_tensor *[]){a, b}, 2
#define PASS_IN3_OPT1(a, b, c) (quern_tensor *[]){a, b, c}, 3
#define PASS_IN5(a, b, c, d, e) (quern_tensor *[]){a, b, c, d, e}, 5
#define PASS_IN_LIST(a) a, count

#define BUILD_DESC(name, in)                                                                       \
    quern_tensor *quern_##name(quern_graph *graph, TAKE_##in, const quern_##name##_desc *desc) {   \
        return graph_apply(graph, QUERN_OP_ID_##name, PASS_##in, desc);                            \
    }
#define BUILD_NO_DESC(name, in)                                                                    \
    quern_tensor *quern_##name(quern_graph *graph, TAKE_##in) {                                    \
        return graph_apply(graph, QUERN_OP_ID_##name, PASS_##in, NULL);                            \
    }
#define BUILD_FUSED(name, in)
#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula) BUILD_##desc(name, in)
#include <quern/ops.def>
#undef QUERN_OP

void quern_split(quern_graph *graph, quern_tensor *x, int32_t axis, int32_t part_count,
                 const int64_t *sizes, quern_tensor **parts) {
    for (int32_t i = 0; parts && i < part_count; i++) parts[i] = NULL;
    if (!graph || graph->status != QUERN_OK) return;
    if (!x || !parts || axis < -x->shape.rank || axis >= x->shape.rank || part_count < 1) {
        graph_stick(graph, quern_fail(QUERN_INVALID, "split: %d parts along axis %d of %s",
                                      (int)part_count, (int)axis, x ? x->name : "NULL"));
        return;
    }
    const int64_t size = x->shape.dim[axis < 0 ? axis + x->shape.rank : axis];
    int64_t start = 0;
    for (int32_t i = 0; i < part_count && graph->status == QUERN_OK; i++) {
        const int64_t part = sizes ? sizes[i] : size / part_count;
        int64_t stop = 0;
        if (!count_add(start, part, &stop)) stop = INT64_MAX; /* the slice refuses it */
        parts[i] = quern_slice(graph, x, &(quern_slice_desc){axis, start, stop});
        start = stop;
    }
    if (graph->status == QUERN_OK && start == size) return;
    for (int32_t i = 0; i < part_count; i++) parts[i] = NULL;
    if (graph->status != QUERN_OK) return;
    graph_stick(graph, quern_fail(QUERN_SHAPE, "split: %d parts of %lld in all, %s has %lld",
                                  (int)part_count, (long long)start, x->name, (long long)size));
}
