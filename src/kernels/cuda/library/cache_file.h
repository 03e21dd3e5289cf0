/* cache_file.h - a remembered file, read whole and replaced whole, through the host's file
 * operations. What is remembered can always be found anew, so no failure here is an error: reading
 * gives nothing and says why, writing leaves the old file. */
#ifndef QUERN_KERNELS_CUDA_CACHE_FILE_H
#define QUERN_KERNELS_CUDA_CACHE_FILE_H

#include "../cuda.h"

enum { CACHE_WHY_BYTES = 128 };

/* The file's bytes and a 0 after them; NULL when there is none, `why` being "" then, or when it has
 * more than `limit`, it cannot be read, or there is no memory. Release with
 * release(host, data, *bytes + 1, 1). */
char *cache_file_read(const quern_host *host, const char *path, size_t limit, size_t *bytes,
                      char why[CACHE_WHY_BYTES]);

/* Beside the file, synced, then renamed onto it. The folders above are made. False: as before. */
bool cache_file_write(const quern_host *host, const char *path, const char *data, size_t bytes);

/* FNV-1a, 64 bits: to name files and to see that one is whole. Not against an adversary. */
uint64_t cache_hash(const char *data, size_t bytes);

#endif
