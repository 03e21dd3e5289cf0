/* module.h - the seam between the core and a backend that is loaded at run time (CUDA). A module
 * links nothing of the core: it is called through one entry and calls back through services. */
#ifndef QUERN_KERNELS_MODULE_H
#define QUERN_KERNELS_MODULE_H

#include "backend.h"

/* One more whenever backend.h, collectives.h, kernel.h, update.h, task.h or this file changes its
 * layout or meaning. */
#define MODULE_ABI UINT32_C(14)

/* The core's functions of the same words (status.h, base/report.h, base/memory.h). */
typedef struct quern_services {
    quern_status (*fail)(quern_status status, const char *format, ...) QUERN_PRINTF(2, 3);
    const char *(*error)(void);
    void (*log)(const quern_host *host, quern_log_level level, const char *format, ...)
        QUERN_PRINTF(3, 4);
    quern_status (*allocate)(const quern_host *host, void *out_pointer, int64_t count,
                             size_t element_bytes, const char *what);
    void (*release)(const quern_host *host, void *pointer, int64_t count, size_t element_bytes);
    void (*trace_begin)(const quern_host *host, const char *category, const char *name,
                        int64_t value);
    void (*trace_end)(const quern_host *host);
} quern_services;

/* A module exports this function under the name MODULE_ENTRY. It returns its const table, or NULL
 * after services->fail(QUERN_UNSUPPORTED, …) naming both versions when abi or hash are not those
 * it was built with. The services outlive it. */
typedef const quern_backend *(*module_entry)(uint32_t abi, uint64_t op_table_hash,
                                             const quern_services *services);
#define MODULE_ENTRY "quern_cuda_open"

/* What the module has beside a device; none of it needs one. */
typedef struct module_tools {
    quern_trace_sink (*nvtx)(void);        /* ranges for Nsight */
    quern_status (*profiler)(bool active); /* cudaProfilerStart and cudaProfilerStop */
    quern_status (*info)(quern_cuda_info *out);
} module_tools;

/* Exported under the name MODULE_TOOLS_ENTRY, with the same checks. */
typedef const module_tools *(*module_tools_entry)(uint32_t abi, uint64_t op_table_hash,
                                                  const quern_services *services);
#define MODULE_TOOLS_ENTRY "quern_cuda_tools"

/* FNV-1a (64 bits) over the words of ops.def and the sizes of what both sides exchange: a kernel
 * table built from another op table would put kernels into the wrong slots. */
static inline uint64_t module_op_table_hash(void) {
#define QUERN_OP(...) #__VA_ARGS__,
    static const char *const rows[] = {
#include <quern/ops.def>
    };
#undef QUERN_OP
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (const char *c = rows[i]; *c != 0; c++)
            hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
    const size_t sizes[] = {sizeof(quern_backend),     sizeof(quern_kernel_args),
                            sizeof(quern_kernel_plan), sizeof(quern_host),
                            sizeof(quern_update),      sizeof(task_state),
                            sizeof(task_gather),       TASK_COUNT};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        hash = (hash ^ sizes[i]) * UINT64_C(1099511628211);
    return hash;
}

#endif
