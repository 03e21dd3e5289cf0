/* module.c - the one entry through which the core opens this module. */
#include "device.h"
#include "nvtx.h"

#include <inttypes.h>

/* The core that opened the module last: the only thing that this folder keeps beside its objects. A
 * second core in the same process hands over functions that do the same, while threads of the first
 * may be calling. */
static _Atomic(const quern_services *) services;

const quern_services *cuda_services(void) {
    return atomic_load_explicit(&services, memory_order_acquire);
}

/* Whether the core is of the version that this module was built with. */
static bool core_accept(uint32_t abi, uint64_t op_table_hash, const quern_services *core) {
    const uint64_t own_hash = module_op_table_hash();
    if (abi == MODULE_ABI && op_table_hash == own_hash) {
        if (core != cuda_services()) atomic_store_explicit(&services, core, memory_order_release);
        return true;
    }
    (void)core->fail(QUERN_UNSUPPORTED,
                     "built for abi %u and op table %016" PRIx64
                     ", the library has abi %u and op table %016" PRIx64,
                     (unsigned)MODULE_ABI, own_hash, (unsigned)abi, op_table_hash);
    return false;
}

/* No device is opened for it: the sentence has none to name. */
static quern_status profiler(bool active) {
    const cudaError_t code =
        active ? cuda_driver.cudaProfilerStart() : cuda_driver.cudaProfilerStop();
    if (code == cudaSuccess) return QUERN_OK;
    IGNORED(cudaGetLastError, ());
    return cuda_fail(QUERN_UNSUPPORTED, "%s failed with %d (%s: %s)",
                     active ? "cudaProfilerStart" : "cudaProfilerStop", (int)code,
                     cuda_driver.cudaGetErrorName(code), cuda_driver.cudaGetErrorString(code));
}

#define EXPORTED __attribute__((visibility("default")))
EXPORTED const quern_backend *quern_cuda_open(uint32_t abi, uint64_t op_table_hash,
                                              const quern_services *core);
EXPORTED const module_tools *quern_cuda_tools(uint32_t abi, uint64_t op_table_hash,
                                              const quern_services *core);

const quern_backend *quern_cuda_open(uint32_t abi, uint64_t op_table_hash,
                                     const quern_services *core) {
    return core_accept(abi, op_table_hash, core) ? &cuda_backend : NULL;
}

const module_tools *quern_cuda_tools(uint32_t abi, uint64_t op_table_hash,
                                     const quern_services *core) {
    static const module_tools tools = {.nvtx = nvtx_sink, .profiler = profiler, .info = cuda_info};
    return core_accept(abi, op_table_hash, core) ? &tools : NULL;
}
