/* checkpoint.h - a checkpoint that was read and found whole, and finding the newest one. */
#ifndef QUERN_CHECKPOINT_CHECKPOINT_H
#define QUERN_CHECKPOINT_CHECKPOINT_H

#include "generation.h"
#include "manifest.h"
#include <quern/checkpoint.h>

struct quern_checkpoint {
    const quern_host *host;
    char *path;
    size_t path_bytes;
    manifest manifest; /* content.model and .state are the entries of the two files */
    quern_safetensors *model, *state;
};

/* Reads and verifies all of it: the manifest's own digest, size and digest of both files, their
 * strict parse. INPUT names the file and what is wrong; UNSUPPORTED a newer format version. */
QUERN_MUST_CHECK quern_status checkpoint_open(quern_checkpoint **out, const quern_host *host,
                                              const char *path);

/* What opening one has told about it. Unknown: there was no memory, no descriptor, no right to read
 * it, the device did not answer, its format is a newer one, or a file that has its digest is not
 * understood. It may be whole, so nothing older may be taken in its place. */
typedef enum checkpoint_verdict {
    CHECKPOINT_IS_WHOLE,
    CHECKPOINT_DAMAGED, /* always with INPUT */
    CHECKPOINT_UNKNOWN,
} checkpoint_verdict;

/* checkpoint_open, and what its status means. */
QUERN_MUST_CHECK quern_status checkpoint_judge(quern_checkpoint **out, const quern_host *host,
                                               const char *path, checkpoint_verdict *verdict);

/* The manifest alone, with the sizes of the files compared but their bytes not read. */
QUERN_MUST_CHECK quern_status checkpoint_read_manifest(manifest *out, const quern_host *host,
                                                       const char *path,
                                                       checkpoint_verdict *verdict);

/* Whether each file has its digest: reads all of it and holds none of it. INPUT when one has not,
 * or that cannot be told. */
QUERN_MUST_CHECK quern_status checkpoint_verify(const quern_host *host, const char *path,
                                                checkpoint_verdict *verdict);

/* quern_checkpoint_latest for those who have a host and no device. */
QUERN_MUST_CHECK quern_status checkpoint_latest(quern_checkpoint **out, const quern_host *host,
                                                const char *directory,
                                                quern_checkpoint_visit *visit, void *context);

/* What a crashed or cut-off writer left in a directory that now has no other writer: an older
 * checkpoint that was renamed aside gets its name back, half written and half removed ones go. What
 * cannot be removed is logged. HOST_MEMORY, INPUT, IO. */
QUERN_MUST_CHECK quern_status checkpoint_recover(const quern_host *host, const char *directory);

#endif
