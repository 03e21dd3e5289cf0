/* program.h - a graph compiled for one batch size and one mode: a flat list of steps.
 *
 * The lowest of the three depths: no trainer. Parameters hold the values; a program borrows them
 * and its graph; several programs (batch sizes, train and eval) share one quern_parameters.
 * Compiling checks everything and plans every byte; quern_program_memory says how many before
 * anything is allocated. After create, nothing here allocates. */
#ifndef QUERN_PROGRAM_H
#define QUERN_PROGRAM_H

#include <quern/graph.h>
#include <quern/precision.h>

QUERN_BEGIN_C

/* The values of a graph's parameters and buffers on the graph's device, each kind in one flat
 * block; with `gradients`, a block of the same layout for those too. */
typedef struct quern_parameters quern_parameters;

typedef struct quern_parameters_desc {
    bool gradients;
    quern_precision precision; /* BF16, F16: with the copies that programs of it read */
    bool stochastic_rounding;  /* of the copies, by an optimizer's updates: up or down by chance,
                                  drawn from (device seed, update, index); else to nearest.
                                  INVALID where precision has no copies */
} quern_parameters_desc;

/* Allocates and initialises every value from (device seed, parameter name). The graph takes no
 * further parameters or buffers. */
QUERN_API QUERN_MUST_CHECK quern_status quern_parameters_create(quern_parameters **out,
                                                                quern_graph *graph,
                                                                const quern_parameters_desc *desc);
QUERN_API void quern_parameters_destroy(quern_parameters *parameters);

/* Whole tensors, row-major, in the tensor's own dtype; `bytes` must be exact (SHAPE). These wait
 * for the device. */
QUERN_API QUERN_MUST_CHECK quern_status quern_parameters_read(quern_parameters *parameters,
                                                              const quern_tensor *tensor, void *to,
                                                              size_t bytes);
QUERN_API QUERN_MUST_CHECK quern_status quern_parameters_write(quern_parameters *parameters,
                                                               const quern_tensor *tensor,
                                                               const void *from, size_t bytes);
QUERN_API QUERN_MUST_CHECK quern_status quern_parameters_read_gradient(quern_parameters *parameters,
                                                                       const quern_tensor *tensor,
                                                                       void *to, size_t bytes);

typedef struct quern_memory {
    size_t parameter_bytes, gradient_bytes; /* 16-bit copies included */
    size_t optimizer_bytes;  /* its state, and a trainer's counters and metric sums */
    size_t activation_bytes; /* the arena: activations, their gradients, saved, workspace */
    size_t workspace_bytes;  /* of that: the most that one kernel or library works in */
    size_t input_bytes;      /* the planned inputs; pinned staging is host memory */
    size_t staging_bytes;    /* a trainer's: the slots in which batches arrive beside a step */
    size_t data_bytes;       /* a trainer's resident sets */
    size_t peak_bytes;       /* all of them together, in device memory. CUDA's own is not in it:
                                its context, the module's code, what a recorded step takes. */
} quern_memory;

typedef struct quern_program quern_program;

typedef struct quern_program_desc {
    quern_graph *graph;           /* required */
    quern_parameters *parameters; /* required, except for quern_program_memory */
    int64_t batch_size;           /* >= 0 */
    bool training;                /* training behaviour, and backward from `loss` */
    bool no_backward;             /* of training only its behaviour; needs no loss */
    quern_tensor *loss;           /* (): required for backward */
    quern_tensor *loss_weight;    /* (); default: quern_loss_weight(loss), else the batch size */
    quern_tensor *const *outputs; /* tensors to be read after forward */
    int32_t output_count;
    bool output_gradients;     /* their gradients stay too, to be read after backward */
    bool no_fusion;            /* one step per node: the same answer, for comparison */
    quern_precision precision; /* BF16, F16: the parameters' own */
} quern_program_desc;

/* UNSUPPORTED names op and tensor when a gradient is wanted through an op that has none. */
QUERN_API QUERN_MUST_CHECK quern_status quern_program_create(quern_program **out,
                                                             const quern_program_desc *desc);
QUERN_API void quern_program_destroy(quern_program *program);

/* The exact bytes that create would use; allocates no device memory and leaves the graph open. */
QUERN_API QUERN_MUST_CHECK quern_status quern_program_memory(quern_memory *out,
                                                             const quern_program_desc *desc);

/* The device buffer of an input, row-major, to be written before forward; NULL if `tensor` is not
 * an input that this program reads. What a stream of the application writes there is complete when
 * forward is called, or quern_program_wait_event is called before it; it may begin when nothing
 * issued reads the buffer any more (quern_program_read waits). */
QUERN_API void *quern_program_input(quern_program *program, const quern_tensor *tensor);
/* On CUDA: what is issued from now on waits, on the device, for a cudaEvent_t that the application
 * has recorded behind its own work. INVALID when CUDA refuses it, and nothing is issued; any on the
 * CPU, which has none. */
QUERN_API QUERN_MUST_CHECK quern_status quern_program_wait_event(quern_program *program,
                                                                 void *event);
QUERN_API QUERN_MUST_CHECK quern_status quern_program_write(quern_program *program,
                                                            const quern_tensor *tensor,
                                                            const void *host, size_t bytes);

/* Issue the work and return; attempt names the random draws. Each backward follows a forward of its
 * own, whose values it overwrites, over the inputs as they are (else INVALID), adds to gradients
 * if `accumulate`, and divides by the loss weight of this batch. A failure while the work runs (a
 * label out of range is INPUT) comes once, from the next function on this device that waits; what
 * was issued behind it is dropped. After DEVICE_LOST nothing on this device works any more. */
QUERN_API QUERN_MUST_CHECK quern_status quern_program_forward(quern_program *program,
                                                              int64_t attempt);
QUERN_API QUERN_MUST_CHECK quern_status quern_program_backward(quern_program *program,
                                                               bool accumulate);

/* Wait, then copy an output (or, after backward, the gradient of an input that asked for one, or of
 * an output with output_gradients). */
QUERN_API QUERN_MUST_CHECK quern_status quern_program_read(quern_program *program,
                                                           const quern_tensor *tensor, void *to,
                                                           size_t bytes);
QUERN_API QUERN_MUST_CHECK quern_status quern_program_read_gradient(quern_program *program,
                                                                    const quern_tensor *tensor,
                                                                    void *to, size_t bytes);

/* Steps and memory plan as text. */
QUERN_API void quern_program_dump(const quern_program *program,
                                  void (*write)(void *self, const char *line), void *self);

QUERN_END_C
#endif
