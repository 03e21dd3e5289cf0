/* record.c - the CPU's algorithm record: every op has one algorithm, so there is nothing to say. */
#include "stream.h"

#include "../../host/base/memory.h"

struct backend_record {
    const quern_host *host;
};

quern_status cpu_record_create(backend_device *device, backend_record **out, const char *text) {
    (void)text;
    QUERN_TRY(memory_allocate(device->host, out, 1, sizeof **out, "an algorithm record"));
    (*out)->host = device->host;
    return QUERN_OK;
}

void cpu_record_destroy(backend_record *record) {
    if (record != NULL) memory_release(record->host, record, 1, sizeof *record);
}

void cpu_record_use(backend_device *device, backend_record *record) { (void)device, (void)record; }

size_t cpu_record_write(const backend_record *record, char *to, size_t bytes) {
    (void)record;
    if (bytes > 0) to[0] = 0;
    return 0;
}
