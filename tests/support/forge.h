/* forge.h - lies in a checkpoint whose digests are all right, over the bytes of its files. */
#ifndef QUERN_TESTS_SUPPORT_FORGE_H
#define QUERN_TESTS_SUPPORT_FORGE_H

#include <stdbool.h>
#include <stddef.h>

/* One file as it lies in memory. */
typedef struct forge_file {
    char *data;
    size_t bytes, capacity;
} forge_file;

/* The digests of both files of tensors, and then the manifest's own, are put right. False: the
 * manifest has not the form that is written. */
bool forge_digests(forge_file *manifest, const forge_file *model, const forge_file *state);

/* The number behind "key": in a manifest becomes `value`, which may be of another length. */
bool forge_number(forge_file *manifest, const char *key, const char *value);

/* The element of a tensor in a .safetensors file, where it lies; NULL: there is none. */
void *forge_element(forge_file *tensors, const char *name, size_t element, size_t element_bytes);

#endif
