#include "shared_library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef QUERN_CUDA_LIBRARY_DIR
#define QUERN_CUDA_LIBRARY_DIR "/usr/local/cuda/lib64"
#endif

enum { PATH_BYTES = 4096 };

static void *open_in(const char *folder, size_t folder_length, const char *below,
                     const char *file) {
    char path[PATH_BYTES];
    if (folder_length == 0 || folder[0] != '/' || folder_length >= PATH_BYTES) return NULL;
    const int length =
        snprintf(path, sizeof path, "%.*s%s/%s", (int)folder_length, folder, below, file);
    if (length < 0 || length >= PATH_BYTES) return NULL;
    return dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

static void *open_in_list(const char *list, const char *file) {
    void *library = NULL;
    while (list != NULL && *list != 0 && library == NULL) {
        const size_t length = strcspn(list, ":");
        library = open_in(list, length, "", file);
        list += length + (list[length] == ':');
    }
    return library;
}

static void *open_below(const char *root, const char *file) {
    if (root == NULL) return NULL;
    void *library = open_in(root, strlen(root), "/lib", file);
    return library != NULL ? library : open_in(root, strlen(root), "/lib64", file);
}

quern_status shared_library_open(void **out, const char *file, const char *root_variable) {
    *out = open_in_list(getenv("QUERN_CUDA_LIBRARY_PATH"), file);
    if (*out == NULL) *out = open_below(getenv(root_variable), file);
    if (*out == NULL) *out = open_below(getenv("CUDA_HOME"), file);
    if (*out == NULL)
        *out = open_in(QUERN_CUDA_LIBRARY_DIR, strlen(QUERN_CUDA_LIBRARY_DIR), "", file);
    if (*out == NULL) *out = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (*out != NULL) return QUERN_OK;
    const char *words = dlerror();
    return cuda_fail(QUERN_UNSUPPORTED,
                     "%s cannot be loaded (%s); name its folder in "
                     "QUERN_CUDA_LIBRARY_PATH",
                     file, words != NULL ? words : "no reason given");
}

quern_status shared_library_find(shared_function *out, void *library, const char *file,
                                 const char *name) {
    void *symbol = dlsym(library, name);
    if (symbol == NULL) return cuda_fail(QUERN_UNSUPPORTED, "%s has no function %s", file, name);
    memcpy(out, &symbol, sizeof *out); /* ISO C has no cast from object to function */
    return QUERN_OK;
}
