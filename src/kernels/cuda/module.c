/* module.c - the one entry through which the core opens this module. */
#include "device.h"

#include <inttypes.h>

/* The core that opened the module: the only thing that this folder keeps beside its objects. A
 * second core in the same process hands over functions that do the same. */
static const quern_services *services;

const quern_services *cuda_services(void) { return services; }

__attribute__((visibility("default"))) const quern_backend *
quern_cuda_open(uint32_t abi, uint64_t op_table_hash, const quern_services *core);

const quern_backend *quern_cuda_open(uint32_t abi, uint64_t op_table_hash,
                                     const quern_services *core) {
    const uint64_t own_hash = module_op_table_hash();
    if (abi != MODULE_ABI || op_table_hash != own_hash) {
        (void)core->fail(QUERN_UNSUPPORTED,
                         "built for abi %u and op table %016" PRIx64
                         ", the library has abi %u and op table %016" PRIx64,
                         (unsigned)MODULE_ABI, own_hash, (unsigned)abi, op_table_hash);
        return NULL;
    }
    services = core;
    return &cuda_backend;
}
