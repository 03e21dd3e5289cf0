/* shapes.h - what the shape rules share. A dim is k, or -k for k times the batch size; two dims
 * are equal only when they are written the same. */
#ifndef QUERN_GRAPH_SHAPES_H
#define QUERN_GRAPH_SHAPES_H

#include "../base/report.h"
#include "graph.h"

#include <quern/op_desc.h>

/* SHAPE: "<what> (B, 784) and (B, 10)". b may be NULL. */
quern_status shape_fail(const char *what, const quern_shape *a, const quern_shape *b);

QUERN_MUST_CHECK quern_status shape_need_float(const quern_shape *x);
QUERN_MUST_CHECK quern_status shape_need_rank(const quern_shape *x, int32_t low, int32_t high);
QUERN_MUST_CHECK quern_status shape_need_index(const quern_shape *x);

/* -rank … rank-1 becomes 0 … rank-1. */
QUERN_MUST_CHECK quern_status axis_resolve(int32_t *axis, int32_t rank);

/* dims [from, to) multiplied: false when it overflows or holds the batch size twice. */
bool dims_product(const quern_shape *x, int32_t from, int32_t to, int64_t *out);

/* The rules of ops.def. */
#define QUERN_OP(name, desc, in, out, reads, flags, rule, formula)                                 \
    quern_status shape_##rule(const quern_shape_args *args);
#include <quern/ops.def>
#undef QUERN_OP

bool shapes_equal(const quern_shape *a, const quern_shape *b); /* rank and dims */

#endif
