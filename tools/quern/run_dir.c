/* run_dir.c - an empty folder is taken; one with content is somebody's run and refused, unless it
 * is to be resumed. The lock is the kernel's, on the folder itself: it ends with the process,
 * however that ends, and leaves no file. */
#include "run_dir.h"
#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RUN_NUMBER_MAX = 99999 };

#define PROBE ".probe"

/* *found: the name of any entry, "" when there is none. A run that was killed while it probed left
 * nothing. */
static quern_status look_into(const char *path, char found[256]) {
    DIR *folder = opendir(path);
    if (!folder) {
        const quern_status status = errno == ENOTDIR ? QUERN_INVALID : QUERN_IO;
        return quern_fail(status, "run directory %s: %s", path, strerror(errno));
    }
    const struct dirent *entry;
    found[0] = '\0';
    while (!found[0] && (entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, PROBE) != 0)
            snprintf(found, 256, "%s", entry->d_name);
    closedir(folder);
    return QUERN_OK;
}

static quern_status check_content(run_dir *d, bool resume) {
    char found[256];
    const quern_status status = look_into(d->path, found);
    if (status != QUERN_OK || !found[0]) return status;
    d->earlier = path_holds(d->path, "config.json") || path_holds(d->path, "metrics.jsonl") ||
                 path_holds(d->path, "checkpoints");
    if (resume && d->earlier) return QUERN_OK;
    return quern_fail(QUERN_INVALID,
                      "run directory %s: expected an empty or new folder%s, found %s%s", d->path,
                      resume ? ", or an earlier run" : "", found,
                      d->earlier ? "; --resume goes on with the run in it" : "");
}

/* Where the file system knows no locks, there is none. */
static quern_status lock(run_dir *d) {
    d->lock = open(d->path, O_RDONLY | O_CLOEXEC);
    if (d->lock < 0) return quern_fail(QUERN_IO, "run directory %s: %s", d->path, strerror(errno));
    if (flock(d->lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "run directory %s: another process is training in it",
                      d->path);
}

/* Creates every missing folder of `path`, names synced; *made: whether the last one is new. */
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
        const quern_status status = *made ? path_sync_name(path) : QUERN_OK;
        *c = cut;
        if (cut == '\0' || status != QUERN_OK) return status;
    }
}

/* A folder may say that it is writable and still refuse: only a written byte tells. */
static quern_status probe(const run_dir *d) {
    char path[2100];
    snprintf(path, sizeof path, "%s/" PROBE, d->path);
    FILE *file = fopen(path, "wb");
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

static quern_status open_given(run_dir *d, const char *path, bool resume) {
    const int length = snprintf(d->path, sizeof d->path, "%s", path);
    if (length < 0 || (size_t)length >= sizeof d->path)
        return quern_fail(QUERN_INVALID, "--run-dir: the path is longer than %zu bytes",
                          sizeof d->path - 1);
    quern_status status = make_folders(d->path, &d->made);
    if (status == QUERN_OK) status = lock(d);
    return status == QUERN_OK ? check_content(d, resume) : status;
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
        if (d->made) {
            status = path_sync_name(d->path);
            return status == QUERN_OK ? lock(d) : status;
        }
        if (errno != EEXIST)
            status = quern_fail(QUERN_IO, "run directory %s: mkdir: %s; --run-dir names another",
                                d->path, strerror(errno));
    }
    return status != QUERN_OK ? status : quern_fail(QUERN_IO, "runs/: no free number is left");
}

quern_status run_dir_open(run_dir *d, const options *o) {
    *d = (run_dir){.lock = -1};
    quern_status status = o->run_dir ? open_given(d, o->run_dir, o->resume) : open_numbered(d, o);
    if (status == QUERN_OK) status = probe(d);
    if (status == QUERN_OK) return QUERN_OK;
    if (d->made) rmdir(d->path);
    run_dir_release(d);
    return status;
}

void run_dir_undo(const run_dir *d, const char *const *names) {
    char path[PATH_BYTES];
    if (d->earlier) return;
    for (; *names; names++)
        if (path_join(path, d->path, *names) == QUERN_OK) remove(path);
    if (d->made) rmdir(d->path);
}

void run_dir_release(run_dir *d) {
    if (d->lock >= 0) close(d->lock);
    d->lock = -1;
}
