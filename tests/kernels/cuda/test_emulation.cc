// test_emulation.cc - what the emulated device finds in kernels that are wrong, and that it finds
// nothing in kernels that are right.
#include "kernels/cuda/group.h"

#include "emulation_control.h"
#include "quern_test.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr int THREADS = 64;
const launch_shape two_blocks = {dim3(2), dim3(THREADS), 0};

// Every thread hands its number to the one before it.
__global__ void hand_on(int *out, bool with_barrier) {
    SHARED(int, numbers, THREADS);
    const int t = (int)threadIdx.x;
    numbers[t] = t;
    if (with_barrier) __syncthreads();
    out[launch_index()] = numbers[(t + 1) % THREADS];
}

// The first element is read by all, and then overwritten by one.
__global__ void overwrite(int *out, bool with_barrier) {
    SHARED(int, first, 1);
    if (threadIdx.x == 0) first[0] = 1;
    __syncthreads();
    out[launch_index()] = first[0];
    if (with_barrier) __syncthreads();
    if (threadIdx.x == THREADS - 1) first[0] = 2;
}

// Lanes of one warp are ordered by __syncwarp.
__global__ void hand_on_in_warp(int *out) {
    SHARED(int, numbers, THREADS);
    const int t = (int)threadIdx.x, next = t / 32 * 32 + (t + 1) % 32;
    numbers[t] = t;
    __syncwarp();
    out[launch_index()] = numbers[next];
}

__global__ void half_at_a_barrier(int *out) {
    if (threadIdx.x < THREADS / 2) __syncthreads();
    out[launch_index()] = 1;
}

__global__ void two_barriers(int *out) {
    if (threadIdx.x < THREADS / 2)
        __syncthreads();
    else
        __syncthreads();
    out[launch_index()] = 1;
}

__global__ void half_a_warp(int *out) {
    int value = 1;
    if (threadIdx.x % 32 < 16) value = __shfl_xor_sync(0xFFFFFFFFu, value, 1);
    out[launch_index()] = value;
}

__global__ void read_garbage(int *out) {
    SHARED(int, numbers, THREADS);
    if (threadIdx.x != 5) numbers[threadIdx.x] = 1;
    __syncthreads();
    out[launch_index()] = numbers[threadIdx.x];
}

__global__ void past_shared(int *out) {
    SHARED(int, numbers, THREADS);
    numbers[threadIdx.x + 1] = 1;
    out[launch_index()] = 1;
}

__global__ void past_the_buffer(int *out) { out[launch_index() + 1] = 1; }

__global__ void last_one_wins(int *out) { out[0] = (int)launch_index(); }

__global__ void sums(int *out, unsigned *votes) {
    SHARED_DYNAMIC(int, rows);
    const int lane = (int)threadIdx.x % 32;
    rows[threadIdx.x] = 1;
    __syncthreads();
    const int all = group_sum<THREADS>((int)rows[threadIdx.x]);
    const int warp = group_sum<32>(lane);
    const unsigned odd = __ballot_sync(0xFFFFFFFFu, lane % 2 == 1);
    if (lane == 0) votes[launch_index() / 32] = odd;
    atomicAdd(out, all * warp);
}

quern_status run(void (*kernel)(int *), int *out) {
    return launch(nullptr, two_blocks, kernel, out);
}

} // namespace

TEST_CASE(Emulation, finds_a_missing_barrier) {
    int out[2 * THREADS];
    for (int order = 0; order < EMULATION_ORDERS; order++) {
        emulation_set_order((emulation_order)order);
        CHECK_STATUS(launch(nullptr, two_blocks, hand_on, out, false), QUERN_INTERNAL);
        REQUIRE_OK(launch(nullptr, two_blocks, hand_on, out, true));
        for (int i = 0; i < 2 * THREADS; i++) CHECK(out[i] == (i + 1) % THREADS);
    }
}

TEST_CASE(Emulation, finds_a_race_of_a_writer_with_readers) {
    int out[2 * THREADS];
    for (int order = 0; order < EMULATION_ORDERS; order++) {
        emulation_set_order((emulation_order)order);
        CHECK_STATUS(launch(nullptr, two_blocks, overwrite, out, false), QUERN_INTERNAL);
        CHECK_ERROR_HAS("race in block");
        CHECK_OK(launch(nullptr, two_blocks, overwrite, out, true));
    }
}

TEST_CASE(Emulation, a_warp_is_ordered_by_its_own_barrier) {
    int out[2 * THREADS];
    emulation_set_order(EMULATION_SEEDED);
    REQUIRE_OK(run(hand_on_in_warp, out));
    for (int i = 0; i < 2 * THREADS; i++)
        CHECK(out[i] == i % THREADS / 32 * 32 + (i % THREADS + 1) % 32);
}

TEST_CASE(Emulation, finds_threads_that_never_arrive) {
    int out[2 * THREADS];
    for (int order = 0; order < EMULATION_ORDERS; order++) {
        emulation_set_order((emulation_order)order);
        CHECK_STATUS(run(half_at_a_barrier, out), QUERN_INTERNAL);
        CHECK_ERROR_HAS("has ended");
        CHECK_STATUS(run(two_barriers, out), QUERN_INTERNAL);
        CHECK_ERROR_HAS("divergence in block");
        CHECK_STATUS(run(half_a_warp, out), QUERN_INTERNAL);
        CHECK_ERROR_HAS("divergence in block");
    }
}

TEST_CASE(Emulation, finds_shared_memory_that_was_never_written_and_bounds) {
    int out[2 * THREADS];
    emulation_set_order(EMULATION_FORWARD);
    CHECK_STATUS(run(read_garbage, out), QUERN_INTERNAL);
    CHECK_ERROR_HAS("reads element 5 of 64 in shared memory before it is written");
    CHECK_STATUS(run(past_shared, out), QUERN_INTERNAL);
    CHECK_ERROR_HAS("element 64 of 64");
}

TEST_CASE(Emulation, a_kernel_past_its_buffer_ends_the_process) {
    const pid_t child = fork();
    if (child == 0) {
        int *out = new int[2 * THREADS];
        (void)!freopen("/dev/null", "w", stderr);
        const quern_status status = run(past_the_buffer, out);
        _exit(status == QUERN_OK ? 0 : 1);
    }
    int status = 0;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(!(WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

TEST_CASE(Emulation, what_depends_on_the_order_differs_between_orders) {
    int forward, reverse;
    emulation_set_order(EMULATION_FORWARD);
    REQUIRE_OK(run(last_one_wins, &forward));
    emulation_set_order(EMULATION_REVERSE);
    REQUIRE_OK(run(last_one_wins, &reverse));
    CHECK(forward == 2 * THREADS - 1);
    CHECK(reverse == 0);
}

TEST_CASE(Emulation, barriers_shuffles_ballots_and_atomics_work) {
    for (int order = 0; order < EMULATION_ORDERS; order++) {
        int out = 0;
        unsigned votes[2 * THREADS / 32];
        emulation_set_order((emulation_order)order);
        const launch_shape shape = {dim3(2), dim3(THREADS), THREADS * sizeof(int)};
        REQUIRE_OK(launch(nullptr, shape, sums, &out, votes));
        CHECK(out == 2 * THREADS * THREADS * (31 * 32 / 2));
        for (unsigned vote : votes) CHECK(vote == 0xAAAAAAAAu);
    }
}
