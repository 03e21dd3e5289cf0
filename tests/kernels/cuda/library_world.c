#include "library_world.h"

#include "emulation_control.h"
#include "kernels/tolerances.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const op_case library_linear = {
    .label = "linear", .in = {{DIMS(5, 3)}, {DIMS(4, 3)}, {DIMS(4)}}, .out = {{DIMS(5, 4)}}};
const op_case library_linear_relu = {
    .label = "linear_relu",
    .in = {{DIMS(5, 3), .domain = OP_AWAY_FROM_ZERO}, {DIMS(4, 3)}, {DIMS(4)}},
    .out = {{DIMS(5, 4)}}};
const op_case library_linear_gelu = {.label = "linear_gelu",
                                     .attributes = &(const quern_gelu_desc){.tanh = true},
                                     .in = {{DIMS(5, 3)}, {DIMS(8, 3)}, {DIMS(8)}},
                                     .out = {{DIMS(5, 8)}}};
#define PAIR                                                                                       \
    .in = {{DIMS(5, 3)}, {DIMS(8, 3)}, {DIMS(8)}, {DIMS(4, 8)}, {DIMS(4)}}, .out = {{DIMS(5, 4)}}
const op_case library_pair_relu = {.label = "linear_relu_linear", PAIR};
const op_case library_pair_gelu = {
    .label = "linear_gelu_linear", .attributes = &(const quern_gelu_desc){.tanh = true}, PAIR};
const op_case library_matmul = {.label = "matmul",
                                .attributes = &(const quern_matmul_desc){false, true},
                                .in = {{DIMS(2, 3, 4)}, {DIMS(2, 5, 4)}},
                                .out = {{DIMS(2, 3, 5)}}};
const op_case library_conv2d = {.label = "conv2d",
                                .attributes = &(const quern_conv2d_desc){{2, 1}, {1, 2}, {1, 2}, 2},
                                .in = {{DIMS(2, 4, 7, 5)}, {DIMS(6, 2, 3, 2)}, {DIMS(6)}},
                                .out = {{DIMS(2, 6, 4, 7)}}};

static quern_status run_emulated(op_world *w, quern_kernel_function function,
                                 const quern_kernel_args *args) {
    (void)w;
    return function(args);
}

static quern_status run_both(op_world *w) {
    quern_status status = op_world_forward(w);
    if (status == QUERN_OK && w->plan.backward) status = op_world_backward(w, UINT32_MAX, false);
    return status;
}

bool library_unaligned;

void library_world_begin(library_world *w, quern_op_id op, const op_case *c, quern_dtype real) {
    *w = (library_world){.session = {.stream = emulation_stream_create(),
                                     .kernels = cuda_kernels,
                                     .run = run_emulated,
                                     .unaligned = library_unaligned}};
    w->status = op_world_create(&w->world, op, c, real, &w->session);
    if (w->status == QUERN_OK) w->status = run_both(&w->world);
}

void library_world_end(library_world *w) {
    op_world_destroy(&w->world);
    emulation_stream_destroy(w->session.stream);
}

static bool is_near(const quern_view *a, const quern_view *b) {
    double *left = calloc((size_t)a->count + 1, sizeof *left);
    double *right = calloc((size_t)b->count + 1, sizeof *right);
    bool near = left != NULL && right != NULL;
    if (near) {
        view_read(a, left);
        view_read(b, right);
    }
    for (int64_t i = 0; near && i < a->count; i++)
        near = fabs(left[i] - right[i]) <= TOL_PRODUCT_F32 * fmax(1, fabs(right[i]));
    free(left);
    free(right);
    return near;
}

bool library_world_is_right(const library_world *w) {
    op_session cpu = {0};
    op_world reference = {0};
    bool right = session_open(&cpu, 1) == QUERN_OK &&
                 op_world_create(&reference, (quern_op_id)(w->world.op - graph_op(0)), w->world.c,
                                 QUERN_F64, &cpu) == QUERN_OK;
    for (int32_t i = 0; right && i < reference.input_count; i++)
        if (reference.in[i].data != NULL)
            memcpy(reference.values[i], w->world.values[i],
                   (size_t)reference.in[i].count * sizeof(double));
    right = right && run_both(&reference) == QUERN_OK;
    for (int32_t i = 0; right && i < reference.output_count; i++)
        right = is_near(&w->world.out[i], &reference.out[i]);
    for (int32_t i = 0; right && i < reference.input_count; i++)
        if (reference.grad_in[i].data != NULL)
            right = is_near(&w->world.grad_in[i], &reference.grad_in[i]);
    op_world_destroy(&reference);
    if (cpu.stream != NULL) session_close(&cpu);
    return right;
}

static int64_t taken_ns(void) { return fake_cublaslt.taken_ns + fake_cudnn.taken_ns; }

void library_begin(const library_device_desc *desc) {
    fake_cublaslt_begin();
    fake_cudnn_begin();
    library_device_desc with = *desc;
    if (with.clock_ns == NULL) with.clock_ns = taken_ns;
    library_device_begin(&with);
}

void library_end(void) {
    library_device_end();
    CHECK(library_device_live() == 0);
    CHECK(fake_cublaslt.library.live == 0);
    CHECK(fake_cudnn.library.live == 0);
    CHECK_TEXT(fake_cublaslt.library.misuse, "");
    CHECK_TEXT(fake_cudnn.library.misuse, "");
}
