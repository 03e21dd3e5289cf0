/* gemm.c - see gemm.h. Cost: 2 m n k flops; the tile's bias and relu cost no further pass over
 * memory. Large tiles save packing (128 x 128 over 64 x 128: 5 % at 128 x 784 x 512 on one thread),
 * small ones leave more to be shared: 128 rows where that still gives four tiles, else 64. */
#ifndef REAL
#include "gemm.h"
#include "../../host/base/size.h"
#include <cblas.h>
#include <inttypes.h>

enum { TILE_ROWS_MOST = 128, TILE_ROWS_LEAST = 64, TILE_COLUMNS = 128, TILES_ENOUGH = 4 };

#define REAL_FILE "gemm.c"
#include "each_real.h"

quern_status gemm_check(int64_t m, int64_t n, int64_t k) {
    if (m <= INT32_MAX && n <= INT32_MAX && k <= INT32_MAX) return QUERN_OK;
    return quern_fail(QUERN_UNSUPPORTED,
                      "a product of (%" PRId64 ", %" PRId64 ") and (%" PRId64 ", %" PRId64
                      ") has a side over 2147483647",
                      m, k, k, n);
}

void gemm_serial(const gemm *g) {
    if (g->m == 0 || g->n == 0) return;
    if (g->dtype == QUERN_F32)
        product_f32(g, g->a, g->b, g->c, g->m, 0, g->n);
    else
        product_f64(g, g->a, g->b, g->c, g->m, 0, g->n);
}

static int64_t tile_count(const gemm *g, int64_t tile_rows) {
    const int64_t batch = g->batch > 0 ? g->batch : 1;
    return batch * count_divide_up(g->m, tile_rows) * count_divide_up(g->n, TILE_COLUMNS);
}

/* A function of the shape alone, so that the bits are. */
static int64_t tile_rows_of(const gemm *g) {
    return tile_count(g, TILE_ROWS_MOST) >= TILES_ENOUGH ? TILE_ROWS_MOST : TILE_ROWS_LEAST;
}

static void run_tile(void *context, int64_t chunk) {
    const gemm *g = context;
    const int64_t tile_rows = tile_rows_of(g);
    const int64_t across = count_divide_up(g->n, TILE_COLUMNS);
    const int64_t down = count_divide_up(g->m, tile_rows);
    const int64_t batch = chunk / (across * down);
    const int64_t row = chunk / across % down * tile_rows, column = chunk % across * TILE_COLUMNS;
    const int64_t rows = g->m - row < tile_rows ? g->m - row : tile_rows;
    const int64_t columns = g->n - column < TILE_COLUMNS ? g->n - column : TILE_COLUMNS;
    const int64_t a = batch * g->a_step + (g->transpose_a ? row : row * g->a_pitch);
    const int64_t b = batch * g->b_step + (g->transpose_b ? column * g->b_pitch : column);
    const int64_t c = batch * g->c_step + row * g->c_pitch + column;
    if (g->dtype == QUERN_F32)
        product_f32(g, (const float *)g->a + a, (const float *)g->b + b, (float *)g->c + c, rows,
                    column, columns);
    else
        product_f64(g, (const double *)g->a + a, (const double *)g->b + b, (double *)g->c + c, rows,
                    column, columns);
}

void gemm_parallel(quern_stream *stream, const gemm *g) {
    gemm copy = *g;
    quern_cpu_parallel(stream, tile_count(g, tile_rows_of(g)), run_tile, &copy);
}

#else

/* The part of C from `column` on; a, b and c point at its first elements. */
static void REAL_NAME(product)(const gemm *g, const REAL *a, const REAL *b, REAL *c, int64_t rows,
                               int64_t column, int64_t columns) {
    const CBLAS_TRANSPOSE ta = g->transpose_a ? CblasTrans : CblasNoTrans;
    const CBLAS_TRANSPOSE tb = g->transpose_b ? CblasTrans : CblasNoTrans;
    const blasint m = (blasint)rows, n = (blasint)columns, k = (blasint)g->k;
    const blasint lda = (blasint)g->a_pitch, ldb = (blasint)g->b_pitch, ldc = (blasint)g->c_pitch;
    const REAL beta = g->accumulate ? 1 : 0;
    if (k == 0) {
        for (int64_t i = 0; i < rows && !g->accumulate; i++)
            for (int64_t j = 0; j < columns; j++) c[i * g->c_pitch + j] = 0;
    } else {
        _Generic(beta, float
                 : cblas_sgemm, double
                 : cblas_dgemm)(CblasRowMajor, ta, tb, m, n, k, 1, a, lda, b, ldb, beta, c, ldc);
    }
    if (g->bias == NULL && !g->relu) return;
    const REAL *bias = g->bias == NULL ? NULL : (const REAL *)g->bias + column;
    for (int64_t i = 0; i < rows; i++) {
        REAL *y = c + i * g->c_pitch;
        if (bias != NULL)
            for (int64_t j = 0; j < columns; j++) y[j] += bias[j];
        if (g->relu) /* written so that NaN stays NaN, as in relu */
            for (int64_t j = 0; j < columns; j++) y[j] = y[j] < 0 ? 0 : y[j];
    }
}

#endif
