/* generation.h - the entries of a checkpoint directory.
 *
 *     step-<n>            a checkpoint: complete, because it got its name by renaming
 *     step-<n>.partial    being written, or what a crashed writer left: never complete for readers
 *     step-<n>.replaced   the older checkpoint of a step that is written again, until that is done
 *     step-<n>.retired    being removed
 *
 * Everything else in the directory is somebody else's and is left alone. */
#ifndef QUERN_CHECKPOINT_GENERATION_H
#define QUERN_CHECKPOINT_GENERATION_H

#include <quern/host.h>

typedef enum generation_kind {
    GENERATION_WHOLE,
    GENERATION_REPLACED,
    GENERATION_PARTIAL,
    GENERATION_RETIRED,
    GENERATION_KIND_COUNT,
} generation_kind;

typedef struct generation {
    int64_t step;
    generation_kind kind;
} generation;

/* "step-<18 digits>.replaced" and its end, after a slash; a file's name after another. */
#define GENERATION_NAME 48
#define GENERATION_FILE_NAME 24

/* false: the name is none of ours. */
bool generation_parse(const char *name, generation *out);
/* "directory/step-<n>.kind"; to holds strlen(directory) + GENERATION_NAME bytes at least. */
void generation_path(char *to, size_t capacity, const char *directory, generation g);

typedef struct generation_list {
    generation *items; /* newest first; of one step in the order of the kinds */
    int64_t count, capacity;
} generation_list;

/* A directory that does not exist is an empty one. INPUT, HOST_MEMORY. */
QUERN_MUST_CHECK quern_status generation_list_read(generation_list *out, const quern_host *host,
                                                   const char *directory);
void generation_list_release(generation_list *list, const quern_host *host);

/* The smallest step above `step` of those that a reader may take; -1: there is none. Allocates
 * nothing. INPUT. */
QUERN_MUST_CHECK quern_status generation_next(const quern_host *host, const char *directory,
                                              int64_t step, int64_t *out);

/* File operations with a sentence (status IO). A path is a buffer with room for
 * GENERATION_FILE_NAME more bytes where a function works inside a directory. */
/* Fails when it is there. */
QUERN_MUST_CHECK quern_status directory_make(const quern_host *host, const char *path);
QUERN_MUST_CHECK quern_status path_exists(const quern_host *host, const char *path, bool *out);
/* Removes the three files of a checkpoint and then the directory. A missing one is removed already;
 * a foreign file in it stays, and the directory with it: IO. */
QUERN_MUST_CHECK quern_status generation_remove(const quern_host *host, char *path,
                                                size_t capacity);
/* mkdir -p, after which a power cut loses none of what was made. */
QUERN_MUST_CHECK quern_status directory_make_durable(const quern_host *host, const char *path);

#endif
