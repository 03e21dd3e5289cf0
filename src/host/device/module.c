/* module.c - loads libquern-cuda.so. It is looked for in $QUERN_BACKEND_PATH, beside the core
 * library (or the program that the core is linked into), and in the installed library directory,
 * in that order and always by absolute path: never in the working directory, where anybody may
 * have put a file of that name. _GNU_SOURCE: dladdr. */
#define _GNU_SOURCE
#include "module.h"

#include "../base/memory.h"
#include "../base/report.h"
#include "../base/text.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef QUERN_MODULE_DIR
#define QUERN_MODULE_DIR ""
#endif
#define MODULE_FILE "libquern-cuda.so"
#define MODULE_PATH_MAX 4096
#define FILE_PATH_MAX (MODULE_PATH_MAX + 32)

static const quern_services services = {
    .fail = quern_fail,
    .error = quern_error,
    .log = log_write,
    .allocate = memory_allocate,
    .release = memory_release,
    .trace_begin = trace_begin,
    .trace_end = trace_end,
};

/* The folder of the file that holds this code; "" when it cannot be told. */
static void own_folder(char folder[MODULE_PATH_MAX]) {
    Dl_info here;
    folder[0] = 0;
    if (dladdr(&services, &here) != 0 && here.dli_fname != NULL && here.dli_fname[0] == '/') {
        const size_t length = strlen(here.dli_fname);
        if (length < MODULE_PATH_MAX) memcpy(folder, here.dli_fname, length + 1);
    } else { /* a program's own name may be relative to a directory that it has left */
        const ssize_t length = readlink("/proc/self/exe", folder, MODULE_PATH_MAX - 1);
        folder[length > 0 ? length : 0] = 0;
    }
    char *slash = strrchr(folder, '/');
    if (slash != NULL) *slash = 0;
}

/* The module's path in the folder, or why it has none. */
static const char *no_path_in(const char *folder, char path[FILE_PATH_MAX]) {
    if (folder[0] != '/') return " is not an absolute path";
    const int length = snprintf(path, FILE_PATH_MAX, "%s/" MODULE_FILE, folder);
    return length > 0 && length < FILE_PATH_MAX ? NULL : " is too long a path";
}

/* Adds the reason to `reasons` when there is no module to be had from this folder. */
static void *open_in(const char *folder, text *reasons) {
    char path[FILE_PATH_MAX];
    if (folder == NULL || folder[0] == 0) return NULL;
    const char *separator = reasons->length > 0 ? "; " : "";
    const char *why = no_path_in(folder, path);
    if (why != NULL) {
        text_add(reasons, "%s%.80s%s", separator, folder, why);
        return NULL;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == NULL) {
        const char *words = dlerror();
        text_add(reasons, "%s%s", separator, words != NULL ? words : path);
    }
    return library;
}

static void *open_library(text *reasons) {
    void *library = open_in(getenv("QUERN_BACKEND_PATH"), reasons);
    if (library == NULL) {
        char folder[MODULE_PATH_MAX];
        own_folder(folder);
        library = open_in(folder, reasons);
    }
    return library != NULL ? library : open_in(QUERN_MODULE_DIR, reasons);
}

/* Finds the entry `name` and leaves it in *out, an object pointer: ISO C has no cast from one to a
 * function, so the caller copies it. The library stays mapped: RTLD_NODELETE. */
static quern_status find_entry(void **out, const char *name) {
    char buffer[900];
    text reasons = text_over(buffer, sizeof buffer);
    void *library = open_library(&reasons);
    if (library == NULL)
        return quern_fail(QUERN_NO_DEVICE,
                          "the CUDA module cannot be loaded: %s; the preset cuda builds it",
                          buffer);
    *out = dlsym(library, name);
    dlclose(library);
    if (*out != NULL) return QUERN_OK;
    return quern_fail(QUERN_UNSUPPORTED, "the CUDA module has no entry %s", name);
}

static bool is_in(const char *folder) {
    char path[FILE_PATH_MAX];
    return folder != NULL && folder[0] != 0 && no_path_in(folder, path) == NULL &&
           access(path, F_OK) == 0;
}

bool module_is_there(void) {
    char folder[MODULE_PATH_MAX];
    own_folder(folder);
    return is_in(getenv("QUERN_BACKEND_PATH")) || is_in(folder) || is_in(QUERN_MODULE_DIR);
}

quern_status module_open(const quern_backend **out) {
    void *symbol;
    module_entry entry;
    *out = NULL;
    QUERN_TRY(find_entry(&symbol, MODULE_ENTRY));
    memcpy(&entry, &symbol, sizeof entry);
    *out = entry(MODULE_ABI, module_op_table_hash(), &services);
    return *out != NULL ? QUERN_OK : error_prefix(QUERN_UNSUPPORTED, "the CUDA module");
}

quern_status module_tools_open(const module_tools **out) {
    void *symbol;
    module_tools_entry entry;
    *out = NULL;
    QUERN_TRY(find_entry(&symbol, MODULE_TOOLS_ENTRY));
    memcpy(&entry, &symbol, sizeof entry);
    *out = entry(MODULE_ABI, module_op_table_hash(), &services);
    return *out != NULL ? QUERN_OK : error_prefix(QUERN_UNSUPPORTED, "the CUDA module");
}
