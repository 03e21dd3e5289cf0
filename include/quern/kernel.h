/* kernel.h - the contract between a program and the arithmetic.
 *
 * A kernel works on views and knows nothing of graphs, networks or training. The host has already
 * checked shapes, dtypes and pointers. A kernel is:
 *   plan      once per step of a program, with views whose data is NULL: declares scratch and
 *             saved bytes, may build a library plan for the device that `stream` belongs to, on
 *             which it may not leave work behind. May be NULL when it needs nothing.
 *   forward   overwrites its outputs.
 *   backward  writes each wanted input gradient, or adds to it where `accumulate` is set; a view
 *             with data == NULL is not wanted. NULL: the op has no gradient on this backend.
 *   drop      frees what plan built. May be NULL.
 * Forward and backward never allocate, never synchronise, and work on the stream they are given.
 * Every view is row-major without gaps unless the op's row says STRIDED. Where it says
 * CHANNELS_LAST or ELEMENTWISE, the images that it speaks of, and their gradients, may lie as
 * (N, H, W, C) would: their strides say so. An output may share its memory with an input only where
 * the op's row says INPLACE, a gradient with what backward reads or writes only where it says
 * GRAD_INPLACE, GRAD_ON_INPUT or GRAD_ALIKE. One exception: in the following microbatches of a
 * window a buffer that a node renews (batch_norm) and its next value are one memory.
 *
 * The application adds an op of its own by filling a quern_op (below) and calling quern_custom().
 */
#ifndef QUERN_KERNEL_H
#define QUERN_KERNEL_H

#include <quern/status.h>

QUERN_BEGIN_C

/* One table: name, bytes of one element, name in safetensors files. */
/* clang-format off */
#define QUERN_DTYPE_LIST(X)      \
    X(F32,  4, "F32")            \
    X(F64,  8, "F64")            \
    X(BF16, 2, "BF16")           \
    X(F16,  2, "F16")            \
    X(I32,  4, "I32")            \
    X(I64,  8, "I64")            \
    X(U8,   1, "U8")
/* clang-format on */
#define X(name, bytes, text) QUERN_##name,
typedef enum quern_dtype { QUERN_DTYPE_LIST(X) QUERN_DTYPE_COUNT } quern_dtype;
#undef X
QUERN_API size_t quern_dtype_bytes(quern_dtype dtype);
QUERN_API const char *quern_dtype_name(quern_dtype dtype); /* "F32" */

#define QUERN_RANK_MAX 8
#define QUERN_INPUT_MAX 16
#define QUERN_OUTPUT_MAX 4

/* A dimension of a tensor in a graph is k, or k times the batch size, written k * QUERN_B. */
#define QUERN_B INT64_C(-1)

/* Row-major, strides in elements. Rank 0 is a scalar with count 1; any dim may be 0. */
typedef struct quern_view {
    void *data;
    int64_t dim[QUERN_RANK_MAX];
    int64_t stride[QUERN_RANK_MAX];
    int64_t count; /* product of dims */
    int32_t rank;
    quern_dtype dtype;
} quern_view;

/* The part of a step that changes from attempt to attempt, in device memory: kernels read it
 * through a pointer, so that a captured step can be replayed. */
typedef struct quern_run {
    uint64_t seed;
    int64_t attempt;    /* windows of data consumed so far */
    int64_t microbatch; /* within the window */
} quern_run;

typedef struct quern_stream quern_stream;

/* Where scratch begins in device memory, in bytes: cuBLASLt and cuDNN want it so of theirs. On the
 * CPU it begins on 64 bytes, as all of the host's memory. */
#define QUERN_SCRATCH_ALIGNMENT 256

typedef struct quern_kernel_args {
    const void *attributes; /* the op's resolved desc; NULL where it has none */
    int32_t input_count, output_count;
    const quern_view *in;       /* [input_count]; data == NULL and rank -1: an absent optional */
    const quern_view *out;      /* [output_count]; in backward, data is NULL unless read */
    const quern_view *grad_out; /* backward: [output_count]; data == NULL: zero */
    const quern_view *grad_in;  /* backward: [input_count]; data == NULL: not wanted */
    const bool *accumulate;     /* backward: [input_count]; true: add to grad_in[i] */
    void *saved;                /* written by forward, read by backward; 64-byte aligned; NULL
                                 * where plan asked for none */
    void *scratch;              /* garbage at entry; aligned to QUERN_SCRATCH_ALIGNMENT */
    void *plan;                 /* what plan() built */
    const quern_run *run;       /* device memory */
    uint32_t purpose;           /* names this node's random stream; < 2^24 */
    bool training;
    bool deterministic;
    bool tf32; /* products of F32 may round what they read to 10 bits of mantissa */
    quern_stream *stream;
} quern_kernel_args;

/* plan() reads `args` (data NULL) and what follows up to `saved_bytes`, and writes the rest. */
typedef struct quern_kernel_plan {
    const quern_kernel_args *args;
    bool backward;    /* there will be a backward pass */
    uint32_t wanted;  /* bit i: it may be asked for the gradient of in[i] */
    uint32_t wide;    /* bit i: which will be F32, though in[i] is of 16 bits */
    size_t alignment; /* every view's data will begin on a multiple of so many bytes: 16, or less
                         where a view begins within another's memory; 0: not known */
    bool bytes_only;  /* it will not run: its bytes are asked for, nothing is worth measuring */
    size_t saved_bytes;
    size_t forward_scratch_bytes, backward_scratch_bytes;
    void *plan;
} quern_kernel_plan;

