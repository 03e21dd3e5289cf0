/* cpu.h - what the CPU kernels share: how work is cut into chunks.
 *
 * A chunk's borders are a function of the shapes alone, never of the thread count, so that results
 * do not depend on it. A body gets its context and a chunk number; it turns the number into a
 * range with cpu_range and writes only the outputs of that range. A reduction across chunks keeps
 * one partial result a chunk (in scratch) and adds them in chunk order afterwards. */
#ifndef QUERN_KERNELS_CPU_CPU_H
#define QUERN_KERNELS_CPU_CPU_H

#include "../kernel.h"
#include "../task.h"

/* Elements of one chunk of an element-wise kernel: 64 KiB of float, a few microseconds. */
#define CPU_CHUNK INT64_C(16384)

typedef void (*cpu_body)(void *context, int64_t chunk);

typedef struct cpu_range {
    int64_t start, end; /* [start, end) */
} cpu_range;

static inline int64_t cpu_min(int64_t a, int64_t b) { return a < b ? a : b; }

/* How many chunks of `chunk_size` items cover `count` items; 0 for none. */
static inline int64_t cpu_chunk_count(int64_t count, int64_t chunk_size) {
    return count / chunk_size + (count % chunk_size != 0);
}

static inline cpu_range cpu_chunk_range(int64_t chunk, int64_t chunk_size, int64_t count) {
    const int64_t start = chunk * chunk_size;
    return (cpu_range){start, cpu_min(start + chunk_size, count)};
}

/* Rows to a chunk when a row costs `row_elements`: about CPU_CHUNK elements, at least one row. */
static inline int64_t cpu_rows_per_chunk(int64_t row_elements) {
    return row_elements >= CPU_CHUNK ? 1 : CPU_CHUNK / (row_elements > 0 ? row_elements : 1);
}

/* Runs body once for each chunk of CPU_CHUNK out of `count` elements. */
static inline void cpu_parallel(quern_stream *stream, int64_t count, cpu_body body, void *context) {
    quern_cpu_parallel(stream, cpu_chunk_count(count, CPU_CHUNK), body, context);
}

/* The range of a chunk that cpu_parallel hands out. */
static inline cpu_range cpu_parallel_range(int64_t chunk, int64_t count) {
    return cpu_chunk_range(chunk, CPU_CHUNK, count);
}

/* Filled from ops.def, TASK_LIST and QUERN_OPTIMIZER_LIST in table.c. A kernel is the constant
 * quern_cpu_<op>, a task the function quern_cpu_task_<name>, a rule quern_cpu_update_<name>. */
extern const quern_kernel *const cpu_kernels[QUERN_OP_ID_COUNT];
extern const quern_kernel_function cpu_tasks[TASK_COUNT];
extern const quern_kernel_function cpu_update_rules[QUERN_OPTIMIZER_COUNT];

#endif
