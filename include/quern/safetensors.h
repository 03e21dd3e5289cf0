/* safetensors.h - named tensors in a file that loads anywhere safetensors does.
 *
 * The file: a 64-bit little-endian header length, a JSON header (name -> dtype, shape, offsets),
 * then the bytes, row-major. The reader is strict: it refuses a header that is too long, is not
 * JSON or repeats a key; a dtype it does not know, by name; sizes that overflow or do not match;
 * holes, overlaps and trailing bytes. Every failure is INPUT and names file, tensor, expected and
 * found. An opened file is read-only: several threads may use it. */
#ifndef QUERN_SAFETENSORS_H
#define QUERN_SAFETENSORS_H

#include <quern/program.h>

QUERN_BEGIN_C

typedef struct quern_safetensors quern_safetensors;

typedef struct quern_safetensors_entry {
    const char *name;
    quern_dtype dtype;
    int32_t rank;
    int64_t dim[QUERN_RANK_MAX];
    const void *data; /* little-endian, row-major, not aligned */
    size_t bytes;
} quern_safetensors_entry;

/* Free text that travels in the header. In a value that is written, a byte that is no UTF-8, as a
 * path may hold, becomes U+FFFD. */
typedef struct quern_safetensors_note {
    const char *key, *value;
} quern_safetensors_note;

/* Reads the file into memory and checks all of it. INPUT, HOST_MEMORY. The device (its host
 * functions) must outlive the object. */
QUERN_API QUERN_MUST_CHECK quern_status quern_safetensors_open(quern_safetensors **out,
                                                               quern_device *device,
                                                               const char *path);
/* The same over bytes that the application holds and keeps; `name` is for messages. */
QUERN_API QUERN_MUST_CHECK quern_status quern_safetensors_parse(quern_safetensors **out,
                                                                quern_device *device,
                                                                const char *name, const void *data,
                                                                size_t bytes);
QUERN_API void quern_safetensors_destroy(quern_safetensors *file);

/* Entries in order of their bytes; they live as long as the object. */
QUERN_API int64_t quern_safetensors_entries(const quern_safetensors *file,
                                            const quern_safetensors_entry **out);
QUERN_API const quern_safetensors_entry *quern_safetensors_find(const quern_safetensors *file,
                                                                const char *name); /* or NULL */
QUERN_API int64_t quern_safetensors_notes(const quern_safetensors *file,
                                          const quern_safetensors_note **out);
QUERN_API const char *quern_safetensors_note_find(const quern_safetensors *file,
                                                  const char *key); /* or NULL */

/* Writes `entries`, in this order and row-major, to a new file beside `path` (".part" behind its
 * name), syncs it and renames it over `path`: after QUERN_OK the file survives a power cut, after
 * a failure the old one is untouched, unless it is the folder's sync alone that failed: then the
 * new one is in its place, but might not survive a power cut. The writer is as strict as the
 * reader. INVALID, and nothing is written: a name or a note's key that is NULL, not UTF-8, or
 * there twice; a value that is NULL; a tensor named "__metadata__"; a dtype, rank or dim that does
 * not exist; `bytes` that are not what shape and dtype need; a header beyond 100,000,000 bytes. An
 * empty tensor may have NULL for its data. The device lends its host functions. IO, HOST_MEMORY. */
QUERN_API QUERN_MUST_CHECK quern_status quern_safetensors_write(
    const char *path, quern_device *device, const quern_safetensors_entry *entries,
    int64_t entry_count, const quern_safetensors_note *notes, int32_t note_count);

/* The same with every parameter and buffer of a graph; one tensor at a time is in host memory. Also
 * DEVICE_LOST. */
QUERN_API QUERN_MUST_CHECK quern_status quern_safetensors_save(const char *path, quern_graph *graph,
                                                               quern_parameters *parameters,
                                                               const quern_safetensors_note *notes,
                                                               int32_t note_count);

/* Copies every tensor into the parameter or buffer of its name. All are checked before the first
 * is written: a missing or surplus one is INPUT, another dtype or shape SHAPE, naming both. */
QUERN_API QUERN_MUST_CHECK quern_status quern_safetensors_load(const quern_safetensors *file,
                                                               quern_graph *graph,
                                                               quern_parameters *parameters);

QUERN_END_C
#endif
