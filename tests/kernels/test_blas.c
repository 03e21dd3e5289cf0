/* The private BLAS called from several threads at once: the same bits as from one. Without the
 * lock of src/kernels/cpu/blas_memory.c some of these products come out wrong on every run. */
#include "quern_test.h"

#include "kernels/cpu/gemm.h"

#include <pthread.h>
#include <string.h>

enum { M = 32, N = 24, K = 40, REPEATS = 20000, THREADS = 4 };

typedef struct work {
    double a[M * K], b[N * K], expected[M * N], found[THREADS][M * N];
    int wrong[THREADS];
} work;

typedef struct share {
    work *w;
    int index;
} share;

static gemm product(const work *w, double *c) {
    return (gemm){.dtype = QUERN_F64,
                  .transpose_b = true,
                  .m = M,
                  .n = N,
                  .k = K,
                  .a = w->a,
                  .b = w->b,
                  .c = c,
                  .a_pitch = K,
                  .b_pitch = K,
                  .c_pitch = N};
}

static void *multiply(void *context) {
    const share *s = context;
    double *c = s->w->found[s->index];
    const gemm g = product(s->w, c);
    for (int i = 0; i < REPEATS; i++) {
        gemm_serial(&g);
        s->w->wrong[s->index] += memcmp(c, s->w->expected, sizeof s->w->expected) != 0;
    }
    return NULL;
}

TEST_CASE(Blas, gives_the_same_bits_from_several_threads_at_once) {
    static work w;
    pthread_t threads[THREADS];
    share shares[THREADS];
    for (int i = 0; i < M * K; i++) w.a[i] = (double)(i * 7919 % 1009) / 1009 - 0.5;
    for (int i = 0; i < N * K; i++) w.b[i] = (double)(i * 104729 % 997) / 997 - 0.5;
    const gemm g = product(&w, w.expected);
    gemm_serial(&g);
    double by_hand = 0;
    for (int k = 0; k < K; k++) by_hand += w.a[k] * w.b[k];
    CHECK_NEAR(w.expected[0], by_hand, 1e-13);
    for (int i = 0; i < THREADS; i++) {
        shares[i] = (share){&w, i};
        REQUIRE(pthread_create(&threads[i], NULL, multiply, &shares[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
        CHECK_SAY(w.wrong[i] == 0, "%d products are wrong", w.wrong[i]);
}
