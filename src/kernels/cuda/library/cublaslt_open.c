/* cublaslt_open.c - the table of cublaslt.h filled from the vendor's library. */
#include "cublaslt.h"

#include "shared_library.h"

quern_status cublaslt_open(cublaslt_table *out) {
    void *library;
    QUERN_TRY(shared_library_open(&library, CUBLASLT_FILE, "CUBLAS_ROOT"));
    shared_function function;
#define X(name)                                                                                    \
    QUERN_TRY(shared_library_find(&function, library, CUBLASLT_FILE, #name));                      \
    out->name = (__typeof__(name) *)function;
    CUBLASLT_LIST(X)
#undef X
    return QUERN_OK;
}
