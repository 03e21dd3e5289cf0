/* fake_cudnn.h - cuDNN without a GPU: another definition of cudnn_open. It keeps what is written
 * into descriptors, checks a convolution's sizes as the library does, and computes on host memory
 * what the operations of a planned graph say, by the tensors' own dims and strides.
 *
 * Four engines are proposed, in this order, so that the caller has to choose:
 *   0  uses tensor cores      1  gives other bits on another run
 *   2  reduces in half        3  has no such note
 * Of its settings 1 takes the most scratch, 0 the least.
 * A plan's text is the whole graph in hex: it reads back in another process. */
#ifndef QUERN_TESTS_KERNELS_CUDA_FAKE_CUDNN_H
#define QUERN_TESTS_KERNELS_CUDA_FAKE_CUDNN_H

#include "fake_library.h"
#include "kernels/cuda/library/cudnn_table.h"

enum { FAKE_CUDNN_ENGINES = 4 };

typedef struct fake_cudnn_state {
    fake_library library;
    uint32_t refused;      /* bit i: plans of engine i cannot be finalised */
    bool silent;           /* the heuristics propose nothing */
    bool absent;           /* the library cannot be loaded */
    int32_t knobs;         /* settings in which each engine is proposed; 0: one */
    uint32_t broken;       /* bit i: an execution with setting i fails */
    int32_t unread;        /* an attribute that cannot be read; 0: none */
    cudnnStatus_t refusal; /* what these fail with; 0: not supported */
    cudnnStatus_t created; /* what cudnnCreate gives */
    int64_t planned, loaded, executed;
    int64_t taken_ns;               /* by all executions: setting 2 is the fastest, 1 the next */
    int32_t last_engine, last_knob; /* of the last execution */
    int64_t channels_last;          /* executions of which both images lie so */
    size_t version;
} fake_cudnn_state;
extern fake_cudnn_state fake_cudnn;

void fake_cudnn_begin(void); /* nothing planned, nothing alive */

/* One graph as it is computed. */
typedef struct fake_cudnn_tensor {
    int64_t id, rank, dim[4], stride[4];
    int32_t type, is_virtual;
} fake_cudnn_tensor;
typedef struct fake_cudnn_operation {
    int32_t kind; /* cudnnBackendDescriptorType_t */
    int32_t unused;
    fake_cudnn_tensor x, w, y;
    int64_t stride[2], before[2], after[2], dilation[2];
    double alpha, beta;
} fake_cudnn_operation;
typedef struct fake_cudnn_graph {
    int32_t engine, count, knob, unused;
    fake_cudnn_operation operations[2];
} fake_cudnn_graph;

/* An execution, with all that its descriptors said when it was asked for. */
enum { FAKE_CUDNN_POINTERS = 8 };
typedef struct fake_cudnn_run {
    fake_cudnn_graph graph;
    int64_t count, ids[FAKE_CUDNN_POINTERS];
    void *pointers[FAKE_CUDNN_POINTERS], *scratch;
    size_t scratch_bytes;
} fake_cudnn_run;
/* What cudnnBackendExecute checks; what it then does. */
cudnnStatus_t fake_cudnn_describe(cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack,
                                  fake_cudnn_run *out);
cudnnStatus_t fake_cudnn_perform(const fake_cudnn_run *run);

/* False: a size does not fit. */
bool fake_cudnn_check(const fake_cudnn_operation *operation);
/* False: a pointer is missing. */
bool fake_cudnn_compute(const fake_cudnn_graph *graph, const int64_t *ids, void *const *pointers,
                        int64_t count);

#endif
