/* machine.c - cores, name and memory of this machine. Linux says the name and the free memory only
 * in files; a machine that does not tell gets a plain answer instead of a failure, because these
 * are for people to read. _GNU_SOURCE: sched_getaffinity. */
#define _GNU_SOURCE
#include "stream.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int32_t machine_core_count(void) {
    cpu_set_t usable;
    if (sched_getaffinity(0, sizeof usable, &usable) == 0) return (int32_t)CPU_COUNT(&usable);
    const long online = sysconf(_SC_NPROCESSORS_ONLN); /* more cores than a cpu_set_t holds */
    return online > 0 ? (int32_t)online : 1;
}

/* The beginning of a file, terminated; "" when it cannot be read. */
static void read_start(const char *path, char *to, size_t bytes) {
    size_t used = 0;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t n;
        while (used + 1 < bytes && (n = read(file, to + used, bytes - 1 - used)) > 0)
            used += (size_t)n;
        close(file);
    }
    to[used] = 0;
}

/* What follows "key<blanks>:<blanks>" at a line's start, or NULL. */
static const char *value_of(const char *lines, const char *key) {
    const size_t length = strlen(key);
    for (const char *line = lines; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) != 0) continue;
        const char *value = line + length + strspn(line + length, " \t");
        if (*value == ':') return value + 1 + strspn(value + 1, " \t");
    }
    return NULL;
}

void machine_name(char *name, size_t bytes) {
    char lines[4096];
    read_start("/proc/cpuinfo", lines, sizeof lines);
    const char *value = value_of(lines, "model name");
    if (value == NULL) value = "CPU";
    snprintf(name, bytes, "%.*s", (int)strcspn(value, "\n"), value);
}

void machine_memory(int64_t *total_bytes, int64_t *free_bytes) {
    const int64_t page = sysconf(_SC_PAGESIZE), pages = sysconf(_SC_PHYS_PAGES);
    *total_bytes = page > 0 && pages > 0 ? page * pages : 0;
    char lines[4096];
    read_start("/proc/meminfo", lines, sizeof lines);
    const char *kib = value_of(lines, "MemAvailable");
    *free_bytes = kib != NULL ? (int64_t)strtoll(kib, NULL, 10) * 1024 : *total_bytes;
}
