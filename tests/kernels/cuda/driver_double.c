/* driver_double.c - libcuda.so.1 for a machine without a driver: the toolkit's stub, under another
 * name behind this one, answers "no driver" to everything but the calls below, with which cuDNN
 * loads what it has compiled at run time. So its plans can be finalised; nothing can be run. */
#include <stddef.h>

typedef int result;
enum { CUDA_SUCCESS_ = 0 };

#define EXPORT __attribute__((visibility("default")))

/* Handles that nobody follows. */
static char library, kernel, function, module;

EXPORT result cuLibraryLoadData(void **out, const void *code, void *a, void *b, unsigned n, void *c,
                                void *d, unsigned m);
EXPORT result cuLibraryLoadData(void **out, const void *code, void *a, void *b, unsigned n, void *c,
                                void *d, unsigned m) {
    (void)code, (void)a, (void)b, (void)n, (void)c, (void)d, (void)m;
    *out = &library;
    return CUDA_SUCCESS_;
}

#define ONE(name, parameters, body)                                                                \
    EXPORT result name parameters;                                                                 \
    EXPORT result name parameters {                                                                \
        body;                                                                                      \
        return CUDA_SUCCESS_;                                                                      \
    }

ONE(cuLibraryUnload, (void *l), (void)l)
ONE(cuLibraryGetKernel, (void **k, void *l, const char *n), (void)l; (void)n; *k = &kernel)
ONE(cuLibraryGetKernelCount, (unsigned *n, void *l), (void)l; *n = 1)
ONE(cuLibraryEnumerateKernels, (void **k, unsigned n, void *l), (void)l; if (n > 0) *k = &kernel)
ONE(cuKernelGetFunction, (void **f, void *k), (void)k; *f = &function)
ONE(cuKernelSetAttribute, (int a, int v, void *k, int d), (void)a; (void)v; (void)k; (void)d)
ONE(cuKernelGetAttribute, (int *v, int a, void *k, int d), (void)a; (void)k; (void)d; *v = 0)
ONE(cuFuncSetAttribute, (void *f, int a, int v), (void)f; (void)a; (void)v)
ONE(cuFuncGetAttribute, (int *v, int a, void *f), (void)a; (void)f; *v = 0)
ONE(cuFuncSetCacheConfig, (void *f, int c), (void)f; (void)c)
ONE(cuModuleLoadData, (void **m, const void *i), (void)i; *m = &module)
ONE(cuModuleLoadDataEx, (void **m, const void *i, unsigned n, void *o, void *v), (void)i; (void)n;
    (void)o; (void)v; *m = &module)
ONE(cuModuleGetFunction, (void **f, void *m, const char *n), (void)m; (void)n; *f = &function)
ONE(cuModuleUnload, (void *m), (void)m)
ONE(cuOccupancyMaxActiveBlocksPerMultiprocessor, (int *n, void *f, int b, size_t s), (void)f;
    (void)b; (void)s; *n = 1)
