/* cuda_info.c - the way to what the CUDA module says of itself, which needs no device. */
#include "module.h"

#include "../base/report.h"

quern_status quern_cuda_info_get(quern_cuda_info *out) {
    const module_tools *tools;
    if (out == NULL) return quern_fail(QUERN_INVALID, "quern_cuda_info_get: out is NULL");
    *out = (quern_cuda_info){0};
    QUERN_TRY(module_tools_open(&tools));
    return tools->info(out);
}
