/* store.h - writes checkpoints into one directory, durably, and removes old ones.
 *
 * One writer per directory and one thread at a time. Everything is allocated in create, for the
 * largest content; writing allocates nothing.
 *
 *     checkpoint_store_create(&store, &desc)      recovers what a crashed writer left
 *     checkpoint_store_write(store, &content)     QUERN_OK: survives a power cut from here on
 *     checkpoint_store_retire(store)              then the older ones go */
#ifndef QUERN_CHECKPOINT_STORE_H
#define QUERN_CHECKPOINT_STORE_H

#include "generation.h"
#include "manifest.h"
#include "retention.h"
#include <quern/checkpoint.h>

typedef struct checkpoint_store checkpoint_store;

typedef struct checkpoint_store_desc {
    const quern_host *host;            /* must outlive the store */
    const char *directory;             /* made when missing */
    const checkpoint_content *largest; /* names, sizes and texts; no data is read. A content that is
                                          written later has no more tensors, bytes of header or
                                          callback bytes than this one. */
    retention_policy retention;
    /* Of `directory`, read just now: is not read again. Others of those that the policy keeps are,
     * so that nothing goes on account of a damaged one. NULL: none. Used in create only. */
    const quern_checkpoint *whole;
    /* Asked between two file operations, on the thread that writes: true gives the write up. NULL:
     * it always goes on. One operation under way, an fsync for instance, cannot be cut short. */
    bool (*gives_up)(void *self);
    void *gives_up_self;
} checkpoint_store_desc;

/* INVALID, IO, INPUT, HOST_MEMORY. */
QUERN_MUST_CHECK quern_status checkpoint_store_create(checkpoint_store **out,
                                                      const checkpoint_store_desc *desc);
void checkpoint_store_destroy(checkpoint_store *store);

/* The protocol: step-<n>.partial is made; both files are written and synced, the manifest last,
 * then the directory itself; an older step-<n> is renamed aside; the new one gets its name; the
 * parent is synced. A failure (IO: path, operation, cause) leaves every older checkpoint; so does a
 * write that is given up (IO too), which is possible until the new one has its name. */
QUERN_MUST_CHECK quern_status checkpoint_store_write(checkpoint_store *store,
                                                     const checkpoint_content *content);

/* Contents written from now on may be as large as this one too. HOST_MEMORY, INVALID. */
QUERN_MUST_CHECK quern_status checkpoint_store_admit(checkpoint_store *store,
                                                     const checkpoint_content *content);

/* Removes what the policy does not keep, after a write that succeeded, and all of later steps but
 * what create found damaged. What cannot be removed is logged and stays; it is not tried again
 * before the next create, except one of a later step, behind the next write as is what a store that
 * gives up leaves. */
void checkpoint_store_retire(checkpoint_store *store);

/* Where the last write put it, or would have; "" before the first. Valid until the next. */
const char *checkpoint_store_path(const checkpoint_store *store);

#endif
