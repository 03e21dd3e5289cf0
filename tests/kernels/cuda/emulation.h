/* emulation.h - the CUDA execution model on the host, so that the kernels' own sources run without
 * a GPU and under AddressSanitizer.
 *
 * A .cu file compiled as C++ with QUERN_EMULATION defined gets this header from launch.h in place
 * of CUDA's. A launch runs one block after another; every thread of a block is a cooperative
 * fiber, so that barriers, shuffles and ballots mean what they mean on the device. Orders of
 * blocks and threads are chosen by the test: a kernel whose result depends on one is wrong.
 *
 * What is found, and makes the launch fail with a sentence (quern_error):
 *   divergence        a thread that ended, or waits elsewhere, while others wait for it
 *   races             two threads touch one element of shared memory, one of them writing, without
 *                     a barrier between them (__syncwarp and shuffles order a warp's own threads)
 *   garbage           shared memory that is read before this block has written it
 *   bounds            of shared memory here; of device memory by AddressSanitizer, because every
 *                     buffer of the tests is an allocation of its exact size
 * What it cannot show: races in device memory between blocks, memory ordering, speed. */
#ifndef QUERN_TESTS_EMULATION_H
#define QUERN_TESTS_EMULATION_H

extern "C" {
#include "host/base/report.h"
}
#include "kernels/cuda/fault.h"
#include <math.h>
#include <string.h>

#include <vector>

#include "emulation_types.h"

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __forceinline__ inline

#define cuda_fail quern_fail

/* What a stream is, the files that launch know: emulated_stream.cc, fake_launch.cc. */
extern "C" cuda_fault *cuda_stream_fault(const quern_stream *stream);

namespace emulation {

struct access { /* of one element of shared memory */
    int32_t thread = -1;
    int64_t block_time = 0, warp_time = 0;
};

struct cell_state {
    access writer, reader, other_reader;
};

struct storage {
    std::vector<unsigned char> data;
    std::vector<cell_state> cells;
    int64_t count = 0, block = -1;
};

/* A launch as its stream takes it, at once or later: the context is copied. */
quern_status launch(quern_stream *stream, dim3 grid, dim3 block, size_t shared_bytes,
                    void (*body)(void *), const void *context, size_t context_bytes);
/* Runs it now. */
quern_status launch_run(dim3 grid, dim3 block, size_t shared_bytes, void (*body)(void *),
                        void *context);
storage *shared_storage(const void *key, int64_t count, size_t element_bytes);
bool note_read(storage *s, int64_t at), note_write(storage *s, int64_t at);
size_t dynamic_bytes();
void barrier(int line);
void warp_barrier(unsigned mask, int line);
/* Lane `source`'s value of those that all lanes of the mask hand in; lanes count from 0. */
void exchange(unsigned mask, const void *value, void *out, size_t bytes, int source, int line);
unsigned ballot(unsigned mask, bool vote, int line);
void system_fence(); /* what was stored before it may be seen by the host now */
int lane();

/* One element of shared memory: reads and writes are noted. */
template <typename T> class cell {
  public:
    cell(storage *s, int64_t at) : s_(s), at_(at) {}
    operator T() const {
        T value = T();
        if (note_read(s_, at_))
            memcpy((void *)&value, s_->data.data() + (size_t)at_ * sizeof(T), sizeof(T));
        return value;
    }
    T operator=(T value) {
        if (note_write(s_, at_))
            memcpy(s_->data.data() + (size_t)at_ * sizeof(T), (const void *)&value, sizeof(T));
        return value;
    }
    T operator=(const cell &other) { return *this = (T)other; }
    T operator+=(T value) { return *this = (T)(*this) + value; }

  private:
    storage *s_;
    int64_t at_;
};

template <typename T> class shared {
  public:
    shared(const void *key, int64_t count) : s_(shared_storage(key, count, sizeof(T))) {}
    cell<T> operator[](int64_t at) const { return cell<T>(s_, at); }

  private:
    storage *s_;
};

template <typename F> void call_body(void *body) { (*(F *)body)(); }

template <typename T> T shuffle(unsigned mask, T value, int source, int line) {
    T out;
    exchange(mask, &value, &out, sizeof value, source >= 0 && source < 32 ? source : lane(), line);
    return out;
}

} // namespace emulation

/* An array in shared memory, and the launch's dynamic one. A macro each, because on the device
 * they are storage classes. */
#define SHARED(type, name, count)                                                                  \
    static const char name##_key = 0;                                                              \
    const emulation::shared<type> name(&name##_key, (count))
#define SHARED_DYNAMIC(type, name)                                                                 \
    const emulation::shared<type> name((const void *)&emulation::dynamic_bytes,                    \
                                       (int64_t)(emulation::dynamic_bytes() / sizeof(type)))

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

#define __syncthreads() emulation::barrier(__LINE__)
#define __syncwarp(...) emulation::warp_barrier(0xFFFFFFFFu, __LINE__)
#define __shfl_sync(mask, value, source) emulation::shuffle(mask, value, source, __LINE__)
#define __shfl_xor_sync(mask, value, bits)                                                         \
    emulation::shuffle(mask, value, emulation::lane() ^ (bits), __LINE__)
#define __shfl_down_sync(mask, value, step)                                                        \
    emulation::shuffle(mask, value, emulation::lane() + (step), __LINE__)
#define __shfl_up_sync(mask, value, step)                                                          \
    emulation::shuffle(mask, value, emulation::lane() - (step), __LINE__)
#define __ballot_sync(mask, vote) emulation::ballot(mask, (vote), __LINE__)
#define __any_sync(mask, vote) (emulation::ballot(mask, (vote), __LINE__) != 0)

inline void __threadfence() {}
inline void __threadfence_system() { emulation::system_fence(); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

/* One thread runs at a time, so these are atomic. */
template <typename T> T atomicAdd(T *at, T value) {
    const T was = *at;
    *at = was + value;
    return was;
}
template <typename T> T atomicCAS(T *at, T expected, T value) {
    const T was = *at;
    if (was == expected) *at = value;
    return was;
}

#endif
