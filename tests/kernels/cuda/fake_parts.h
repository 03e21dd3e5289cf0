/* fake_parts.h - the fake device's own objects, shared by its files. Everything happens under one
 * lock, which fake_enter takes and fake_leave releases. */
#ifndef QUERN_TESTS_KERNELS_CUDA_FAKE_PARTS_H
#define QUERN_TESTS_KERNELS_CUDA_FAKE_PARTS_H

#include "fake_device.h"

typedef enum fake_kind {
    FAKE_BLOCK,
    FAKE_PINNED,
    FAKE_STREAM,
    FAKE_EVENT,
    FAKE_GRAPH,
    FAKE_EXECUTABLE,
} fake_kind;

typedef struct fake_object { /* the first member of each */
    fake_kind kind;
    struct fake_object *next;
} fake_object;

typedef struct fake_block { /* device or pinned memory */
    fake_object object;
    unsigned char *data;
    size_t bytes;
    void *mapping; /* device: what to unmap */
    size_t mapping_bytes;
} fake_block;

typedef enum fake_op_kind {
    FAKE_OP_COPY,
    FAKE_OP_FILL,
    FAKE_OP_LAUNCH,
    FAKE_OP_RECORD,
    FAKE_OP_WAIT,
    FAKE_OP_GRAPH,
} fake_op_kind;

typedef struct fake_op {
    fake_op_kind kind;
    int value;
    void *to;
    const void *from;
    size_t bytes;
    unsigned char *staged; /* a copy from pageable memory; owned */
    const fake_kernel *kernel;
    dim3 grid, block;
    size_t shared_bytes;
    unsigned char *arguments; /* all of them, 16-byte aligned; owned */
    struct fake_event *event;
    struct fake_stream *recorder;
    uint64_t ticket;
    struct fake_executable *executable;
} fake_op;

typedef struct fake_ops {
    fake_op *items;
    size_t count, capacity, head;
} fake_ops;

typedef struct fake_stream {
    fake_object object;
    fake_ops queue;
    struct fake_graph *capturing;
    bool capture_broken, computes;
} fake_stream;

typedef struct fake_event {
    fake_object object;
    uint64_t recorded, completed;
    fake_stream *recorder; /* of the last record */
    bool timed;
    int64_t time_ns; /* when it was last completed */
} fake_event;

typedef struct fake_graph {
    fake_object object;
    fake_ops ops;
} fake_graph;

typedef struct fake_executable {
    fake_object object;
    fake_ops ops;
} fake_executable;

/* fake_device.c: false, and the code in *out, when the call is to fail */
bool fake_enter(fake_call call, cudaError_t *out);
cudaError_t fake_leave(cudaError_t code);
void fake_misuse(const char *what);
void *fake_object_create(fake_kind kind, size_t bytes);
void fake_object_destroy(void *object);
/* NULL, and misuse noted, when the handle is not alive or another kind of thing. */
void *fake_object_find(const void *handle, fake_kind kind);
fake_object *fake_objects(void);
uint64_t fake_random(void);

/* fake_driver.c: the calling thread's, which is no call of the table */
int fake_current_device(void);

/* fake_memory.c */
void *fake_memory_allocate(size_t bytes);
void *fake_pinned_allocate(size_t bytes);
bool fake_memory_release(void *pointer, fake_kind kind);
/* The block that holds this address, of device or pinned memory; NULL: pageable. */
fake_block *fake_block_of(const void *pointer);
/* Whether [pointer, pointer + bytes) does not leave its block. */
bool fake_memory_fits(const void *pointer, size_t bytes);
void fake_memory_open(void);  /* the device works: its memory can be reached */
void fake_memory_close(void); /* and now it cannot */
size_t fake_memory_used(void);

/* fake_stream.c */
void fake_ops_add(fake_ops *ops, const fake_op *op);
void fake_ops_free(fake_ops *ops);
fake_op fake_op_copy(const fake_op *op);
void fake_stream_issue(fake_stream *stream, const fake_op *op);
void fake_stream_drain(fake_stream *stream);
void fake_event_reach(fake_event *event, fake_stream *recorder, uint64_t ticket);
void fake_drain_all(void);
void fake_advance(void); /* what the schedule runs between two calls */

#endif
