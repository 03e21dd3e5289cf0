/* walk.h - one pass over several views of one shape, row by row.
 *
 * A row function gets pieces of the innermost of the axes (../walk_axes.h): row->data[i] points at
 * operand i's first element, row->stride[i] is its step in elements. Once closed, a walk over
 * contiguous views is one long row.
 * Pieces are cut at fixed borders, so which row function call computes an element never depends on
 * the thread count. */
#ifndef QUERN_KERNELS_CPU_WALK_H
#define QUERN_KERNELS_CPU_WALK_H

#include "../kernel.h"
#include "../walk_axes.h"

typedef struct walk {
    walk_axes axes;
    char *data[WALK_OPERANDS];
    size_t bytes[WALK_OPERANDS]; /* of one element */
    double factor;               /* handed to the row function; 1 unless set */
} walk;

typedef struct walk_row {
    int64_t count;
    void *data[WALK_OPERANDS];
    int64_t stride[WALK_OPERANDS];
    double factor;
} walk_row;

typedef void (*walk_function)(const walk_row *row);

void walk_begin(walk *w, const quern_view *shape);
void walk_add(walk *w, const quern_view *operand);
void walk_close(walk *w);
void walk_run(const walk *w, quern_stream *stream, walk_function function);

/* A position in some of a walk's axes, in row-major order of these. */
typedef struct walk_cursor {
    int32_t rank, axis[QUERN_RANK_MAX];
    int64_t at[QUERN_RANK_MAX];
    int64_t offset[WALK_OPERANDS]; /* in elements */
} walk_cursor;
void walk_seek(const walk *w, walk_cursor *cursor, int64_t index);
void walk_next(const walk *w, walk_cursor *cursor);

/* to[i] += from[i] in F32 or F64. */
void row_add(quern_dtype dtype, void *to, const void *from, int64_t count);

#endif
