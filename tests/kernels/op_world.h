/* op_world.h - one case of an op in one real type on one device: buffers, views, one kernel call at
 * a time. Every buffer lies between guard bands; what a kernel must write starts as all ones, which
 * is NaN in F32 and F64 and -1 in I32. */
#ifndef QUERN_TESTS_KERNELS_OP_WORLD_H
#define QUERN_TESTS_KERNELS_OP_WORLD_H

#include "host/graph/graph.h"
#include "op_case.h"

struct op_world;
struct op_buffer;

typedef struct op_session { /* kernels and a stream that they run on */
    quern_host host;
    backend_device *device; /* NULL: the kernels are not the CPU backend's */
    quern_stream *stream;
    const quern_kernel *const *kernels;
    quern_status (*run)(struct op_world *w, quern_kernel_function function,
                        const quern_kernel_args *args); /* to its end */
    /* Releases b->device. NULL: the kernels work on host memory. */
    void (*release)(const struct op_session *s, struct op_buffer *b);
    uint32_t wide;  /* bit i: gradient i is F32 beside 16 bits, where the op's row allows it */
    bool unaligned; /* inputs, outputs and gradients start one element behind an alignment of 64 */
} op_session;
/* The CPU backend's. */
quern_status session_open(op_session *s, int32_t thread_count);
void session_close(op_session *s);

typedef struct op_buffer {
    unsigned char *base; /* guard, shift, data, guard */
    size_t bytes, shift;
    unsigned char *device; /* `run`'s copy of the same bytes in device memory; NULL: none */
} op_buffer;

enum { OP_BUFFERS = 2 * (QUERN_INPUT_MAX + QUERN_OUTPUT_MAX) + 3 };

typedef struct op_world {
    const op_case *c;
    const quern_op *op;
    const quern_kernel *kernel;
    const op_session *session;
    op_buffer buffers[OP_BUFFERS];
    int32_t buffer_count;
    double *values[QUERN_INPUT_MAX];   /* what load writes to in[] */
    double *weights[QUERN_OUTPUT_MAX]; /* r of loss = sum r y: what grad_out[] holds */
    quern_view in[QUERN_INPUT_MAX], out[QUERN_OUTPUT_MAX];
    quern_view grad_out[QUERN_OUTPUT_MAX], grad_in[QUERN_INPUT_MAX]; /* data NULL: none */
    bool accumulate[QUERN_INPUT_MAX];
    op_buffer *saved, *scratch;
    quern_run run;
    quern_kernel_plan plan;
    quern_kernel_args args;
    int32_t input_count, output_count;
    bool inplace; /* out[0] on in[0], grad_in[0] on grad_out[0] or in[0], where the row allows it */
} op_world;

/* Plans the kernel. Returns what plan() returned; destroy afterwards in any case. */
quern_status op_world_create(op_world *w, quern_op_id op, const op_case *c, quern_dtype real,
                             const op_session *session);
void op_world_destroy(op_world *w);

/* Writes the inputs, poisons outputs, saved and scratch, runs. */
quern_status op_world_forward(op_world *w);
/* After forward. `wanted`: a bit an input. Gradients start poisoned, or are kept to be added to. */
quern_status op_world_backward(op_world *w, uint32_t wanted, bool accumulate);

/* Whether input i can have a gradient here. */
bool world_differentiable(const op_world *w, int32_t i);
bool world_guards_hold(const op_world *w);

/* For a `run` that copies whole buffers, guards and all: how large one is, where its data begins;
 * and whether AddressSanitizer takes a look at a guard for a fault, as it does between calls. */
size_t buffer_total(const op_buffer *b);
void *buffer_data(const op_buffer *b);
void world_guard(const op_world *w, bool guarded);

void view_read(const quern_view *view, double *to);
void view_write(const quern_view *view, const double *from);

#endif
