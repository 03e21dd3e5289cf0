/* fake_core.c - the services that src/host/device/module.c hands to a module. */
#include "fake_core.h"

#include "host/base/memory.h"
#include "host/base/report.h"

const quern_services *fake_core_services(void) {
    static const quern_services services = {
        .fail = quern_fail,
        .error = quern_error,
        .log = log_write,
        .allocate = memory_allocate,
        .release = memory_release,
        .trace_begin = trace_begin,
        .trace_end = trace_end,
    };
    return &services;
}

const quern_backend *fake_core_open(void) {
    return quern_cuda_open(MODULE_ABI, module_op_table_hash(), fake_core_services());
}
