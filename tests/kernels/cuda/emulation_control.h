/* emulation_control.h - how a test, in C, steers the emulated device. */
#ifndef QUERN_TESTS_EMULATION_CONTROL_H
#define QUERN_TESTS_EMULATION_CONTROL_H

#include "kernels/cuda/fault.h"
#include "kernels/cuda/table.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum emulation_order {
    EMULATION_FORWARD,
    EMULATION_REVERSE,
    EMULATION_SEEDED, /* a new permutation for each launch and each round of a block */
    EMULATION_ORDERS
} emulation_order;

/* Of the blocks of the launches to come, and of the threads of a block. */
void emulation_set_order(emulation_order order);
emulation_order emulation_order_now(void);
int64_t emulation_launches(void); /* so far */
/* Told of each fence behind which the host may look; NULL: nobody is. */
void emulation_watch_fences(void (*watch)(void *self), void *self);

/* A stream; its fault, as the status and sentence that waiting for it would give. */
quern_stream *emulation_stream_create(void);
void emulation_stream_destroy(quern_stream *stream);
quern_status emulation_stream_wait(quern_stream *stream);
cuda_fault *cuda_stream_fault(const quern_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
