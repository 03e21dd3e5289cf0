/* algorithm_record.h - the algorithm record of backend.h: what each product and each graph of
 * convolutions planned for a run uses, as lines of key and algorithm.
 *
 *     cublasLt <version>; <device>; product …    64 bytes of the algorithm in hex
 *     cudnn <version>; <device>; <graph>; …      the plan as the library's own JSON, on one line
 *
 * or, in the place of the algorithm:
 *     none        the library has none: another way is taken
 *     unwritten   one that the library cannot write down: its first choice
 *
 * A seal stands before each, 16 hexadecimal digits over key and algorithm; a line without the
 * right one counts for nothing. The entries of another run are looked at; only what this run has
 * used is written out again. */
#ifndef QUERN_KERNELS_CUDA_ALGORITHM_RECORD_H
#define QUERN_KERNELS_CUDA_ALGORITHM_RECORD_H

#include "../cuda.h"

#define RECORD_NONE "none"
#define RECORD_UNWRITTEN "unwritten"

/* The slots of the backend. */
QUERN_MUST_CHECK quern_status cuda_record_create(backend_device *device, backend_record **out,
                                                 const char *text);
void cuda_record_destroy(backend_record *record);
size_t cuda_record_write(const backend_record *record, char *to, size_t bytes);

/* NULL: there is none, or no record is in use. Lives until the next keep. */
const char *algorithm_record_find(const backend_record *record, const char *key);
/* This run uses it; without a record nothing happens. Control characters, which JSON has only
 * between its words, become spaces. HOST_MEMORY. */
QUERN_MUST_CHECK quern_status algorithm_record_keep(backend_record *record, const char *key,
                                                    const char *algorithm);

#endif
