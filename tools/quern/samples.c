/* samples.c - a name or a path to datasets. */
#include "session.h"
#include "nearest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FASHION_MNIST_FOLDER "/usr/share/datasets/fashion-mnist"
enum { SYNTHETIC_TRAIN = 10000, SYNTHETIC_VALID = 2000 };

static const char *const known_names[] = {"fashion-mnist", "synthetic"};
enum { KNOWN_COUNT = sizeof known_names / sizeof *known_names };

static bool is_known(const char *name) {
    for (int i = 0; i < KNOWN_COUNT; i++)
        if (strcmp(known_names[i], name) == 0) return true;
    return false;
}

quern_status samples_check(const char *name) {
    struct stat info;
    if (is_known(name) || stat(name, &info) == 0) return QUERN_OK;
    if (strpbrk(name, "/.")) return quern_fail(QUERN_INPUT, "data %s: %s", name, strerror(errno));
    nearest n = {.wanted = name};
    for (int i = 0; i < KNOWN_COUNT; i++) nearest_offer(&n, known_names[i]);
    return quern_fail(QUERN_INVALID,
                      "--data: \"%s\" is neither a known name nor a path; the nearest is \"%s\"",
                      name, n.best);
}

static quern_status open_mnist(samples *s, quern_device *device, const char *folder) {
    const quern_status status = quern_dataset_mnist(&s->train, device, folder, false);
    return status == QUERN_OK ? quern_dataset_mnist(&s->valid, device, folder, true) : status;
}

/* $QUERN_DATA_DIR is the folder of the files, or holds one named after the set. */
static quern_status open_fashion_mnist(samples *s, quern_device *device) {
    const char *folder = getenv("QUERN_DATA_DIR");
    char below[4096];
    if (!folder || !*folder) return open_mnist(s, device, FASHION_MNIST_FOLDER);
    const int length = snprintf(below, sizeof below, "%s/fashion-mnist", folder);
    if (length < 0 || (size_t)length >= sizeof below)
        return quern_fail(QUERN_INPUT, "QUERN_DATA_DIR is longer than a path can be");
    return open_mnist(s, device, path_is_folder(below) ? below : folder);
}

static quern_status open_synthetic(samples *s, quern_device *device) {
    const quern_status status = quern_dataset_synthetic(
        &s->train, device, &(quern_synthetic_desc){.length = SYNTHETIC_TRAIN});
    if (status != QUERN_OK) return status;
    return quern_dataset_synthetic(
        &s->valid, device,
        &(quern_synthetic_desc){.length = SYNTHETIC_VALID, .first_index = SYNTHETIC_TRAIN});
}

static const quern_field *find_field(const quern_dataset *dataset, const char *name) {
    const quern_field *fields = NULL;
    const int32_t count = dataset ? quern_dataset_fields(dataset, &fields) : 0;
    for (int32_t i = 0; i < count; i++)
        if (strcmp(fields[i].name, name) == 0) return &fields[i];
    return NULL;
}

/* What a first line says of its columns (RFC 4180: a quoted cell may hold commas, line breaks). */
typedef struct first_line {
    int64_t last_column;
    bool has_label; /* one is named "label" */
} first_line;

static first_line read_first_line(FILE *file) {
    static const char wanted[] = "label";
    first_line line = {0};
    bool quoted = false, same = true;
    size_t length = 0;
    for (;;) {
        const int c = fgetc(file);
        const bool end = c == EOF || (!quoted && (c == '\n' || c == '\r'));
        if (end || (!quoted && c == ',')) {
            if (same && length == sizeof wanted - 1) line.has_label = true;
            if (end) return line;
            line.last_column++;
            same = true;
            length = 0;
        } else if (c == '"') {
            quoted = !quoted;
        } else {
            same = same && length < sizeof wanted - 1 && c == wanted[length];
            length++;
        }
    }
}

static quern_status open_first_line(first_line *out, const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return quern_fail(QUERN_INPUT, "open %s: %s", path, strerror(errno));
    const int first = fgetc(file);
    if (first == EOF) {
        fclose(file);
        return quern_fail(QUERN_INPUT, "%s: offset 0: expected a first line, found nothing", path);
    }
    ungetc(first, file);
    *out = read_first_line(file);
    fclose(file);
    return QUERN_OK;
}

