#include "library_search.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifndef QUERN_CUDA_LIBRARY_DIR
#define QUERN_CUDA_LIBRARY_DIR "/usr/local/cuda/lib64"
#endif

/* The most versions of Python below one root; a folder with more is somebody's mistake. */
enum { PATH_BYTES = 4096, PYTHON_MAX = 32 };

typedef struct search {
    library_visit visit;
    void *context;
} search;

/* folder/below, where that is an absolute path that fits. */
static bool visit_below(const search *s, const char *folder, const char *below) {
    char path[PATH_BYTES];
    if (folder == NULL || folder[0] != '/') return false;
    const int length = snprintf(path, sizeof path, "%s%s", folder, below);
    return length > 0 && length < PATH_BYTES && s->visit(s->context, path);
}

static bool visit_list(const search *s, const char *list) {
    while (list != NULL && *list != 0) {
        const size_t length = strcspn(list, ":");
        char folder[PATH_BYTES];
        if (length < sizeof folder) {
            memcpy(folder, list, length);
            folder[length] = 0;
            if (visit_below(s, folder, "")) return true;
        }
        list += length + (list[length] == ':');
    }
    return false;
}

static bool visit_prefix(const search *s, const char *prefix) {
    return visit_below(s, prefix, "/lib") || visit_below(s, prefix, "/lib64");
}

static bool is_folder(const char *path) {
    struct stat found;
    return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

/* packages: a site-packages or dist-packages folder. */
static bool visit_wheels(const search *s, const char *packages) {
    static const char *const parts[] = {"cu13", "cublas", "cudnn", "nccl"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char path[PATH_BYTES];
        const int length = snprintf(path, sizeof path, "%s/nvidia/%s/lib", packages, parts[i]);
        if (length > 0 && length < PATH_BYTES && is_folder(path) && s->visit(s->context, path))
            return true;
    }
    return false;
}

static bool visit_python(const search *s, const char *lib, const char *python) {
    static const char *const kinds[] = {"site-packages", "dist-packages"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char path[PATH_BYTES];
        const int length = snprintf(path, sizeof path, "%s/%s/%s", lib, python, kinds[i]);
        if (length > 0 && length < PATH_BYTES && visit_wheels(s, path)) return true;
    }
    return false;
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* The Pythons of `lib` in the order of their names, which is not that of the disk. */
static bool visit_pythons(const search *s, const char *lib) {
    char names[PYTHON_MAX][32];
    size_t count = 0;
    DIR *folder = opendir(lib);
    if (folder == NULL) return false;
    for (const struct dirent *e = readdir(folder); e != NULL && count < PYTHON_MAX;
         e = readdir(folder))
        if (strncmp(e->d_name, "python3", 7) == 0 && strlen(e->d_name) < sizeof names[0]) {
            memcpy(names[count], e->d_name, strlen(e->d_name) + 1);
            count++;
        }
    closedir(folder);
    qsort(names, count, sizeof names[0], by_name);
    for (size_t i = 0; i < count; i++)
        if (visit_python(s, lib, names[i])) return true;
    return false;
}

static bool visit_root(const search *s, const char *root, const char *below) {
    char lib[PATH_BYTES];
    if (root == NULL || root[0] != '/') return false;
    const int length = snprintf(lib, sizeof lib, "%s%s/lib", root, below);
    return length > 0 && length < PATH_BYTES && visit_pythons(s, lib);
}

/* An environment that is switched on: Conda's own packages lie in its lib. */
static bool visit_environment(const search *s, const char *root) {
    return visit_below(s, root, "/lib") || visit_root(s, root, "");
}

bool library_search(const char *root_variable, library_visit visit, void *context) {
    const search s = {.visit = visit, .context = context};
    return visit_list(&s, getenv("QUERN_CUDA_LIBRARY_PATH")) ||
           visit_prefix(&s, getenv(root_variable)) || visit_prefix(&s, getenv("CUDA_HOME")) ||
           visit_below(&s, QUERN_CUDA_LIBRARY_DIR, "") || visit(context, "") ||
           visit_environment(&s, getenv("VIRTUAL_ENV")) ||
           visit_environment(&s, getenv("CONDA_PREFIX")) ||
           visit_root(&s, getenv("HOME"), "/.local") || visit_root(&s, "/usr/local", "") ||
           visit_root(&s, "/usr", "");
}
