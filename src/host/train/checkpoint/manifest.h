/* manifest.h - what a checkpoint holds, and its manifest: the JSON file that makes a directory of
 * tensors a checkpoint.
 *
 * The manifest is written last. Its last line is the same in every format version:
 *     "digest": "<XXH3-128 of every byte before this line>"
 *     }
 * so that a reader can tell a damaged manifest from one of a version that it does not know. */
#ifndef QUERN_CHECKPOINT_MANIFEST_H
#define QUERN_CHECKPOINT_MANIFEST_H

#include "digest.h"
#include "../../base/text.h"

#include <quern/device.h>

#define MANIFEST_FORMAT "quern checkpoint"
#define MANIFEST_VERSION 1
#define MANIFEST_LIMIT ((size_t)64 << 20)

/* The library's version, as numbers for "%d.%d.%d". */
#define MANIFEST_LIBRARY QUERN_VERSION_MAJOR, QUERN_VERSION_MINOR, QUERN_VERSION_PATCH

#define MANIFEST_FILE "manifest.json"
#define MODEL_FILE "model.safetensors"
#define STATE_FILE "state.safetensors"

/* No run can come to more: what is added to a counter of a checkpoint does not overflow. */
#define CHECKPOINT_COUNTER_MAX (INT64_MAX / 4)

/* Every counter is 0 … CHECKPOINT_COUNTER_MAX. batch and sample are the data position: of the open
 * epoch, the first microbatch that is fetched next, and its first sample; what waits for the next
 * epoch lies in state.safetensors. begun_*: when the fit began that wrote this; its limits count
 * from there. */
#define CHECKPOINT_COUNTERS(X)                                                                     \
    X(step)     /* updates applied */                                                              \
    X(attempts) /* windows consumed */                                                             \
    X(samples)  /* seen so far */                                                                  \
    X(epoch)    /* of the data position, from 0 */                                                 \
    X(batch)                                                                                       \
    X(sample)                                                                                      \
    X(train_ns) /* spent training, evaluation excluded: the wall-clock limit goes on from here */  \
    X(begun_step)                                                                                  \
    X(begun_epoch)                                                                                 \
    X(begun_samples)                                                                               \
    X(begun_train_ns)

typedef struct checkpoint_counters {
#define X(name) int64_t name;
    CHECKPOINT_COUNTERS(X)
#undef X
} checkpoint_counters;

/* What a callback wants back: bytes of its own, at most a few kilobytes. */
typedef struct checkpoint_callback {
    const char *name; /* unique */
    const void *data;
    size_t bytes;
} checkpoint_callback;

/* Everything that a resumed run needs. Tensor names are unique in their list; data is host memory
 * while writing. */
typedef struct checkpoint_content {
    checkpoint_counters counters;
    uint64_t seed;
    const char *metric;        /* what "best" is measured by; NULL: none */
    double metric_value;       /* NaN: not known, never best */
    const char *configuration; /* resolved; the text of one JSON object */
    const char *algorithms;    /* the algorithm record; "" when there is none */
    const checkpoint_callback *callbacks;
    int64_t callback_count;
    const quern_safetensors_entry *model, *state;
    int64_t model_count, state_count;
    int64_t
        finite_count; /* the first so many of `state`, like all of `model`, hold no float that is
                             not finite: such a state is never written */
} checkpoint_content;

/* content.c: the digest over all tensors of both lists. HOST_MEMORY. */
QUERN_MUST_CHECK quern_status content_digest(const quern_host *host,
                                             const checkpoint_content *content,
                                             char text[DIGEST_TEXT]);
/* INTERNAL when two tensors of a list share a name, or one has the name of the notes. */
QUERN_MUST_CHECK quern_status content_check_names(const checkpoint_content *content);

/* NOT_FINITE names the first tensor of those that must be finite and is not. */
QUERN_MUST_CHECK quern_status content_check_finite(const checkpoint_content *content);

typedef struct checkpoint_file {
    int64_t bytes;
    char digest[DIGEST_TEXT];
} checkpoint_file;

/* manifest_write.c: bytes that no manifest with this content's strings can exceed. The callbacks'
 * `bytes` count as their largest. */
size_t manifest_bound(const checkpoint_content *content);
/* Fails only when `t` is too small (INTERNAL) or a counter is negative (INTERNAL). */
QUERN_MUST_CHECK quern_status manifest_write(text *t, const checkpoint_content *content,
                                             const checkpoint_file *model,
                                             const checkpoint_file *state);

/* A manifest as read. Its strings live as long as it does; tensors are not in it. */
typedef struct manifest {
    const quern_host *host;
    void *json; /* json_t */
    int64_t version;
    checkpoint_content content;
    checkpoint_file model, state;
    checkpoint_callback *callbacks;
    int64_t callback_capacity;
    uint8_t *callback_data;
    size_t callback_bytes;
    char *configuration; /* compact */
    size_t configuration_bytes;
} manifest;

/* manifest_read.c: INPUT says what is wrong with it; UNSUPPORTED a whole manifest of a newer
 * format version; HOST_MEMORY. Everything is released after a failure. *as_written: its digest is
 * right, whatever else is not. */
QUERN_MUST_CHECK quern_status manifest_parse(manifest *out, const quern_host *host,
                                             const void *data, size_t bytes, bool *as_written);
void manifest_release(manifest *m);

#endif
