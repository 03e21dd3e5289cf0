/* nccl_open.c - the table of nccl_table.h filled from the vendor's library. */
#include "nccl_table.h"

#include "../library/shared_library.h"

quern_status nccl_open(nccl_table *out) {
    void *library;
    QUERN_TRY(shared_library_open(&library, NCCL_FILE, "NCCL_ROOT"));
    shared_function function;
#define X(name)                                                                                    \
    QUERN_TRY(shared_library_find(&function, library, NCCL_FILE, #name));                          \
    out->name = (__typeof__(name) *)function;
    NCCL_LIST(X)
#undef X
    return QUERN_OK;
}
