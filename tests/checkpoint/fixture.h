/* fixture.h - small checkpoints whose every byte follows from a serial number, so that a reader can
 * tell which of several saves it found, and that nothing of it is from another. */
#ifndef QUERN_TESTS_CHECKPOINT_FIXTURE_H
#define QUERN_TESTS_CHECKPOINT_FIXTURE_H

#include "host/train/checkpoint/checkpoint.h"
#include "host/train/checkpoint/store.h"

#define FIXTURE_DIRECTORY "/run/checkpoints"

typedef struct fixture {
    checkpoint_content content;
    quern_safetensors_entry model[2], state[4];
    checkpoint_callback callbacks[2];
    float weight[6];
    uint8_t table[5];
    double moment;
    int64_t window[2];
    int64_t serial;
} fixture;

/* Points into *f. */
const checkpoint_content *fixture_content(fixture *f, int64_t step, int64_t serial);

/* The serial number, when all of the checkpoint is that of fixture_content; else -1. */
int64_t fixture_serial(const quern_checkpoint *checkpoint);

/* keep_last 2, nothing else. */
quern_status fixture_store(checkpoint_store **out, const quern_host *host, const char *directory);

/* Writes, retires when that succeeded. */
quern_status fixture_save(checkpoint_store *store, int64_t step, int64_t serial);

/* The serial of the latest one, 0 when there is none, -1 when it is mixed, -2 when there are only
 * damaged ones or reading failed. *damaged (may be NULL) counts those that were passed over. */
int64_t fixture_latest(const quern_host *host, const char *directory, int32_t *damaged);

/* How many of all those in the directory are damaged; -1 when they cannot be listed. */
int32_t fixture_damaged(const quern_host *host, const char *directory);

/* Entries of the directory that are neither whole nor foreign. */
int32_t fixture_leftovers(const quern_host *host, const char *directory);

#endif
