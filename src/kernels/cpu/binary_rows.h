/* binary_rows.h - the row functions of a binary op over REAL; see binary.h. No include guard: it is
 * compiled once per type. An operand's step is 1, or 0 where it is broadcast along the row. */
#define BOTH_STEPS(expression)                                                                     \
    if (step_a != 0 && step_b != 0) {                                                              \
        VECTOR_LOOP                                                                                \
        for (int64_t i = 0; i < row->count; i++) {                                                 \
            const REAL a = all_a[i], b = all_b[i];                                                 \
            expression;                                                                            \
        }                                                                                          \
    } else if (step_a != 0) {                                                                      \
        const REAL b = all_b[0];                                                                   \
        VECTOR_LOOP                                                                                \
        for (int64_t i = 0; i < row->count; i++) {                                                 \
            const REAL a = all_a[i];                                                               \
            expression;                                                                            \
        }                                                                                          \
    } else if (step_b != 0) {                                                                      \
        const REAL a = all_a[0];                                                                   \
        VECTOR_LOOP                                                                                \
        for (int64_t i = 0; i < row->count; i++) {                                                 \
            const REAL b = all_b[i];                                                               \
            expression;                                                                            \
        }                                                                                          \
    } else {                                                                                       \
        const REAL a = all_a[0], b = all_b[0];                                                     \
        VECTOR_LOOP                                                                                \
        for (int64_t i = 0; i < row->count; i++) {                                                 \
            expression;                                                                            \
        }                                                                                          \
    }

static void REAL_NAME(forward_row)(const walk_row *row) {
    REAL *to = row->data[0];
    const REAL *all_a = row->data[1], *all_b = row->data[2];
    const int64_t step_a = row->stride[1], step_b = row->stride[2];
    BOTH_STEPS(to[i] = VALUE(a, b))
}

/* A term may leave a, b or y unread: an unread operand is gy itself, so that its pointer is good.
 */
static void REAL_NAME(gradient_a_row)(const walk_row *row) {
    REAL *to = row->data[0];
    const REAL *g = row->data[1], *all_a = row->data[2], *all_b = row->data[3], *y = row->data[4];
    const int64_t step_a = row->stride[2], step_b = row->stride[3];
    BOTH_STEPS((void)a; (void)b; (void)y; to[i] = GRADIENT_A(g[i], a, b, y[i]))
}

static void REAL_NAME(gradient_b_row)(const walk_row *row) {
    REAL *to = row->data[0];
    const REAL *g = row->data[1], *all_a = row->data[2], *all_b = row->data[3], *y = row->data[4];
    const int64_t step_a = row->stride[2], step_b = row->stride[3];
    BOTH_STEPS((void)a; (void)b; (void)y; to[i] = GRADIENT_B(g[i], a, b, y[i]))
}
#undef BOTH_STEPS
