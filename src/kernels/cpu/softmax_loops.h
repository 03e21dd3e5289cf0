/* softmax_loops.h - softmax and log_softmax over REAL; see softmax.h. No include guard: it is
 * compiled once per type. */
static double REAL_NAME(block_sum)(const REAL *term, int64_t count) {
    double lane[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int64_t j = 0; j < 8; j++) lane[j] += (double)term[i + j];
    for (int64_t j = 0; i < count; i++, j++) lane[j] += (double)term[i];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* NaN is passed over here; it comes back through the exponentials. */
static REAL REAL_NAME(row_max)(const REAL *x, int64_t count) {
    REAL lane[8];
    for (int64_t j = 0; j < 8; j++) lane[j] = (REAL)-INFINITY;
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int64_t j = 0; j < 8; j++) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (int64_t j = 0; i < count; i++, j++) lane[j] = x[i] > lane[j] ? x[i] : lane[j];
    for (int64_t j = 1; j < 8; j++) lane[0] = lane[j] > lane[0] ? lane[j] : lane[0];
    return lane[0];
}

static void REAL_NAME(forward_row)(const REAL *x, REAL *y, int64_t length) {
    const REAL m = REAL_NAME(row_max)(x, length);
    double sum = 0;
    REAL block[BLOCK];
    for (int64_t start = 0; start < length; start += BLOCK) {
        const int64_t count = cpu_min(BLOCK, length - start);
        VECTOR_LOOP
        for (int64_t i = 0; i < count; i++) {
            const REAL shifted = x[start + i] - m, e = REAL_NAME(exp)(shifted);
            block[i] = e;
            y[start + i] = KEEP(shifted, e);
        }
        sum += REAL_NAME(block_sum)(block, count);
    }
    const REAL total = (REAL)PREPARE(sum);
    VECTOR_LOOP
    for (int64_t i = 0; i < length; i++) y[i] = FINISH(y[i], total);
}

static void REAL_NAME(backward_row)(const REAL *y, const REAL *gy, REAL *gx, int64_t length,
                                    bool accumulate) {
    double sum = 0;
    REAL block[BLOCK];
    for (int64_t start = 0; start < length; start += BLOCK) {
        const int64_t count = cpu_min(BLOCK, length - start);
        for (int64_t i = 0; i < count; i++) block[i] = TERM(gy[start + i], y[start + i]);
        sum += REAL_NAME(block_sum)(block, count);
    }
    const REAL total = (REAL)sum;
    VECTOR_LOOP
    for (int64_t i = 0; i < length; i++) {
        const REAL g = GRADIENT(gy[i], y[i], total);
        gx[i] = accumulate ? gx[i] + g : g;
    }
}

/* `columns` neighbours along the inner axes, values of one column `step` apart. */
static void REAL_NAME(forward_tile)(const REAL *x, REAL *y, int64_t length, int64_t step,
                                    int64_t columns) {
    REAL m[TILE], total[TILE];
    double sum[TILE] = {0};
    for (int64_t c = 0; c < columns; c++) m[c] = (REAL)-INFINITY;
    for (int64_t i = 0; i < length; i++)
        for (int64_t c = 0; c < columns; c++)
            m[c] = x[i * step + c] > m[c] ? x[i * step + c] : m[c];
    for (int64_t i = 0; i < length; i++) {
        VECTOR_LOOP
        for (int64_t c = 0; c < columns; c++) {
            const REAL shifted = x[i * step + c] - m[c], e = REAL_NAME(exp)(shifted);
            sum[c] += (double)e;
            y[i * step + c] = KEEP(shifted, e);
        }
    }
    for (int64_t c = 0; c < columns; c++) total[c] = (REAL)PREPARE(sum[c]);
    for (int64_t i = 0; i < length; i++) {
        VECTOR_LOOP
        for (int64_t c = 0; c < columns; c++) y[i * step + c] = FINISH(y[i * step + c], total[c]);
    }
}

static void REAL_NAME(backward_tile)(const softmax_work *w, int64_t offset, int64_t columns) {
    const REAL *y = (const REAL *)w->y + offset, *gy = (const REAL *)w->gy + offset;
    REAL *gx = (REAL *)w->to + offset;
    const int64_t step = w->split.inner;
    double sum[TILE] = {0};
    for (int64_t i = 0; i < w->split.length; i++)
        for (int64_t c = 0; c < columns; c++)
            sum[c] += (double)TERM(gy[i * step + c], y[i * step + c]);
    for (int64_t i = 0; i < w->split.length; i++) {
        VECTOR_LOOP
        for (int64_t c = 0; c < columns; c++) {
            const int64_t at = i * step + c;
            const REAL g = GRADIENT(gy[at], y[at], (REAL)sum[c]);
            gx[at] = w->accumulate ? gx[at] + g : g;
        }
    }
}

static void REAL_NAME(forward_chunk)(void *context, int64_t chunk) {
    const softmax_work *w = context;
    const softmax_part part = part_of(&w->split, chunk);
    const int64_t length = w->split.length;
    for (int64_t row = part.rows.start; row < part.rows.end; row++) {
        const int64_t offset = row * length * w->split.inner + part.columns.start;
        const REAL *x = (const REAL *)w->x + offset;
        REAL *y = (REAL *)w->to + offset;
        const int64_t columns = part.columns.end - part.columns.start;
        if (w->split.inner == 1) {
            REAL_NAME(forward_row)(x, y, length);
        } else {
            REAL_NAME(forward_tile)(x, y, length, w->split.inner, columns);
        }
    }
}

static void REAL_NAME(backward_chunk)(void *context, int64_t chunk) {
    const softmax_work *w = context;
    const softmax_part part = part_of(&w->split, chunk);
    const int64_t length = w->split.length;
    for (int64_t row = part.rows.start; row < part.rows.end; row++) {
        const int64_t offset = row * length * w->split.inner + part.columns.start;
        const REAL *y = (const REAL *)w->y + offset, *gy = (const REAL *)w->gy + offset;
        if (w->split.inner == 1) {
            REAL_NAME(backward_row)(y, gy, (REAL *)w->to + offset, length, w->accumulate);
        } else {
            REAL_NAME(backward_tile)(w, offset, part.columns.end - part.columns.start);
        }
    }
}
