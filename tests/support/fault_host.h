/* fault_host.h - a host whose n-th operation of a kind fails, and that counts what is alive.
 *
 *     fault_host faults;
 *     fault_host_begin(&faults, NULL);
 *     faults.fault[FAULT_WRITE] = (fault){.at = 2, .error = ENOSPC, .for_ever = true};
 *     REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.host = faults.host}));
 *     …
 *     CHECK(fault_host_live(&faults) == 0);
 *
 * The usual loop over n:
 *
 *     for (int64_t n = 1;; n++) {
 *         fault_host_begin(&faults, NULL);
 *         faults.fault[FAULT_ALLOCATE] = (fault){.at = n, .for_ever = for_ever};
 *         const quern_status status = build_run_and_destroy(&faults.host);
 *         REQUIRE(fault_host_live(&faults) == 0);
 *         if (!fault_host_fired(&faults, FAULT_ALLOCATE)) break;      (the last one: must be OK)
 *         CHECK_STATUS(status, QUERN_HOST_MEMORY);
 *     }
 *
 * Plans are written before the operations start; counting is safe from any thread. Allocations
 * are filled with 0xFF (NaN in every float type), so that reading memory nobody cleared shows;
 * releasing with a byte count other than the one asked for is recorded in bad_releases. */
#ifndef QUERN_TESTS_SUPPORT_FAULT_HOST_H
#define QUERN_TESTS_SUPPORT_FAULT_HOST_H

#include <quern/host.h>

#include <stdatomic.h>

typedef enum fault_kind {
    FAULT_ALLOCATE,
    FAULT_OPEN,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_TRUNCATE,
    FAULT_SYNC,
    FAULT_CLOSE, /* the file is closed all the same */
    FAULT_INFO,
    FAULT_RENAME,
    FAULT_UNLINK,
    FAULT_MAKE_DIRECTORY,
    FAULT_REMOVE_DIRECTORY,
    FAULT_LIST,
    FAULT_KIND_COUNT,
} fault_kind;

typedef struct fault {
    int64_t at;    /* the n-th operation of this kind fails, from 1; 0: none */
    int error;     /* errno of a file operation; default EIO */
    bool for_ever; /* and all after it */
} fault;

typedef struct fault_host {
    quern_host host; /* give this to the device: its self pointers lead back here */
    fault fault[FAULT_KIND_COUNT];
    size_t read_at_most, write_at_most;          /* short transfers; 0: no bound */
    atomic_int_fast64_t count[FAULT_KIND_COUNT]; /* operations so far, the failed ones included */
    atomic_int_fast64_t fired[FAULT_KIND_COUNT]; /* of which failed */
    atomic_int_fast64_t live_allocations, live_bytes, open_files, bad_releases;
    quern_host inner;
} fault_host;

/* Starts over on top of `inner`; NULL: quern_host_default(). Every plan is empty. */
void fault_host_begin(fault_host *faults, const quern_host *inner);

/* Allocations and files that are still alive, plus bad releases: 0 when nothing leaked. */
int64_t fault_host_live(fault_host *faults);

bool fault_host_fired(fault_host *faults, fault_kind kind);

/* Whether a sentence tells that an operation of this kind failed: by the word for it. */
bool fault_is_named(fault_kind kind, const char *sentence);

#endif