typedef quern_status (*quern_kernel_function)(const quern_kernel_args *args);

typedef struct quern_kernel {
    quern_status (*plan)(quern_kernel_plan *plan);
    quern_kernel_function forward, backward;
    void (*drop)(void *plan);
} quern_kernel;

typedef enum quern_backend_kind {
    QUERN_BACKEND_CPU,
    QUERN_BACKEND_CUDA,
    QUERN_BACKEND_COUNT,
} quern_backend_kind;

/* A tensor's type in a graph, batch still symbolic. */
typedef struct quern_shape {
    quern_dtype dtype;
    int32_t rank; /* -1: an absent optional input */
    int64_t dim[QUERN_RANK_MAX];
} quern_shape;

/* A shape rule checks inputs and attributes, fills the attributes' defaults in place and writes
 * the outputs' shapes. It fails through quern_fail with a sentence that names the shapes; the
 * caller puts the op's name in front. */
typedef struct quern_shape_args {
    quern_dtype dtype; /* the graph's */
    void *attributes;
    int32_t input_count;
    const quern_shape *in;
    quern_shape *out;
} quern_shape_args;
typedef quern_status (*quern_shape_rule)(const quern_shape_args *args);

/* Bits of quern_op.backward_reads: which values must live until backward. */
#define QUERN_READS_IN(i) (UINT32_C(1) << (i))
#define QUERN_READS_OUT(i) (UINT32_C(1) << (QUERN_INPUT_MAX + (i)))

enum {                              /* quern_op.flags */
       QUERN_OP_INPLACE = 1,        /* out[0] may overwrite in[0]: same shape and dtype */
       QUERN_OP_GRAD_INPLACE = 2,   /* grad_in[0] may overwrite grad_out[0], if not accumulating */
       QUERN_OP_STRIDED = 4,        /* takes inputs (and writes their gradients) with any strides */
       QUERN_OP_ALIAS = 8,          /* out[0] is a view of in[0]: no kernel runs */
       QUERN_OP_NO_GRADIENT = 16,   /* not differentiable: asking for a gradient through it fails */
       QUERN_OP_RANDOM = 32,        /* reads run and purpose */
       QUERN_OP_FUSED = 64,         /* made by the fusion pass only: no builder */
       QUERN_OP_INDEX_INPUT1 = 128, /* in[1] is an index or target: never has a gradient */
       QUERN_OP_HALF = 256,         /* BF16, F16: F32 inputs and outputs become 16 bits */
       QUERN_OP_FOLLOWS = 512,      /* the same when its values are 16 bits and none of them F32 */
       QUERN_OP_FIRST = 1024,       /* and then only in[0] and out[0]; the others stay F32 */
       QUERN_OP_WIDE_OUT = 2048,    /* and then only inputs; the outputs stay F32 */
       QUERN_OP_GRAD_ON_INPUT = 4096, /* grad_in[0] may overwrite in[0], if not accumulating */
       QUERN_OP_GRAD_ALIKE = 8192,    /* grad_in[1] may be grad_in[0], if neither accumulates */
       QUERN_OP_GRAD_WIDE = 16384,    /* the gradients of 16-bit inputs may be F32 (plan's wide) */
       /* in[0] and out[0], where they are images (N, C, H, W), may have their channels innermost */
       QUERN_OP_CHANNELS_LAST = 32768,
       /* the same of all inputs and outputs, where these have one shape: where they lie is all one
        * to it */
       QUERN_OP_ELEMENTWISE = 65536
};

typedef struct quern_op {
    const char *name;
    const char *formula;
    size_t attribute_bytes;
    int32_t input_count, optional_count; /* inputs in all; how many of the last may be absent */
    int32_t output_count;
    uint32_t backward_reads, flags;
    quern_shape_rule shape;
    const quern_kernel *kernels[QUERN_BACKEND_COUNT]; /* NULL here for built-in ops: the backend's
                                                         own table has them */
} quern_op;

/* CPU kernels: runs body(context, chunk) for chunk = 0 … chunk_count-1 on the stream's threads and
 * returns when all are done. Chunks must be a function of the shapes alone, never of the thread
 * count; each writes its own outputs. */
QUERN_API void quern_cpu_parallel(quern_stream *stream, int64_t chunk_count,
                                  void (*body)(void *context, int64_t chunk), void *context);

/* CUDA kernels: the cudaStream_t (a CUstream) on which a kernel function launches all its work; the
 * CPU has none, NULL. While the function runs, the calling thread's current device is the
 * stream's, in its primary context, and the stream may be capturing: only what a capture may hold
 * is issued, nothing waits, and nothing goes to another stream, the legacy default stream included
 * (ours is non-blocking: that neither waits for it nor is waited for). A launch that fails is
 * returned as DEVICE_LOST or UNSUPPORTED, through quern_fail. */
QUERN_API void *quern_stream_native(const quern_stream *stream);

QUERN_END_C
#endif
