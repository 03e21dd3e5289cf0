/* shared_library.h - finds and opens one of the vendor's shared libraries. */
#ifndef QUERN_KERNELS_CUDA_SHARED_LIBRARY_H
#define QUERN_KERNELS_CUDA_SHARED_LIBRARY_H

#include "../cuda.h"

#define CUBLASLT_FILE "libcublasLt.so.13"
#define CUDNN_FILE "libcudnn.so.9"
#define NCCL_FILE "libnccl.so.2"

/* `file` is a soname, "libcudnn.so.9"; `root_variable` names the environment variable of that
 * library's own prefix. The folders and their order: library_search.h. A file that is there and
 * does not load, because a library that it needs is missing, is passed over. UNSUPPORTED with the
 * loader's own words and the folders that were tried. It stays loaded until the process ends. */
QUERN_MUST_CHECK quern_status shared_library_open(void **out, const char *file,
                                                  const char *root_variable);

/* Where it was loaded from; "" when the loader does not tell. */
void shared_library_path(void *library, char *to, size_t bytes);

/* One function of it. UNSUPPORTED names both when it is not there. */
typedef void (*shared_function)(void);
QUERN_MUST_CHECK quern_status shared_library_find(shared_function *out, void *library,
                                                  const char *file, const char *name);

#endif
