#include "temporary.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool temporary_begin(temporary *t) {
    const char *below = getenv("TMPDIR");
    snprintf(t->path, sizeof t->path, "%.200s/quern-test-XXXXXX",
             below != NULL && below[0] == '/' ? below : "/tmp");
    return mkdtemp(t->path) != NULL;
}

static void remove_tree(const char *path) {
    DIR *directory = opendir(path);
    for (struct dirent *e; directory != NULL && (e = readdir(directory)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char below[4096];
        const int length = snprintf(below, sizeof below, "%s/%s", path, e->d_name);
        if (length < 0 || (size_t)length >= sizeof below) continue;
        if (unlink(below) != 0) remove_tree(below);
    }
    if (directory != NULL) closedir(directory);
    rmdir(path);
}

void temporary_end(temporary *t) {
    if (t->path[0] != 0) remove_tree(t->path);
    t->path[0] = 0;
}

const char *temporary_join(temporary *t, const char *name) {
    snprintf(t->joined, sizeof t->joined, "%s/%.200s", t->path, name);
    return t->joined;
}

bool temporary_write(temporary *t, const char *name, const void *from, size_t bytes) {
    FILE *file = fopen(temporary_join(t, name), "wb");
    if (file == NULL) return false;
    const bool written = bytes == 0 || fwrite(from, 1, bytes, file) == bytes;
    return fclose(file) == 0 && written;
}

long temporary_read(temporary *t, const char *name, void *to, size_t capacity) {
    FILE *file = fopen(temporary_join(t, name), "rb");
    if (file == NULL) return -1;
    (void)!fread(to, 1, capacity, file);
    const long bytes = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    fclose(file);
    return bytes;
}
