/* blas_memory.c - makes the private serial OpenBLAS safe to call from several threads at once.
 *
 * Built without threads, OpenBLAS takes a work buffer by testing and then setting a flag, with no
 * lock in between (driver/others/memory.c, blas_memory_alloc): two threads that meet there share
 * one buffer, and a product comes out wrong. The linker is told to route these two functions
 * through here (--wrap, tools/cmake/QuernLibrary.cmake), where a lock makes test and set one step.
 * tests/kernels/test_blas.c fails within a second without it. */
#include <pthread.h>

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-*): the linker chooses these names */
void *__real_blas_memory_alloc(int position);
void __real_blas_memory_free(void *buffer);
void *__wrap_blas_memory_alloc(int position);
void __wrap_blas_memory_free(void *buffer);

/* The one exception to "nothing is global": it guards a global of the BLAS. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void *__wrap_blas_memory_alloc(int position) {
    pthread_mutex_lock(&lock);
    void *buffer = __real_blas_memory_alloc(position);
    pthread_mutex_unlock(&lock);
    return buffer;
}

void __wrap_blas_memory_free(void *buffer) {
    pthread_mutex_lock(&lock);
    __real_blas_memory_free(buffer);
    pthread_mutex_unlock(&lock);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-*) */
