/* run_dir.c - an empty folder is taken, one with content is somebody's run and refused. */
#include "run_dir.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RUN_NUMBER_MAX = 99999 };

static quern_status check_empty(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) {
        const quern_status status = errno == ENOTDIR ? QUERN_INVALID : QUERN_IO;
        return quern_fail(status, "run directory %s: %s", path, strerror(errno));
    }
    const struct dirent *entry;
    char found[256] = "";
    while (!found[0] && (entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            snprintf(found, sizeof found, "%s", entry->d_name);
    closedir(folder);
    if (!found[0]) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "run directory %s: expected an empty or new folder, found %s",
                      path, found);
}

/* Creates every missing folder of `path`; *made says whether the last one is new. */
static quern_status make_folders(char *path, bool *made) {
    *made = false;
    for (char *c = path + 1;; c++) {
        if (*c != '/' && *c != '\0') continue;
        const char cut = *c;
        *c = '\0';
        const int failed = mkdir(path, 0777);
        const int cause = errno;
        *made = failed == 0;
        if (failed && cause != EEXIST)
            return quern_fail(QUERN_IO, "run directory %s: mkdir: %s", path, strerror(cause));
        *c = cut;
        if (cut == '\0') return QUERN_OK;
    }
}

/* A folder may say that it is writable and still refuse: only a written byte tells. */
static quern_status probe(const run_dir *d) {
    char path[2100];
    snprintf(path, sizeof path, "%s/.probe", d->path);
    FILE *file = fopen(path, "wbx");
    bool written = file && fputc('q', file) != EOF && fflush(file) == 0;
    int cause = errno;
    if (written && fsync(fileno(file)) != 0 && errno != EINVAL) {
        written = false;
        cause = errno;
    }
    if (file) {
        fclose(file);
        unlink(path);
    }
    if (written) return QUERN_OK;
    return quern_fail(QUERN_IO, "run directory %s: cannot write: %s", d->path, strerror(cause));
}

static quern_status open_given(run_dir *d, const char *path) {
    const int length = snprintf(d->path, sizeof d->path, "%s", path);
    if (length < 0 || (size_t)length >= sizeof d->path)
        return quern_fail(QUERN_INVALID, "--run-dir: the path is longer than %zu bytes",
                          sizeof d->path - 1);
    quern_status status = make_folders(d->path, &d->made);
    if (status == QUERN_OK && !d->made) status = check_empty(d->path);
    return status;
}

/* "fashion-mnist" of "fashion-mnist", "my_set" of "/data/my_set.csv". */
static void short_name(char *out, size_t bytes, const char *data) {
    size_t end = strlen(data);
    while (end > 1 && data[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && data[start - 1] != '/') start--;
    snprintf(out, bytes, "%.*s", (int)(end - start), data + start);
    char *dot = strrchr(out, '.');
    if (dot && dot > out) *dot = '\0';
}

static quern_status open_numbered(run_dir *d, const options *o) {
    char name[64], parent[] = "runs";
    bool made = false;
    short_name(name, sizeof name, o->data);
    quern_status status = make_folders(parent, &made);
    for (int i = 1; i <= RUN_NUMBER_MAX && status == QUERN_OK; i++) {
        snprintf(d->path, sizeof d->path, "runs/%s-%s-%03d", o->model, name, i);
        d->made = mkdir(d->path, 0777) == 0;
        if (d->made) return QUERN_OK;
        if (errno != EEXIST)
            status = quern_fail(QUERN_IO, "run directory %s: mkdir: %s; --run-dir names another",
                                d->path, strerror(errno));
    }
    return status != QUERN_OK ? status : quern_fail(QUERN_IO, "runs/: no free number is left");
}

quern_status run_dir_open(run_dir *d, const options *o) {
    *d = (run_dir){0};
    quern_status status = o->run_dir ? open_given(d, o->run_dir) : open_numbered(d, o);
    if (status == QUERN_OK) status = probe(d);
    if (status != QUERN_OK && d->made) rmdir(d->path);
    return status;
}

quern_status run_dir_file(const run_dir *d, const char *name, char *out, size_t bytes) {
    const int length = snprintf(out, bytes, "%s/%s", d->path, name);
    if (length < 0 || (size_t)length >= bytes)
        return quern_fail(QUERN_INVALID, "run directory %s: the path is too long", d->path);
    return QUERN_OK;
}

void run_dir_undo(const run_dir *d, const char *const *names) {
    char path[4096];
    for (; *names; names++)
        if (run_dir_file(d, *names, path, sizeof path) == QUERN_OK) unlink(path);
    if (d->made) rmdir(d->path);
}
