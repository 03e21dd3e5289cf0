/* locked_disk.h - a power_disk that several threads may use: a trainer's and its writer's. */
#ifndef QUERN_TESTS_FUZZ_LOCKED_DISK_H
#define QUERN_TESTS_FUZZ_LOCKED_DISK_H

#include "power_disk.h"

#include <pthread.h>

typedef struct locked_disk {
    power_disk disk;
    quern_host inner;
    pthread_mutex_t lock;
} locked_disk;

void locked_disk_begin(locked_disk *d);
void locked_disk_end(locked_disk *d);
/* The default host with this disk as its files. */
quern_host locked_disk_host(locked_disk *d);

#endif
