/* snapshot.h - the memory of a checkpoint's content, allocated once for the largest. */
#ifndef QUERN_CHECKPOINT_SNAPSHOT_H
#define QUERN_CHECKPOINT_SNAPSHOT_H

#include "writer.h"
#include "../../base/memory.h"

/* A copy of `from` with every string and list; tensors without data. */
QUERN_MUST_CHECK quern_status content_copy(checkpoint_content *out, arena *memory,
                                           const checkpoint_content *from);

/* Lists for a content of this size, tensors in `block`, callbacks' bytes in `memory`. */
QUERN_MUST_CHECK quern_status snapshot_create(checkpoint_snapshot *out, arena *memory,
                                              const checkpoint_content *largest, void *block);
/* Everything as in `largest` again. */
void snapshot_reset(checkpoint_snapshot *s, const checkpoint_content *largest);

#endif
