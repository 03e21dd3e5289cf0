/* shared_library.c - _GNU_SOURCE: dlinfo. */
#define _GNU_SOURCE
#include "shared_library.h"

#include "library_search.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, TRIED_BYTES = 700 };

typedef struct opening {
    const char *file;
    void *library;
    char tried[TRIED_BYTES]; /* for the sentence */
    size_t length;
    bool full;
} opening;

/* Cut between two entries, never inside one. */
static void note(opening *o, const char *where, const char *why) {
    const size_t left = sizeof o->tried - o->length;
    const int added = snprintf(o->tried + o->length, left, "%s%s%s%s", o->length > 0 ? "; " : "",
                               where, why[0] != 0 ? ": " : "", why);
    if (added >= 0 && (size_t)added < left && !o->full) {
        o->length += (size_t)added;
        return;
    }
    o->tried[o->length] = 0;
    o->full = true;
}

static bool try_folder(void *context, const char *folder) {
    opening *o = context;
    char path[PATH_BYTES];
    const bool anywhere = folder[0] == 0;
    const int length = snprintf(path, sizeof path, "%s%s%s", folder, anywhere ? "" : "/", o->file);
    if (length < 0 || length >= PATH_BYTES) return false;
    if (!anywhere && access(path, F_OK) != 0) {
        note(o, folder, "");
        return false;
    }
    o->library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (o->library != NULL) return true;
    const char *words = dlerror();
    note(o, anywhere ? "the loader" : folder, words != NULL ? words : "no reason given");
    return false;
}

quern_status shared_library_open(void **out, const char *file, const char *root_variable) {
    opening o = {.file = file};
    const bool found = library_search(root_variable, try_folder, &o);
    *out = o.library;
    if (found) return QUERN_OK;
    return cuda_fail(QUERN_UNSUPPORTED,
                     "%s cannot be loaded; name its folder in QUERN_CUDA_LIBRARY_PATH (tried: "
                     "%s%s)",
                     file, o.tried, o.full ? "; and more" : "");
}

void shared_library_path(void *library, char *to, size_t bytes) {
    struct link_map *map = NULL;
    const bool told = dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map != NULL;
    snprintf(to, bytes, "%s", told && map->l_name != NULL ? map->l_name : "");
}

quern_status shared_library_find(shared_function *out, void *library, const char *file,
                                 const char *name) {
    void *symbol = dlsym(library, name);
    if (symbol == NULL) return cuda_fail(QUERN_UNSUPPORTED, "%s has no function %s", file, name);
    memcpy(out, &symbol, sizeof *out); /* ISO C has no cast from object to function */
    return QUERN_OK;
}
