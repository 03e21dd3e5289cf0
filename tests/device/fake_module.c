/* A module as the loader meets it. FAKE_WORKS: the CPU's table under a CUDA module's name, one
 * device; without it, a driver that finds none. FAKE_ABI and FAKE_HASH_CHANGE make it one that was
 * built for another version; FAKE_NO_ENTRY leaves the entry out. */
#include "kernels/module.h"

#include <inttypes.h>
#include <stdio.h>

#ifndef FAKE_ABI
#define FAKE_ABI MODULE_ABI
#endif
#ifndef FAKE_HASH_CHANGE
#define FAKE_HASH_CHANGE 0
#endif

static quern_backend table;

static int32_t fake_count(char *reason, size_t bytes) {
    const bool works = table.open != NULL;
    if (bytes > 0) snprintf(reason, bytes, "%s", works ? "" : "the driver is too old");
    return works ? 1 : 0;
}

#ifdef FAKE_NO_ENTRY
#define ENTRY another_entry
#else
#define ENTRY quern_cuda_open
#endif
__attribute__((visibility("default"))) const quern_backend *ENTRY(uint32_t abi, uint64_t hash,
                                                                  const quern_services *services);

const quern_backend *ENTRY(uint32_t abi, uint64_t hash, const quern_services *services) {
    const uint64_t own_hash = module_op_table_hash() + FAKE_HASH_CHANGE;
    if (abi != FAKE_ABI || hash != own_hash) {
        (void)services->fail(QUERN_UNSUPPORTED,
                             "built for abi %u and op table %016" PRIx64
                             ", the library has abi %u and op table %016" PRIx64,
                             (unsigned)FAKE_ABI, own_hash, (unsigned)abi, hash);
        return NULL;
    }
#ifdef FAKE_WORKS
    table = quern_backend_cpu;
#endif
    table.name = "fake";
    table.kind = QUERN_BACKEND_CUDA;
    table.count = fake_count;
    return &table;
}
