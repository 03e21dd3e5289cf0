// The scheduler behind emulation.h. A block's threads run one after another, each until it waits;
// when none can go on, the waits that are complete are released, and if there is none the block is
// stuck: some thread never arrives.
#include "emulation.h"

#include "emulation_control.h"
#include "fiber.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <map>
#include <memory>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulation {

enum thread_state { READY, AT_BARRIER, AT_WARP, ENDED };
enum { WARP = 32, EXCHANGE_BYTES = 32 };

struct thread {
    std::unique_ptr<fiber, void (*)(fiber *)> on{nullptr, fiber_destroy};
    uint3 index;
    thread_state state;
    int line; // of the wait in the kernel's source
    unsigned mask;
    bool vote;
    unsigned char handed[2][EXCHANGE_BYTES]; // two, because a fast lane may hand in the next one
    int64_t warp_time;                       // waits of its warp that are over
};

static std::vector<thread> threads;
static int32_t thread_count, current;
static int64_t block_time, block_serial, launch_count;
static size_t launch_dynamic_bytes;
static void (*launch_body)(void *);
static void *launch_context;
static emulation_order order;
static uint64_t seed;
static char failure[512];
static std::map<const void *, storage> shared_memory;

static void fail(const char *format, ...) {
    if (failure[0] != 0) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure, sizeof failure, format, arguments);
    va_end(arguments);
}

static uint64_t random_below(uint64_t count) { // SplitMix64
    uint64_t z = seed += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (z ^ z >> 31) % count;
}

static std::vector<int64_t> in_order(int64_t count) {
    std::vector<int64_t> list((size_t)count);
    for (int64_t i = 0; i < count; i++)
        list[(size_t)i] = order == EMULATION_REVERSE ? count - 1 - i : i;
    for (int64_t i = count - 1; order == EMULATION_SEEDED && i > 0; i--)
        std::swap(list[(size_t)i], list[random_below((uint64_t)i + 1)]);
    return list;
}

static void thread_main() {
    launch_body(launch_context);
    threads[(size_t)current].state = ENDED;
}

static void thread_run(int32_t t) {
    current = t;
    threadIdx = threads[(size_t)t].index;
    fiber_enter(threads[(size_t)t].on.get());
}

static void wait_as(thread_state state, unsigned mask, int line) {
    thread &own = threads[(size_t)current];
    own.state = state;
    own.mask = mask;
    own.line = line;
    const uint3 index = threadIdx;
    const int32_t number = current;
    fiber_leave();
    threadIdx = index;
    current = number;
}

static const char *state_name(const thread &t) {
    switch (t.state) {
    case AT_BARRIER: return "waits at a __syncthreads";
    case AT_WARP: return "waits for its warp";
    case ENDED: return "has ended";
    default: return "runs";
    }
}

static void fail_stuck(const thread &waiting, const thread &missing) {
    fail("divergence in block %u: thread %u waits in line %d for thread %u, which %s (line %d)",
         blockIdx.x, waiting.index.x, waiting.line, missing.index.x, state_name(missing),
         missing.line);
}

// Whether all lanes that this one waits for wait with it, in the same line for the same lanes.
static bool warp_complete(int32_t t, bool report) {
    const thread &own = threads[(size_t)t];
    const int32_t first = t / WARP * WARP;
    for (int32_t i = first; i < first + WARP && i < thread_count; i++) {
        const thread &other = threads[(size_t)i];
        if ((own.mask >> (i - first) & 1) == 0) continue;
        if (other.state == AT_WARP && other.mask == own.mask && other.line == own.line) continue;
        if (report) fail_stuck(own, other);
        return false;
    }
    return true;
}

static bool release_warps() {
    bool any = false;
    int32_t missed = -1; // the last lane whose wait was found to lack another
    for (int32_t t = 0; t < thread_count; t++) {
        if (threads[(size_t)t].state != AT_WARP) continue;
        const unsigned mask = threads[(size_t)t].mask;
        const int32_t first = t / WARP * WARP;
        if (missed >= first && threads[(size_t)missed].mask == mask) continue;
        if (!warp_complete(t, false)) {
            missed = t;
            continue;
        }
        for (int32_t i = first; i < first + WARP && i < thread_count; i++) {
            if ((mask >> (i - first) & 1) == 0) continue;
            threads[(size_t)i].state = READY;
            threads[(size_t)i].warp_time++;
        }
        any = true;
    }
    return any;
}

static bool barrier_complete() {
    const thread &first = threads[0];
    for (int32_t t = 0; t < thread_count; t++) {
        const thread &other = threads[(size_t)t];
        if (other.state == AT_BARRIER && other.line == first.line) continue;
        for (int32_t i = 0; i < thread_count; i++) {
            if (threads[(size_t)i].state == AT_WARP && !warp_complete(i, true)) return false;
            if (threads[(size_t)i].state == AT_BARRIER && i != t) {
                const bool self = other.state == AT_BARRIER && t != 0;
                fail_stuck(threads[(size_t)i], self ? first : other);
                if (i == 0 || other.state != AT_BARRIER) return false;
            }
        }
        fail_stuck(first, other);
        return false;
    }
    return true;
}

static bool all_ended() {
    for (int32_t t = 0; t < thread_count; t++)
        if (threads[(size_t)t].state != ENDED) return false;
    return true;
}

static void run_ready() {
    for (const int64_t t : in_order(thread_count))
        if (threads[(size_t)t].state == READY && failure[0] == 0) thread_run((int32_t)t);
}

