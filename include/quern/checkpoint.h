/* checkpoint.h - what a trainer has saved: listing, verifying, reading, loading.
 *
 * A checkpoint is a directory `step-<n>`:
 *   model.safetensors   parameters and running statistics; loads anywhere safetensors does
 *   state.safetensors   optimizer state, averages, metric sums, batches of an open window
 *   manifest.json       format version, counters, data position, resolved configuration, callback
 *                       states, algorithm record, and size and XXH3-128 digest of both files; its
 *                       own digest is its last line
 * It gets its name only when all of it is on the disk, so a power cut at any moment leaves the one
 * before or the new one. "Latest" is always found by reading and verifying, never by a pointer: a
 * damaged one is named, with file and reason, and the next older is taken. The functions here read
 * only; they change nothing in the directory. */
#ifndef QUERN_CHECKPOINT_H
#define QUERN_CHECKPOINT_H

#include <quern/safetensors.h>

QUERN_BEGIN_C

/* The newest format version that this library writes and reads. */
#define QUERN_CHECKPOINT_VERSION 1

typedef struct quern_checkpoint quern_checkpoint;

/* Strings live as long as the checkpoint. */
typedef struct quern_checkpoint_info {
    const char *path;
    int64_t version;                 /* of the format */
    int64_t step, attempts, samples; /* as in quern_result */
    int64_t epoch, batch, sample;    /* data position: the first of the open window */
    double train_seconds;
    uint64_t seed;
    const char *metric; /* what "best" is measured by; NULL: none */
    double metric_value;
    const char *configuration; /* resolved; one JSON object */
    const char *algorithms;    /* "" when there is no record */
    size_t bytes;              /* of both files */
} quern_checkpoint_info;

/* Reads one checkpoint into memory and verifies every byte of it. INPUT names the file, the offset
 * or tensor, what was expected and found; UNSUPPORTED says that a newer library wrote it. The
 * device (its host functions) must outlive the object. */
QUERN_API QUERN_MUST_CHECK quern_status quern_checkpoint_open(quern_checkpoint **out,
                                                              quern_device *device,
                                                              const char *path);
QUERN_API void quern_checkpoint_destroy(quern_checkpoint *checkpoint);

/* One checkpoint of a directory, newest first: QUERN_OK, or why it cannot be used. Strings live
 * during the call. */
typedef struct quern_checkpoint_entry {
    int64_t step;
    const char *path;
    quern_status status;
    const char *reason; /* "" when it is whole */
    bool unreadable;    /* it could not be read, and may be whole */
} quern_checkpoint_entry;
typedef void quern_checkpoint_visit(void *context, const quern_checkpoint_entry *entry);

/* Opens the newest one that is whole; `visit` (may be NULL) is called for each newer one that is
 * not, which is also logged. *out is NULL with QUERN_OK when the directory holds no checkpoint or
 * does not exist. INPUT when none of those that are there is whole. An older one is never taken in
 * the place of one that may be whole: UNSUPPORTED when it is of a newer format version, HOST_MEMORY
 * when there was too little to read it, INPUT when reading failed for another reason than that a
 * file is missing: no permission, no descriptor left, an error of the disk. Such a one that is not
 * wanted has to be moved away. */
QUERN_API QUERN_MUST_CHECK quern_status quern_checkpoint_latest(quern_checkpoint **out,
                                                                quern_device *device,
                                                                const char *directory,
                                                                quern_checkpoint_visit *visit,
                                                                void *context);

/* Verifies every checkpoint of a directory. INPUT (the directory), HOST_MEMORY. */
QUERN_API QUERN_MUST_CHECK quern_status quern_checkpoint_list(quern_device *device,
                                                              const char *directory,
                                                              quern_checkpoint_visit *visit,
                                                              void *context);

QUERN_API quern_checkpoint_info quern_checkpoint_info_get(const quern_checkpoint *checkpoint);
/* Owned by the checkpoint. */
QUERN_API const quern_safetensors *quern_checkpoint_model(const quern_checkpoint *checkpoint);
QUERN_API const quern_safetensors *quern_checkpoint_state(const quern_checkpoint *checkpoint);

/* XXH3-128 over all tensors, names and bytes in name order, as 32 hexadecimal digits: two runs with
 * the same one hold the same state. HOST_MEMORY. */
QUERN_API QUERN_MUST_CHECK quern_status quern_checkpoint_digest(const quern_checkpoint *checkpoint,
                                                                char text[33]);

/* Copies the model's tensors into the parameters and buffers of their names; see
 * quern_safetensors_load. The failure names the checkpoint. */
QUERN_API QUERN_MUST_CHECK quern_status quern_checkpoint_load(const quern_checkpoint *checkpoint,
                                                              quern_graph *graph,
                                                              quern_parameters *parameters);

/* One key of two configurations that differs. Values are compact JSON, "" where the key is missing;
 * strings live during the call. `exact`: whether each step of the run that goes on is still
 * bit-identical to one of a run that was never stopped; where early stop ends it may change all the
 * same, which the sentence says. */
typedef struct quern_checkpoint_change {
    const char *key; /* "optimizer.learning_rate" */
    const char *before, *now;
    bool exact;
    bool another_run; /* a trainer refuses to go on: other data, metrics, optimizer rule or model (a
                         node that computes something else, or from something else) */
    const char *sentence;
} quern_checkpoint_change;

/* Compares two resolved configurations (JSON objects) key by key and calls `visit` (may be NULL)
 * for each that differs; *exact receives whether none of them breaks exactness. INPUT. */
QUERN_API QUERN_MUST_CHECK quern_status quern_checkpoint_compare(
    const char *before, const char *now, bool *exact,
    void (*visit)(void *context, const quern_checkpoint_change *change), void *context);

QUERN_END_C
#endif
