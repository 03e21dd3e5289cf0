/* A module as the loader meets it. FAKE_WORKS: the CPU's table under a CUDA module's name, one
 * device, or FAKE_DEVICES of them, of which the first FAKE_UNUSABLE are too old (an odd one: its
 * memory is taken); without it, a driver that finds none. FAKE_ABI and FAKE_HASH_CHANGE make it one
 * that was built for another version; FAKE_NO_ENTRY leaves the entry out. */
#include "kernels/module.h"

#include <inttypes.h>
#include <stdio.h>

#ifndef FAKE_ABI
#define FAKE_ABI MODULE_ABI
#endif
#ifndef FAKE_HASH_CHANGE
#define FAKE_HASH_CHANGE 0
#endif

#ifndef FAKE_DEVICES
#define FAKE_DEVICES 1
#endif
#ifndef FAKE_UNUSABLE
#define FAKE_UNUSABLE 0
#endif

static quern_backend table;
static const quern_services *core;

static int32_t fake_count(char *reason, size_t bytes) {
    const bool works = table.open != NULL;
    if (bytes > 0) snprintf(reason, bytes, "%s", works ? "" : "the driver is too old");
    return works ? FAKE_DEVICES : 0;
}

#ifdef FAKE_WORKS
static quern_status fake_open(backend_device **out, const backend_open_desc *desc) {
    backend_open_desc first = *desc;
    *out = NULL;
    if (desc->index < FAKE_UNUSABLE && desc->index % 2 == 0)
        return core->fail(QUERN_UNSUPPORTED, "fake %d has compute capability 1.0",
                          (int)desc->index);
    if (desc->index >= FAKE_DEVICES)
        return core->fail(QUERN_NO_DEVICE, "there is no fake %d", (int)desc->index);
    first.index = 0;
    return quern_backend_cpu.open(out, &first);
}

static quern_status fake_info(backend_device *device, quern_device_info *out) {
    const quern_status status = quern_backend_cpu.info(device, out);
    out->kind = QUERN_DEVICE_CUDA;
    if (FAKE_UNUSABLE < 2) return status;
    return core->fail(QUERN_DEVICE_MEMORY, "another process holds the memory of the fake");
}
#endif

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
    core = services;
#ifdef FAKE_WORKS
    table = quern_backend_cpu;
    table.open = fake_open;
    table.info = fake_info;
#endif
    table.name = "fake";
    table.kind = QUERN_BACKEND_CUDA;
    table.count = fake_count;
    return &table;
}
