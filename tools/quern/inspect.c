/* inspect.c - `quern inspect`: a run folder's configuration and tensors, or a file's tensors. */
#include "commands.h"
#include "json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CONFIG_BYTES_MAX = 1 << 20 };

/* A name from a file, at least 24 columns wide: what it holds does not command the terminal. */
static void write_plain(FILE *to, const char *text) {
    int written = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++, written++)
        fputc(*c < 0x20 || *c == 0x7f ? '?' : *c, to);
    fprintf(to, "%*s ", written < 24 ? 24 - written : 0, "");
}

static void write_entry_text(FILE *to, const quern_safetensors_entry *e) {
    char shape[192] = "()";
    size_t length = 0;
    for (int32_t i = 0; i < e->rank; i++)
        length += (size_t)snprintf(shape + length, sizeof shape - length, "%s%" PRId64,
                                   i == 0 ? "(" : ", ", e->dim[i]);
    if (e->rank > 0) snprintf(shape + length, sizeof shape - length, ")");
    write_plain(to, e->name);
    fprintf(to, "%-4s %-20s %zu bytes\n", quern_dtype_name(e->dtype), shape, e->bytes);
}

static void write_entry_json(FILE *to, const quern_safetensors_entry *e) {
    json j;
    json_begin(&j, to, " ");
    json_text(&j, "name", e->name);
    json_text(&j, "dtype", quern_dtype_name(e->dtype));
    json_key(&j, "shape");
    fputc('[', to);
    for (int32_t i = 0; i < e->rank; i++) fprintf(to, "%s%" PRId64, i > 0 ? ", " : "", e->dim[i]);
    fputc(']', to);
    json_count(&j, "bytes", (int64_t)e->bytes);
    json_end(&j);
}

static void write_tensors(FILE *to, const quern_safetensors *file, bool as_json) {
    const quern_safetensors_entry *entries = NULL;
    const quern_safetensors_note *notes = NULL;
    const int64_t count = quern_safetensors_entries(file, &entries);
    const int64_t note_count = quern_safetensors_notes(file, &notes);
    json j = {.to = to, .gap = " "};
    if (as_json) fputs("\"notes\": {", to);
    for (int64_t i = 0; i < note_count; i++) {
        if (as_json) {
            json_text(&j, notes[i].key, notes[i].value);
        } else {
            write_plain(to, notes[i].key);
            write_plain(to, notes[i].value);
            fputc('\n', to);
        }
    }
    if (as_json) fputs("}, \"tensors\": [", to);
    for (int64_t i = 0; i < count; i++) {
        if (as_json && i > 0) fputs(", ", to);
        if (as_json)
            write_entry_json(to, &entries[i]);
        else
            write_entry_text(to, &entries[i]);
    }
    if (as_json) fputc(']', to);
}

static quern_status inspect_file(FILE *to, const char *path, bool as_json) {
    quern_device *device = NULL;
    quern_safetensors *file = NULL;
    quern_status status = quern_device_create(
        &device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 1});
    if (status == QUERN_OK) status = quern_safetensors_open(&file, device, path);
    if (status == QUERN_OK) write_tensors(to, file, as_json);
    quern_safetensors_destroy(file);
    quern_device_destroy(device);
    return status;
}

/* config.json is shown as it is: quern wrote it to be read. */
static quern_status copy_config(FILE *to, const char *path) {
    char buffer[4096];
    size_t bytes = 0, total = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return quern_fail(QUERN_INPUT, "open %s: %s", path, strerror(errno));
    while ((bytes = fread(buffer, 1, sizeof buffer, file)) > 0 && total < CONFIG_BYTES_MAX) {
        fwrite(buffer, 1, bytes, to);
        total += bytes;
    }
    const bool broken = ferror(file) != 0;
    fclose(file);
    if (broken) return quern_fail(QUERN_INPUT, "read %s: %s", path, strerror(errno));
    if (total >= CONFIG_BYTES_MAX)
        return quern_fail(QUERN_INPUT, "%s: expected less than %d bytes", path, CONFIG_BYTES_MAX);
    return QUERN_OK;
}

static quern_status inspect_folder(FILE *to, const char *folder, bool as_json) {
    char config[4096], weights[4096];
    struct stat info;
    const int a = snprintf(config, sizeof config, "%s/config.json", folder);
    const int b = snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    if (a < 0 || b < 0 || (size_t)a >= sizeof config || (size_t)b >= sizeof weights)
        return quern_fail(QUERN_INVALID, "the path %.60s… is too long", folder);
    if (as_json) fputs("\"config\": ", to);
    const quern_status status = copy_config(to, config);
    if (status != QUERN_OK || stat(weights, &info) != 0) return status;
    if (as_json) fputs(", ", to);
    return inspect_file(to, weights, as_json);
}

int command_inspect(const options *o) {
    struct stat info;
    sheet s;
    if (stat(o->path, &info) != 0)
        return command_fail(quern_fail(QUERN_INPUT, "inspect %s: %s", o->path, strerror(errno)));
    quern_status status = sheet_open(&s);
    if (status != QUERN_OK) return command_fail(status);
    if (o->json) fputc('{', s.to);
    status = S_ISDIR(info.st_mode) ? inspect_folder(s.to, o->path, o->json)
                                   : inspect_file(s.to, o->path, o->json);
    if (o->json) fputs("}\n", s.to);
    if (status == QUERN_OK)
        status = sheet_print(&s);
    else
        sheet_release(&s);
    return status == QUERN_OK ? 0 : command_fail(status);
}
