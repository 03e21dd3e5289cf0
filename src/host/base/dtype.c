/* dtype.c - bytes and names of the element types, from their one table. */
#include <quern/kernel.h>

#define X(name, bytes, text) [QUERN_##name] = bytes,
static const size_t dtype_bytes[QUERN_DTYPE_COUNT] = {QUERN_DTYPE_LIST(X)};
#undef X

#define X(name, bytes, text) [QUERN_##name] = text,
static const char *const dtype_names[QUERN_DTYPE_COUNT] = {QUERN_DTYPE_LIST(X)};
#undef X

size_t quern_dtype_bytes(quern_dtype dtype) {
    return (unsigned)dtype < QUERN_DTYPE_COUNT ? dtype_bytes[dtype] : 0;
}

const char *quern_dtype_name(quern_dtype dtype) {
    return (unsigned)dtype < QUERN_DTYPE_COUNT ? dtype_names[dtype] : "?";
}