/* Its label is the column named so, else the last one. */
static quern_status open_table(quern_dataset **out, quern_device *device, const char *path) {
    first_line line;
    char column[24] = "label";
    const quern_status status = open_first_line(&line, path);
    if (status != QUERN_OK) return status;
    if (!line.has_label) snprintf(column, sizeof column, "%lld", (long long)line.last_column);
    return quern_dataset_csv(out, device, &(quern_csv_desc){.path = path, .label_column = column});
}

static quern_status open_csv(samples *s, quern_device *device, const char *path,
                             const char *valid) {
    quern_status status = open_table(&s->train, device, path);
    if (status != QUERN_OK || !valid) return status;
    status = open_table(&s->valid, device, valid);
    if (status != QUERN_OK) return status;
    const quern_field *a = find_field(s->train, "x"), *b = find_field(s->valid, "x");
    if (a->dim[0] == b->dim[0]) return QUERN_OK;
    return quern_fail(QUERN_INPUT, "%s has %lld columns beside the label, %s has %lld", path,
                      (long long)a->dim[0], valid, (long long)b->dim[0]);
}

static void describe_input(samples *s, const quern_field *input) {
    s->input = *input;
    s->transform = (quern_transform){.field = s->input.name,
                                     .scale = s->input.dtype == QUERN_U8 ? 1.0f / 255.0f : 1.0f};
}

static quern_status describe(samples *s, const char *name) {
    const quern_field *input = find_field(s->train, "image");
    if (!input) input = find_field(s->train, "x");
    const quern_field *label = find_field(s->train, "label");
    const quern_field *other = find_field(s->valid, "label");
    if (!input || !label)
        return quern_fail(QUERN_INPUT, "data %s: expected inputs and labels", name);
    describe_input(s, input);
    s->class_count = label->class_count;
    if (other && other->class_count > s->class_count) s->class_count = other->class_count;
    if (s->class_count < 1 || s->class_count > CLASS_MAX)
        return quern_fail(QUERN_INPUT, "data %s: expected 1 to %d classes, found %lld", name,
                          CLASS_MAX, (long long)s->class_count);
    return QUERN_OK;
}

static bool is_csv(const char *name) {
    const size_t length = strlen(name);
    return length > 4 && strcmp(name + length - 4, ".csv") == 0 && !path_is_folder(name);
}

quern_status samples_path(char out[PATH_BYTES], const char *name) {
    if (!is_known(name)) return path_absolute(out, name);
    snprintf(out, PATH_BYTES, "%s", name);
    return QUERN_OK;
}

quern_status samples_open(samples *s, quern_device *device, const char *name, const char *valid) {
    *s = (samples){0};
    quern_status status = samples_check(name);
    if (status == QUERN_OK && valid && !is_csv(name))
        status = quern_fail(QUERN_INVALID, "--valid: %s is no .csv file: it brings its own", name);
    if (status != QUERN_OK) return status;
    if (strcmp(name, "fashion-mnist") == 0)
        status = open_fashion_mnist(s, device);
    else if (strcmp(name, "synthetic") == 0)
        status = open_synthetic(s, device);
    else if (path_is_folder(name))
        status = open_mnist(s, device, name);
    else if (is_csv(name))
        status = open_csv(s, device, name, valid);
    else
        status = quern_fail(QUERN_INPUT, "data %s: expected a folder or a .csv file", name);
    if (status == QUERN_OK) status = describe(s, name);
    if (status != QUERN_OK) samples_release(s);
    return status;
}

quern_status samples_open_inputs(samples *s, quern_device *device, const char *name,
                                 int64_t columns) {
    first_line line = {0};
    quern_status status = samples_check(name);
    if (status == QUERN_OK && is_csv(name)) status = open_first_line(&line, name);
    if (status != QUERN_OK) return status;
    if (!is_csv(name) || line.has_label || line.last_column + 1 != columns)
        return samples_open(s, device, name, NULL);
    *s = (samples){.unlabelled = true};
    status = quern_dataset_csv(&s->train, device, &(quern_csv_desc){.path = name});
    if (status == QUERN_OK) describe_input(s, find_field(s->train, "x"));
    return status;
}

quern_status samples_measure(samples *s) {
    return quern_transform_measure(&s->transform, s->train);
}

const quern_dataset *samples_for_evaluation(const samples *s) {
    return s->valid ? s->valid : s->train;
}

void samples_release(samples *s) {
    quern_dataset_destroy(s->valid);
    quern_dataset_destroy(s->train);
    *s = (samples){0};
}
