/* library_device.h - the device that the kernels which call libraries see in their tests: one whose
 * memory is the host's and whose work is done when it is issued. Beside the emulation of the
 * hand-written kernels and the doubles of the libraries it makes the ops of the libraries whole. */
#ifndef QUERN_TESTS_KERNELS_CUDA_LIBRARY_DEVICE_H
#define QUERN_TESTS_KERNELS_CUDA_LIBRARY_DEVICE_H

#include "kernels/cuda/library/libraries.h"

typedef struct library_device_desc {
    const quern_host *host; /* NULL: the default */
    bool allow_tf32, tune;
    int64_t memory_bytes;
    backend_record *record;    /* NULL: none is in use */
    size_t allocation_bytes;   /* the most that one allocation may have; 0: any */
    int64_t (*clock_ns)(void); /* the device's clock; NULL: it stands */
} library_device_desc;

/* Starts over; drops what the device kept. */
void library_device_begin(const library_device_desc *desc);
/* As closing the device does. */
void library_device_end(void);

/* The driver's version from now on; 13000 at first. */
void library_device_driver(int version);

/* CUDA refuses all from now on, as behind an illegal address. */
void library_device_lose(void);

/* The n-th cudaEventRecord from now on is refused, from 1. How often the stream's failure has been
 * taken, since the beginning, while events that were recorded had not been waited for. */
void library_device_fail_record(int64_t n);
int64_t library_device_taken_early(void);

/* cudaMalloc that have not been freed. */
int64_t library_device_live(void);

#endif
