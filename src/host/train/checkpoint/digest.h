/* digest.h - XXH3-128: tells a damaged file from a whole one; no protection against forgery. */
#ifndef QUERN_CHECKPOINT_DIGEST_H
#define QUERN_CHECKPOINT_DIGEST_H

#include <quern/safetensors.h>

#include <stdalign.h>

#define DIGEST_TEXT 33 /* 32 hexadecimal digits, most significant first, and the end */

typedef struct digest {
    alignas(64) unsigned char state[576]; /* XXH3_state_t, whose header stays in digest.c */
} digest;

void digest_begin(digest *d);
void digest_add(digest *d, const void *bytes, size_t count);
void digest_end(const digest *d, char text[DIGEST_TEXT]);
void digest_of(const void *bytes, size_t count, char text[DIGEST_TEXT]);

/* Over all tensors in the order of their names (as bytes): each name with its terminating zero,
 * then its data. HOST_MEMORY. */
QUERN_MUST_CHECK quern_status digest_of_tensors(const quern_host *host,
                                                const quern_safetensors_entry *const *entries,
                                                int64_t count, char text[DIGEST_TEXT]);

#endif
