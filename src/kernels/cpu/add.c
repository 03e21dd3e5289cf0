/* add - y = a + b;  ga = gy, gb = gy.
 * Shapes broadcast as in NumPy. Cost, order of sums: binary.h. */
#include "binary.h"

#define VALUE(a, b) ((a) + (b))
#define GRADIENT_A(g, a, b, y) (g)
#define GRADIENT_B(g, a, b, y) (g)
#define REAL_FILE "binary_rows.h"
#include "each_real.h"

static const binary_op op = BINARY_OP_PASSING(true, true);

static quern_status forward(const quern_kernel_args *args) {
    binary_forward(args, &op);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    binary_backward(args, &op);
    return QUERN_OK;
}

const quern_kernel quern_cpu_add = {.plan = binary_plan, .forward = forward, .backward = backward};
