/* signal_disk.h - the file operations of a save, at the n-th of which two SIGINTs come, and what is
 * still written behind them. Between arming and the end of fit one thread at a time works with the
 * disk, the writer's. */
#ifndef QUERN_TESTS_TRAIN_SIGNAL_DISK_H
#define QUERN_TESTS_TRAIN_SIGNAL_DISK_H

#include <quern/host.h>

#include <stdatomic.h>

typedef struct signal_disk {
    quern_host host; /* give this to the device */
    int64_t at;      /* from 1, counted once armed */
    atomic_bool armed;
    int64_t count;
    bool raised;
    bool in_partial;  /* raised inside the unfinished directory, its naming excluded */
    bool published;   /* it got its name */
    bool at_retiring; /* raised when an older one was being removed already */
    int writes, syncs, retirements; /* behind the signals */
    bool working_in_partial;        /* the file that is open */
    quern_files inner;
} signal_disk;

void signal_disk_begin(signal_disk *disk, int64_t at);

#endif
