/* fake_library.h - what the doubles of NVIDIA's libraries share: calls that are counted and that
 * fail by plan, objects that are counted while they live, and numbers of any real type. */
#ifndef QUERN_TESTS_KERNELS_CUDA_FAKE_LIBRARY_H
#define QUERN_TESTS_KERNELS_CUDA_FAKE_LIBRARY_H

#include <quern/kernel.h>

typedef struct fake_library {
    int64_t fail_at;    /* the n-th call fails, from 1; 0: none */
    bool for_ever;      /* and all after it */
    bool out_of_memory; /* what it fails with; else as on a lost device */
    bool teardown; /* the failures planned are those of teardown, which has a count of its own */
    void (*when_lost)(void); /* a call has failed as on a lost device; NULL: nothing more */
    bool forbidden;          /* a further call is a misuse; teardown is none */
    int64_t calls, teardowns, fired;
    int64_t live;     /* objects */
    char misuse[256]; /* the first thing that no caller may do; "": none */
} fake_library;

/* Counts a call; true: it is to fail. */
bool fake_library_enter(fake_library *library);
/* Of a call that fails by plan: whether it is with the code of a lost device. */
bool fake_library_is_lost(const fake_library *library);
/* Of a call that only tears down: true: it does what it is for, and is to say that it failed. */
bool fake_library_leave(fake_library *library);
void fake_library_misuse(fake_library *library, const char *format, ...) QUERN_PRINTF(2, 3);

double fake_number_read(const void *data, quern_dtype dtype, int64_t at);
void fake_number_write(void *data, quern_dtype dtype, int64_t at, double value);

#endif
