/* library_world.h - one kernel that calls libraries, from the plan to the end, on the doubles. */
#ifndef QUERN_TESTS_KERNELS_CUDA_LIBRARY_WORLD_H
#define QUERN_TESTS_KERNELS_CUDA_LIBRARY_WORLD_H

#include "fake_cublaslt.h"
#include "fake_cudnn.h"
#include "kernels/op_world.h"
#include "library_device.h"

extern const op_case library_linear, library_linear_relu, library_linear_gelu, library_pair_relu,
    library_pair_gelu, library_matmul, library_conv2d;

extern bool library_unaligned; /* of the worlds that begin from now on: no pointer is on 16 bytes */

typedef struct library_world {
    op_session session;
    op_world world;
    quern_status status; /* of plan, forward, backward: the first that failed */
} library_world;

/* Plans, runs forward and backward. End it in any case. */
void library_world_begin(library_world *w, quern_op_id op, const op_case *c, quern_dtype real);
void library_world_end(library_world *w);

/* Whether outputs and gradients are the CPU's in F64, within F32's tolerance of a product. */
bool library_world_is_right(const library_world *w);

/* Both doubles and the device start over. */
void library_begin(const library_device_desc *desc);
/* Closes the device; checks that nothing of the libraries is alive and nothing was misused. */
void library_end(void);

#endif
