/* launch.h - the one way in which a kernel of this folder is launched, and what its sources see of
 * CUDA. Each .cu file is compiled twice: by nvcc, and by the host's compiler for the tests, which
 * run it thread by thread without a GPU (QUERN_EMULATION; tests/kernels/cuda/emulation.h). So a
 * source uses nothing of CUDA but what both have: indices, barriers, shuffles, ballots, integer
 * atomics, SHARED arrays and the 16-bit reals.
 *
 * Nothing here allocates or waits. Orders of sums follow from shapes alone, never from the card, so
 * that results are the same bits on every run: only a grid whose threads loop over independent
 * items is cut to what the card holds at a time. */
#ifndef QUERN_KERNELS_CUDA_LAUNCH_H
#define QUERN_KERNELS_CUDA_LAUNCH_H

#ifdef QUERN_EMULATION
#include <emulation.h>
#else
#include "cuda.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>
/* An array of a block; the emulation notes who reads and writes it. */
#define SHARED(type, name, count) __shared__ type name[count]
#define SHARED_DYNAMIC(type, name)                                                                 \
    extern __shared__ __align__(16) unsigned char launch_dynamic[];                                \
    type *const name = (type *)launch_dynamic
#endif

#include "fault.h"
#include "kernels.h"

/* Before a loop that only reads: four of its turns have their loads under way together. Before a
 * loop over what lies in registers: an index that is not a constant would put it into memory. */
#ifdef QUERN_EMULATION
#define LAUNCH_AHEAD
#define LAUNCH_UNROLLED
#else
#define LAUNCH_AHEAD _Pragma("unroll 4")
#define LAUNCH_UNROLLED _Pragma("unroll")
#endif

constexpr int LAUNCH_THREADS = 256;
#ifdef QUERN_EMULATION
constexpr int64_t LAUNCH_BLOCKS = 3; /* so that every loop over a grid goes round */
#else
constexpr int64_t LAUNCH_BLOCKS = INT32_MAX;
/* Blocks of LAUNCH_THREADS that a multiprocessor holds: 2,048 threads since capability 8.0. */
constexpr unsigned LAUNCH_RESIDENT = 8;
#endif

struct launch_shape {
    dim3 grid, block;
    size_t shared_bytes;
    bool loops = false; /* over items with launch_stride: fewer blocks do the same */
};

/* Enough blocks for `items` threads, or for a loop with launch_stride over them. */
static inline launch_shape launch_over(int64_t items) {
    const int64_t blocks = (items + LAUNCH_THREADS - 1) / LAUNCH_THREADS;
    return {dim3((unsigned)(blocks < LAUNCH_BLOCKS ? blocks : LAUNCH_BLOCKS)), dim3(LAUNCH_THREADS),
            0, true};
}

static inline __device__ int64_t launch_index() {
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}
static inline __device__ int64_t launch_stride() { return (int64_t)gridDim.x * blockDim.x; }

/* Neither is negative. Divisions of 32 bits, where these suffice, take a fraction of the time. */
static inline __device__ int64_t launch_divide(int64_t a, int64_t b, bool narrow) {
    return narrow ? (int64_t)((uint32_t)a / (uint32_t)b) : a / b;
}

/* The value of the lane whose number differs in these bits; of any type of whole words. */
template <typename V> __device__ V launch_shuffle(V value, int bits) {
#ifdef QUERN_EMULATION
    return __shfl_xor_sync(0xFFFFFFFFu, value, bits);
#else
    static_assert(sizeof(V) % sizeof(int) == 0, "whole words");
    int words[sizeof(V) / sizeof(int)];
    memcpy(words, &value, sizeof value);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        words[i] = __shfl_xor_sync(0xFFFFFFFFu, words[i], bits);
    memcpy(&value, words, sizeof value);
    return value;
#endif
}

#ifndef QUERN_EMULATION
static inline unsigned launch_multiprocessors(const quern_stream *stream) {
    return (unsigned)cuda_device_multiprocessors(cuda_stream_device(stream));
}
#endif

template <typename P> struct launch_same { typedef P type; };

/* launch(stream, shape, kernel<T>, arguments…): an empty grid is no work. */
template <typename... P>
quern_status launch(quern_stream *stream, launch_shape shape, void (*kernel)(P...),
                    typename launch_same<P>::type... arguments) {
    if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return QUERN_OK;
#ifdef QUERN_EMULATION
    auto body = [=] { kernel(arguments...); };
    return emulation::launch(stream, shape.grid, shape.block, shape.shared_bytes,
                             emulation::call_body<decltype(body)>, &body, sizeof body);
#else
    const unsigned resident = LAUNCH_RESIDENT * launch_multiprocessors(stream);
    if (shape.loops && shape.grid.x > resident) shape.grid.x = resident;
    void *pointers[] = {(void *)&arguments...};
    return CUDA_CALL(stream, cudaLaunchKernel,
                     ((const void *)kernel, shape.grid, shape.block, pointers, shape.shared_bytes,
                      cuda_stream_handle(stream)));
#endif
}

/* Where a kernel writes what it finds wrong, and on whose behalf. */
struct launch_check {
    cuda_fault *fault;
    int32_t code;
    int64_t limit;

    /* Whether 0 <= value < limit; else it is noted. */
    __device__ bool holds(int64_t position, int64_t value) const {
        if (value >= 0 && value < limit) return true;
        if (atomicCAS(&fault->claimed, 0, 1) == 0) {
            fault->position = position;
            fault->value = value;
            fault->limit = limit;
            __threadfence_system();
            *(volatile int32_t *)&fault->code = code;
        }
        return false;
    }
};

static inline launch_check launch_check_of(const quern_kernel_args *args, quern_op_id op,
                                           int64_t limit) {
    return {cuda_stream_fault(args->stream), (int32_t)op + 1, limit};
}

#endif
