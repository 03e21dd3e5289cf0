/* device_check.h - the kernels of one device against the CPU's in F64 on the same inputs, over the
 * cases of op_case.h: forward, backward, accumulating, in place, each gradient alone, run again;
 * in four real types; aligned and not; in several orders of blocks and threads, where the device
 * lets them be chosen, the same bits in each: then each op has a case that is compared so in each
 * type, aligned and not, and with F32 gradients beside 16 bits where its row allows them; images
 * row-major and, where the op's row allows it, channels last. */
#ifndef QUERN_TESTS_KERNELS_DEVICE_CHECK_H
#define QUERN_TESTS_KERNELS_DEVICE_CHECK_H

#include "op_world.h"

/* What an executable that links device_check.c defines: the device. */

/* The test of an op begins. False: it has been left out, and nothing needs to end. */
bool device_begin(quern_op_id op);
void device_end(void);
/* Where to run, from device_begin to device_end. */
void device_session(op_session *out);

typedef enum device_order_kind {
    DEVICE_ORDER_FORWARD,
    DEVICE_ORDER_REVERSE,
    DEVICE_ORDER_SEEDED
} device_order_kind;
/* False: the device has its own, whatever is asked for. */
bool device_order(device_order_kind order);

#endif
