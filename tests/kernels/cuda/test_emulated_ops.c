/* test_emulated_ops.c - every hand-written CUDA kernel, run on the emulated device, in three orders
 * of blocks and threads: what device_check.h says. */
#include "emulation_control.h"
#include "kernels/device_check.h"
#include "kernels/op_check.h"
#include "kernels/tolerances.h"

static op_session session;

static quern_status run_emulated(op_world *w, quern_kernel_function function,
                                 const quern_kernel_args *args) {
    const quern_status status = function(args);
    const quern_status found = emulation_stream_wait(w->session->stream);
    return status != QUERN_OK ? status : found;
}

bool device_begin(quern_op_id op) {
    if (cuda_kernels[op] == NULL || cuda_kernels[op]->forward == NULL) {
        quern_test_skip("not a hand-written kernel", __FILE__, __LINE__);
        return false;
    }
    session = (op_session){
        .stream = emulation_stream_create(), .kernels = cuda_kernels, .run = run_emulated};
    return true;
}

void device_end(void) { emulation_stream_destroy(session.stream); }

void device_session(op_session *out) { *out = session; }

bool device_order(device_order_kind order) {
    emulation_set_order((emulation_order)order);
    return true;
}

/* Two orders under one name would compare a kernel with itself. */
TEST_CASE(EmulatedDevice, takes_each_order_that_is_asked_for) {
    static const struct {
        device_order_kind asked;
        emulation_order taken;
    } orders[] = {{DEVICE_ORDER_REVERSE, EMULATION_REVERSE},
                  {DEVICE_ORDER_SEEDED, EMULATION_SEEDED},
                  {DEVICE_ORDER_FORWARD, EMULATION_FORWARD}};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        CHECK(device_order(orders[i].asked));
        CHECK(emulation_order_now() == orders[i].taken);
    }
}

#define OP_ALIAS(op)
#define OP_CASES(op, forward, backward)                                                            \
    extern void op_cases_##op(void);                                                               \
    TEST_CASE(EmulatedOp, op) { op_cases_run(QUERN_OP_ID_##op, forward, backward, op_cases_##op); }
#include "kernels/op_cases.def"
