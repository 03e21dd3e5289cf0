/* inspect.c - `quern inspect`: a run folder's configuration, checkpoints and tensors, a folder of
 * checkpoints, one checkpoint, or a file's tensors. */
#include "inspect.h"
#include "commands.h"
#include "place.h"
#include "recorded.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CONFIG_BYTES_MAX = 1 << 20 };

void plain_write(FILE *to, const char *text) {
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
    plain_write(to, e->name);
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

static void write_notes(FILE *to, const quern_safetensors *file, bool as_json) {
    const quern_safetensors_note *notes = NULL;
    const int64_t note_count = quern_safetensors_notes(file, &notes);
    json j = {.to = to, .gap = " "};
    if (as_json) fputs("\"notes\": {", to);
    for (int64_t i = 0; i < note_count; i++) {
        if (as_json) {
            json_text(&j, notes[i].key, notes[i].value);
        } else {
            plain_write(to, notes[i].key);
            plain_write(to, notes[i].value);
            fputc('\n', to);
        }
    }
    if (as_json) fputs("}", to);
}

void tensor_list_write(FILE *to, const quern_safetensors *file, bool as_json) {
    const quern_safetensors_entry *entries = NULL;
    const int64_t count = quern_safetensors_entries(file, &entries);
    if (as_json) fputc('[', to);
    for (int64_t i = 0; i < count; i++) {
        if (as_json && i > 0) fputs(", ", to);
        if (as_json)
            write_entry_json(to, &entries[i]);
        else
            write_entry_text(to, &entries[i]);
    }
    if (as_json) fputc(']', to);
}

void tensors_write(FILE *to, const quern_safetensors *file, bool as_json) {
    write_notes(to, file, as_json);
    if (as_json) fputs(", \"tensors\": ", to);
    tensor_list_write(to, file, as_json);
}

static quern_status inspect_file(FILE *to, quern_device *device, const char *path, bool as_json) {
    quern_safetensors *file = NULL;
    const quern_status status = quern_safetensors_open(&file, device, path);
    if (status == QUERN_OK) tensors_write(to, file, as_json);
    quern_safetensors_destroy(file);
    return status;
}

/* config.json is shown as it is, once it is known to be JSON: quern wrote it to be read. */
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

static quern_status write_config(FILE *to, const char *folder, bool as_json) {
    char path[PATH_BYTES];
    recorded *config = NULL;
    quern_status status = recorded_open(&config, folder);
    if (as_json) fputs("\"config\": ", to);
    if (status == QUERN_OK && config) {
        status = path_join(path, folder, "config.json");
        if (status == QUERN_OK) status = copy_config(to, path);
    } else if (as_json) {
        fputs("null", to);
    }
    recorded_release(config);
    return status;
}

static quern_status inspect_run(FILE *to, quern_device *device, const place *p, bool as_json,
                                quern_status *usable) {
    char weights[PATH_BYTES];
    quern_status status = write_config(to, p->run, as_json);
    if (status == QUERN_OK && as_json) fputs(", \"checkpoints\": ", to);
    if (status == QUERN_OK && path_is_folder(p->checkpoints))
        status = checkpoints_write(to, device, p->checkpoints, as_json, usable);
    else if (as_json)
        fputs("[]", to);
    if (status != QUERN_OK || !path_holds(p->run, "model.safetensors")) return status;
    if (as_json) fputs(", ", to);
    status = path_join(weights, p->run, "model.safetensors");
    return status == QUERN_OK ? inspect_file(to, device, weights, as_json) : status;
}

static quern_status inspect(FILE *to, const place *p, bool as_json, quern_status *usable) {
    quern_device *device = NULL;
    quern_status status = quern_device_create(
        &device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 1});
    if (status != QUERN_OK) return status;
    if (as_json) fputc('{', to);
    switch (p->kind) {
    case PLACE_FILE: status = inspect_file(to, device, p->path, as_json); break;
    case PLACE_RUN: status = inspect_run(to, device, p, as_json, usable); break;
    case PLACE_CHECKPOINT: status = checkpoint_write(to, device, p->path, as_json); break;
    case PLACE_CHECKPOINTS:
        if (as_json) fputs("\"checkpoints\": ", to);
        status = checkpoints_write(to, device, p->checkpoints, as_json, usable);
        break;
    }
    if (as_json) fputs("}\n", to);
    quern_device_destroy(device);
    return status;
}

/* Where nothing was printed yet, the object that says why. */
static int fail(const options *o, quern_status status) {
    sheet s;
    json j;
    if (o->json && sheet_open(&s) == QUERN_OK) {
        json_begin(&j, s.to, " ");
        json_text(&j, "status", command_status_name(status));
        json_text(&j, "reason", quern_error());
        json_end(&j);
        fputc('\n', s.to);
        const quern_status printed = sheet_print(&s);
        if (printed != QUERN_OK) status = printed;
    }
    return command_fail(status);
}

/* A list without a usable checkpoint is a result as well: it is printed, the exit code tells. */
int command_inspect(const options *o) {
    place p;
    sheet s;
    quern_status usable = QUERN_OK, status = place_find(&p, o->path);
    if (status == QUERN_OK) status = sheet_open(&s);
    if (status != QUERN_OK) return fail(o, status);
    status = inspect(s.to, &p, o->json, &usable);
    if (status != QUERN_OK) {
        sheet_release(&s);
        return fail(o, status);
    }
    status = sheet_print(&s);
    if (status == QUERN_OK && usable != QUERN_OK)
        status = quern_fail(usable, "%s: no checkpoint there that a run could go on from",
                            p.checkpoints);
    return status == QUERN_OK ? 0 : command_fail(status);
}
