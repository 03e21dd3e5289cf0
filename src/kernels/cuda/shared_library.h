/* shared_library.h - finds and opens one of the vendor's shared libraries, in the layouts of the
 * toolkit, of the distributions and of the vendor's Python wheels. */
#ifndef QUERN_KERNELS_CUDA_SHARED_LIBRARY_H
#define QUERN_KERNELS_CUDA_SHARED_LIBRARY_H

#include "cuda.h"

/* `file` is a soname, "libcudnn.so.9"; `root_variable` names the environment variable of that
 * library's own prefix. Looked for in this order, by absolute path but for the last:
 *   each folder of $QUERN_CUDA_LIBRARY_PATH; lib and lib64 below $<root_variable> and $CUDA_HOME;
 *   the toolkit that this module was built with; wherever the loader looks.
 * UNSUPPORTED with the loader's own words. It stays loaded until the process ends. */
QUERN_MUST_CHECK quern_status shared_library_open(void **out, const char *file,
                                                  const char *root_variable);

/* One function of it. UNSUPPORTED names both when it is not there. */
typedef void (*shared_function)(void);
QUERN_MUST_CHECK quern_status shared_library_find(shared_function *out, void *library,
                                                  const char *file, const char *name);

#endif
