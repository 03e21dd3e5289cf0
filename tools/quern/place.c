#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool path_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

quern_status path_join(char out[PATH_BYTES], const char *folder, const char *name) {
    const int length = snprintf(out, PATH_BYTES, "%s/%s", folder, name);
    if (length >= 0 && length < PATH_BYTES) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "the path %.60s… is too long", folder);
}

quern_status path_absolute(char out[PATH_BYTES], const char *path) {
    char here[PATH_BYTES];
    if (*path != '/') {
        if (getcwd(here, sizeof here)) return path_join(out, here, path);
        return quern_fail(QUERN_INPUT, "the working directory: %s", strerror(errno));
    }
    const int length = snprintf(out, PATH_BYTES, "%s", path);
    if (length >= 0 && length < PATH_BYTES) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "the path %.60s… is too long", path);
}

static quern_status sync_folder(const char *path) {
    const int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return quern_fail(QUERN_IO, "open %s: %s", path, strerror(errno));
    quern_status status = QUERN_OK;
    if (fsync(folder) != 0 && errno != EINVAL)
        status = quern_fail(QUERN_IO, "sync %s: %s", path, strerror(errno));
    close(folder);
    return status;
}

quern_status path_sync_name(const char *path) {
    char folder[PATH_BYTES];
    const int length = snprintf(folder, sizeof folder, "%s", path);
    if (length < 0 || length >= PATH_BYTES)
        return quern_fail(QUERN_INVALID, "the path %.60s… is too long", path);
    size_t end = (size_t)length;
    while (end > 1 && folder[end - 1] == '/') end--;
    while (end > 0 && folder[end - 1] != '/') end--;
    while (end > 1 && folder[end - 1] == '/') end--;
    folder[end] = '\0';
    return sync_folder(end > 0 ? folder : ".");
}

bool path_holds(const char *folder, const char *name) {
    char path[PATH_BYTES];
    struct stat info;
    const int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    return length >= 0 && length < PATH_BYTES && stat(path, &info) == 0;
}

/* "step-12"; behind the number `rest` may follow. */
static bool is_step(const char *name, const char *rest) {
    if (strncmp(name, "step-", 5) != 0) return false;
    const size_t digits = strspn(name + 5, "0123456789");
    return digits > 0 && strcmp(name + 5 + digits, rest) == 0;
}

/* One that was renamed aside counts: it stands in for a newer one that never got its name. */
bool place_has_checkpoints(const char *folder) {
    DIR *directory = opendir(folder);
    if (!directory) return false;
    bool found = false;
    for (const struct dirent *entry; !found && (entry = readdir(directory)) != NULL;)
        found = is_step(entry->d_name, "") || is_step(entry->d_name, ".replaced");
    closedir(directory);
    return found;
}

/* The last part of the path is named like a checkpoint. */
static bool is_named_step(const char *path) {
    char name[64];
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    if (end - begin >= sizeof name) return false;
    memcpy(name, path + begin, end - begin);
    name[end - begin] = '\0';
    return is_step(name, "");
}

static bool is_run(const char *path) {
    return path_holds(path, "config.json") || path_holds(path, "checkpoints") ||
           path_holds(path, "model.safetensors");
}

static quern_status find_folder(place *p) {
    quern_status status = QUERN_OK;
    if (path_holds(p->path, "manifest.json") || is_named_step(p->path)) {
        p->kind = PLACE_CHECKPOINT;
        return path_join(p->run, p->path, "../..");
    }
    if (is_run(p->path)) {
        p->kind = PLACE_RUN;
        memcpy(p->run, p->path, sizeof p->run);
        return path_join(p->checkpoints, p->path, "checkpoints");
    }
    if (!place_has_checkpoints(p->path))
        return quern_fail(QUERN_INPUT,
                          "%s: expected a run folder, checkpoints or a .safetensors file", p->path);
    p->kind = PLACE_CHECKPOINTS;
    memcpy(p->checkpoints, p->path, sizeof p->checkpoints);
    status = path_join(p->run, p->path, "..");
    return status;
}

quern_status place_find(place *out, const char *path) {
    struct stat info;
    *out = (place){0};
    const int length = snprintf(out->path, sizeof out->path, "%s", path);
    if (length < 0 || (size_t)length >= sizeof out->path)
        return quern_fail(QUERN_INVALID, "the path %.60s… is too long", path);
    if (stat(path, &info) != 0) return quern_fail(QUERN_INPUT, "%s: %s", path, strerror(errno));
    return S_ISDIR(info.st_mode) ? find_folder(out) : QUERN_OK;
}
