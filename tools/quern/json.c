/* json.c - writing. */
#include "json.h"
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Bytes of the UTF-8 sequence at s, 0 when it is none (Unicode 15, table 3-7). */
static size_t utf8_sequence(const unsigned char *s) {
    if (s[0] < 0x80) return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4) return 0;
    const size_t bytes = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    const unsigned low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    const unsigned high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < bytes; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    return bytes;
}

/* A path may hold any byte, JSON only UTF-8: what is none becomes U+FFFD. */
void json_write_text(FILE *to, const char *value) {
    if (!value) {
        fputs("null", to);
        return;
    }
    fputc('"', to);
    for (const unsigned char *c = (const unsigned char *)value; *c;) {
        const size_t bytes = utf8_sequence(c);
        if (*c == '"' || *c == '\\')
            fprintf(to, "\\%c", *c);
        else if (*c < 0x20 || *c == 0x7f)
            fprintf(to, "\\u%04x", *c);
        else if (bytes > 0)
            fwrite(c, 1, bytes, to);
        else
            fputs("\\ufffd", to);
        c += bytes > 0 ? bytes : 1;
    }
    fputc('"', to);
}

void json_write_number(FILE *to, double value) {
    char text[40];
    if (!isfinite(value)) {
        fputs("null", to);
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    fputs(text, to);
}

double unsigned_nan(double value) { return isnan(value) ? fabs(value) : value; }

void json_begin(json *j, FILE *to, const char *gap) {
    *j = (json){.to = to, .gap = gap};
    fputc('{', to);
}

void json_key(json *j, const char *key) {
    const bool several_lines = strchr(j->gap, '\n') != NULL;
    if (j->field_count > 0) fputc(',', j->to);
    if (j->field_count++ > 0 || several_lines) fputs(j->gap, j->to);
    json_write_text(j->to, key);
    fputs(": ", j->to);
}

void json_text(json *j, const char *key, const char *value) {
    json_key(j, key);
    json_write_text(j->to, value);
}

void json_number(json *j, const char *key, double value) {
    json_key(j, key);
    json_write_number(j->to, value);
}

void json_count(json *j, const char *key, int64_t value) {
    json_key(j, key);
    fprintf(j->to, "%" PRId64, value);
}

void json_flag(json *j, const char *key, bool value) {
    json_key(j, key);
    fputs(value ? "true" : "false", j->to);
}

void json_end(json *j) { fputs(strchr(j->gap, '\n') ? "\n}" : "}", j->to); }

quern_status sheet_open(sheet *s) {
    *s = (sheet){0};
    s->to = open_memstream(&s->data, &s->bytes);
    if (!s->to) return quern_fail(QUERN_HOST_MEMORY, "no memory for a text: %s", strerror(errno));
    return QUERN_OK;
}

quern_status sheet_finish(sheet *s) {
    FILE *to = s->to;
    if (!to) return QUERN_OK;
    const int broken = ferror(to);
    s->to = NULL;
    if (fclose(to) != 0 || broken)
        return quern_fail(QUERN_HOST_MEMORY, "no memory for a text of %zu bytes", s->bytes);
    return QUERN_OK;
}

void sheet_release(sheet *s) {
    if (s->to) fclose(s->to);
    free(s->data);
    *s = (sheet){0};
}

static quern_status write_all(int file, const char *name, const char *data, size_t bytes) {
    while (bytes > 0) {
        const ssize_t written = write(file, data, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return quern_fail(QUERN_IO, "write %s: %s", name, strerror(errno));
        data += written;
        bytes -= (size_t)written;
    }
    return QUERN_OK;
}

quern_status sheet_print(sheet *s) {
    quern_status status = sheet_finish(s);
    if (status == QUERN_OK) status = write_all(STDOUT_FILENO, "standard output", s->data, s->bytes);
    sheet_release(s);
    return status;
}

static quern_status write_new(const sheet *s, const char *path) {
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0) return quern_fail(QUERN_IO, "create %s: %s", path, strerror(errno));
    quern_status status = write_all(file, path, s->data, s->bytes);
    if (status == QUERN_OK && fsync(file) != 0 && errno != EINVAL)
        status = quern_fail(QUERN_IO, "sync %s: %s", path, strerror(errno));
    if (close(file) != 0 && status == QUERN_OK)
        status = quern_fail(QUERN_IO, "close %s: %s", path, strerror(errno));
    return status;
}

/* Killed at any moment, the process leaves the file before or the new one; so does a power cut, and
 * one behind it the new one. */
static quern_status save(const sheet *s, const char *path) {
    char part[4096];
    const int length = snprintf(part, sizeof part, "%s.part", path);
    if (length < 0 || (size_t)length >= sizeof part)
        return quern_fail(QUERN_INVALID, "the path %.60s… is too long", path);
    quern_status status = write_new(s, part);
    if (status == QUERN_OK && rename(part, path) != 0)
        status = quern_fail(QUERN_IO, "rename %s: %s", part, strerror(errno));
    if (status != QUERN_OK) {
        unlink(part);
        return status;
    }
    return path_sync_name(path);
}

quern_status sheet_save(sheet *s, const char *path) {
    quern_status status = sheet_finish(s);
    if (status == QUERN_OK) status = save(s, path);
    sheet_release(s);
    return status;
}
