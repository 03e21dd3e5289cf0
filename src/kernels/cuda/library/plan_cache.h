/* plan_cache.h - cuDNN plans kept from run to run, one file each: <folder>/plan-<hash of key>.txt
 *
 *     quern plan 1
 *     <key: library version, device, graph, limits>
 *     <hash of the plan, hex> <bytes of the plan>
 *     <the plan: the library's own JSON; or that there is none>
 *
 * A file whose key is another, or that is cut short, damaged or not to be read, is ignored, said
 * once, and written anew. The library checks what it is given once more when it finalises it. */
#ifndef QUERN_KERNELS_CUDA_PLAN_CACHE_H
#define QUERN_KERNELS_CUDA_PLAN_CACHE_H

#include "libraries.h"

typedef struct plan_text {
    char *file; /* the whole file, `bytes` + 1 long; NULL: not remembered */
    size_t bytes;
    const char *plan; /* within it, `plan_bytes` long */
    size_t plan_bytes;
} plan_text;

void plan_cache_read(cuda_libraries *libraries, const char *key, plan_text *out);
void plan_cache_release(cuda_libraries *libraries, plan_text *text);
/* Not being able to is logged; it is no error. HOST_MEMORY. */
QUERN_MUST_CHECK quern_status plan_cache_write(cuda_libraries *libraries, const char *key,
                                               const char *plan, size_t plan_bytes);

#endif
