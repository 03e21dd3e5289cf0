/* inspect.h - what `quern inspect` shows of tensors and of checkpoints, in words or as JSON. */
#ifndef QUERN_TOOL_INSPECT_H
#define QUERN_TOOL_INSPECT_H

#include "json.h"

#include <quern/quern.h>

/* A text from a file, at least 24 columns wide: what it holds does not command the terminal. */
void plain_write(FILE *to, const char *text);

/* "notes" and "tensors" of a file. */
void tensors_write(FILE *to, const quern_safetensors *file, bool as_json);
/* A list of a file's tensors, as JSON in brackets. */
void tensor_list_write(FILE *to, const quern_safetensors *file, bool as_json);

/* Every checkpoint of a folder, newest first: a line each, or JSON in brackets. A damaged one is an
 * entry, not a failure. *usable: OK, or why no run can be resumed from them: INPUT, all are
 * damaged; UNSUPPORTED, one is of a newer format than the newest that is whole. */
quern_status checkpoints_write(FILE *to, quern_device *device, const char *folder, bool as_json,
                               quern_status *usable);
/* One checkpoint: counters, configuration, tensors, digest. */
quern_status checkpoint_write(FILE *to, quern_device *device, const char *path, bool as_json);

#endif
