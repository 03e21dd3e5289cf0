/* cudnn_open.c - the table of cudnn_table.h filled from the vendor's library. */
#include "cudnn_table.h"

#include "shared_library.h"

#define FILE_NAME "libcudnn.so.9"

quern_status cudnn_open(cudnn_table *out) {
    void *library;
    QUERN_TRY(shared_library_open(&library, FILE_NAME, "CUDNN_ROOT"));
    shared_function function;
#define X(name)                                                                                    \
    QUERN_TRY(shared_library_find(&function, library, FILE_NAME, #name));                          \
    out->name = (__typeof__(name) *)function;
    CUDNN_LIST(X)
#undef X
    return QUERN_OK;
}