static void block_run() {
    block_serial++;
    for (int32_t t = 0; t < thread_count; t++) {
        thread &own = threads[(size_t)t];
        if (own.on == nullptr) own.on.reset(fiber_create());
        fiber_start(own.on.get(), thread_main);
        own.state = READY;
        own.index = {(unsigned)t % blockDim.x, (unsigned)t / blockDim.x % blockDim.y,
                     (unsigned)t / blockDim.x / blockDim.y};
        own.warp_time = 0;
    }
    while (failure[0] == 0) {
        run_ready();
        if (failure[0] != 0 || all_ended()) return;
        if (release_warps()) continue;
        if (!barrier_complete()) return;
        for (int32_t t = 0; t < thread_count; t++) threads[(size_t)t].state = READY;
        block_time++;
    }
}

quern_status launch_run(dim3 grid, dim3 block, size_t shared_bytes, void (*body)(void *),
                        void *context) {
    const int64_t blocks = (int64_t)grid.x * grid.y * grid.z;
    thread_count = (int32_t)(block.x * block.y * block.z);
    if (blocks == 0 || thread_count == 0 || thread_count > 1024)
        return quern_fail(QUERN_INTERNAL, "a launch of %lld blocks of %d threads",
                          (long long)blocks, thread_count);
    if (threads.size() < (size_t)thread_count) threads.resize((size_t)thread_count);
    gridDim = grid;
    blockDim = block;
    launch_dynamic_bytes = shared_bytes;
    launch_body = body;
    launch_context = context;
    launch_count++;
    failure[0] = 0;
    for (const int64_t b : in_order(blocks)) {
        if (failure[0] != 0) break;
        blockIdx = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y),
                    (unsigned)(b / grid.x / grid.y)};
        block_run();
    }
    return failure[0] == 0 ? QUERN_OK : quern_fail(QUERN_INTERNAL, "%s", failure);
}

size_t dynamic_bytes() { return launch_dynamic_bytes; }
int lane() { return current % WARP; }
void barrier(int line) { wait_as(AT_BARRIER, 0, line); }
void warp_barrier(unsigned mask, int line) { wait_as(AT_WARP, mask, line); }

void exchange(unsigned mask, const void *value, void *out, size_t bytes, int source, int line) {
    thread &own = threads[(size_t)current];
    const int64_t turn = own.warp_time % 2;
    memcpy(own.handed[turn], value, bytes);
    wait_as(AT_WARP, mask, line);
    const int32_t from = current / WARP * WARP + source;
    if (from >= thread_count || (mask >> source & 1) == 0)
        fail("a shuffle in line %d reads lane %d, which takes no part", line, source);
    else
        memcpy(out, threads[(size_t)from].handed[turn], bytes);
}

unsigned ballot(unsigned mask, bool vote, int line) {
    unsigned bits = 0;
    for (int source = 0; source < WARP; source++) {
        if ((mask >> source & 1) == 0) continue;
        bool theirs;
        exchange(mask, &vote, &theirs, sizeof vote, source, line);
        bits |= theirs ? 1u << source : 0u;
    }
    return bits;
}

storage *shared_storage(const void *key, int64_t count, size_t element_bytes) {
    storage &s = shared_memory[key];
    if (s.count == count && s.block == block_serial) return &s;
    s.count = count;
    s.block = block_serial;
    s.data.assign((size_t)count * element_bytes, 0xFF);
    s.cells.assign((size_t)count, cell_state());
    return &s;
}

// Whether what was done at `before` is over for the running thread.
static bool is_over(const access &before) {
    if (before.thread < 0 || before.thread == current || before.block_time < block_time)
        return true;
    return before.thread / WARP == current / WARP &&
           before.warp_time < threads[(size_t)current].warp_time;
}

static bool check_cell(const storage *s, int64_t at, const access &before, const char *what) {
    if (is_over(before)) return true;
    fail("race in block %u: thread %d %s element %lld of %lld in shared memory, and thread %d was "
         "there without a barrier between them",
         blockIdx.x, current, what, (long long)at, (long long)s->count, before.thread);
    return false;
}

static bool in_bounds(const storage *s, int64_t at) {
    if (at >= 0 && at < s->count) return true;
    fail("thread %d uses element %lld of %lld in shared memory", current, (long long)at,
         (long long)s->count);
    return false;
}

bool note_read(storage *s, int64_t at) {
    if (!in_bounds(s, at)) return false;
    cell_state &cell = s->cells[(size_t)at];
    if (cell.writer.thread < 0)
        fail("thread %d reads element %lld of %lld in shared memory before it is written", current,
             (long long)at, (long long)s->count);
    if (!check_cell(s, at, cell.writer, "reads")) return false;
    if (cell.reader.thread != current) cell.other_reader = cell.reader;
    cell.reader = {current, block_time, threads[(size_t)current].warp_time};
    return true;
}

bool note_write(storage *s, int64_t at) {
    if (!in_bounds(s, at)) return false;
    cell_state &cell = s->cells[(size_t)at];
    const bool free_of_races = check_cell(s, at, cell.writer, "writes") &&
                               check_cell(s, at, cell.reader, "writes") &&
                               check_cell(s, at, cell.other_reader, "writes");
    cell.writer = {current, block_time, threads[(size_t)current].warp_time};
    return free_of_races;
}

} // namespace emulation

void emulation_set_order(emulation_order chosen) {
    emulation::order = chosen;
    emulation::seed = 20240229;
}

emulation_order emulation_order_now(void) { return emulation::order; }

static void (*fence_watch)(void *self);
static void *fence_self;

void emulation_watch_fences(void (*watch)(void *self), void *self) {
    fence_watch = watch;
    fence_self = self;
}

void emulation::system_fence() {
    if (fence_watch != NULL) fence_watch(fence_self);
}

int64_t emulation_launches(void) { return emulation::launch_count; }
