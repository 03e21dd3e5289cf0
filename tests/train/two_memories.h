/* two_memories.h - a CPU device that passes for one with a memory of its own: its streams run side
 * by side as always, but batches come to it by a copy stream, and sets become resident. Every call
 * of the backend that can fail does so on demand, and what is allocated is counted. */
#ifndef QUERN_TESTS_TRAIN_TWO_MEMORIES_H
#define QUERN_TESTS_TRAIN_TWO_MEMORIES_H

#include <quern/quern.h>

#include <stdbool.h>
#include <stdint.h>

typedef enum memory_call {
    MEMORY_ALLOCATE,
    MEMORY_ALLOCATE_PINNED,
    MEMORY_STREAM_CREATE,
    MEMORY_EVENT_CREATE,
    MEMORY_EVENT_RECORD,
    MEMORY_WAIT_EVENT,
    MEMORY_CALL,
    MEMORY_COPY,
    MEMORY_FILL,
    MEMORY_CAPTURE,
    MEMORY_CALL_COUNT
} memory_call;

typedef struct two_memories {
    int64_t count[MEMORY_CALL_COUNT];   /* calls so far */
    int64_t fail_at[MEMORY_CALL_COUNT]; /* the n-th fails, from 1; 0: none */
    bool for_ever;                      /* and all behind it */
    int64_t free_bytes;                 /* of device memory, as it says; 0: the host's */
    int64_t live_bytes;                 /* of device memory */
    int64_t copied_beside;              /* bytes copied by a stream that is not the device's own */
} two_memories;
extern two_memories memories;

/* From now on the device is one; to be put back before it is destroyed. */
void two_memories_begin(quern_device *device);
void two_memories_end(quern_device *device);

#endif
