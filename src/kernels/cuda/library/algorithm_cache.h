/* algorithm_cache.h - which algorithm each product uses, as measured on this device, kept from run
 * to run in one text file, <folder>/products-<hash of library and device>.txt:
 *
 *     quern products 1
 *     cublasLt <version> <device>
 *     <64 bytes of the algorithm in hex> <key>
 *     …
 *     end <hash of all before, hex>
 *
 * An algorithm is 64 opaque bytes that only the library's own version understands, so a file of
 * another version or device is another file, and each entry is checked by the library before its
 * use. A file that is damaged or not to be read is ignored, said once, and written anew. */
#ifndef QUERN_KERNELS_CUDA_ALGORITHM_CACHE_H
#define QUERN_KERNELS_CUDA_ALGORITHM_CACHE_H

#include "cublaslt.h"

#define ALGORITHM_KEY_BYTES 320
#define ALGORITHM_COUNT_MAX 65536

typedef struct algorithm_entry {
    cublasLtMatmulAlgo_t algorithm;
    char key[ALGORITHM_KEY_BYTES]; /* one line of words: product_key in product.c */
} algorithm_entry;

typedef struct algorithm_cache {
    algorithm_entry *entries; /* in the order in which they were found */
    int64_t count, capacity;
} algorithm_cache;

struct cuda_libraries;
/* Reads what is remembered. HOST_MEMORY. */
QUERN_MUST_CHECK quern_status algorithm_cache_load(struct cuda_libraries *libraries);
/* NULL: not remembered. */
const cublasLtMatmulAlgo_t *algorithm_cache_find(const algorithm_cache *cache, const char *key);
/* Remembers, in place of what was there, and writes the file. HOST_MEMORY. */
QUERN_MUST_CHECK quern_status algorithm_cache_keep(struct cuda_libraries *libraries,
                                                   const char *key,
                                                   const cublasLtMatmulAlgo_t *algorithm);
void algorithm_cache_clear(algorithm_cache *cache, const quern_host *host);

#endif
