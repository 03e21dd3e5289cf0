/* cudnn_open.c - the table of cudnn_table.h filled from the vendor's library. */
#include "cudnn_table.h"

#include "shared_library.h"

quern_status cudnn_open(cudnn_table *out) {
    void *library;
    QUERN_TRY(shared_library_open(&library, CUDNN_FILE, "CUDNN_ROOT"));
    shared_function function;
#define X(name)                                                                                    \
    QUERN_TRY(shared_library_find(&function, library, CUDNN_FILE, #name));                         \
    out->name = (__typeof__(name) *)function;
    CUDNN_LIST(X)
#undef X
    return QUERN_OK;
}
