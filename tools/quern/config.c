/* config.c - a flat YAML mapping through libcyaml, its schema made from options.def. Every value
 * arrives as text and is converted like the command line's, so that both mean the same. libcyaml
 * tells what went wrong only through its log: the lines that a user can act on are kept. */
#include "config.h"
#include "nearest.h"
#include "options.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 1 << 20 };

typedef struct values {
#define OPTION(field, ...) char *field;
#include "options.def"
} values;

static const cyaml_schema_field_t fields[] = {
#define OPTION(field, name, ...)                                                                   \
    CYAML_FIELD_STRING_PTR(name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, values, field, 0,       \
                           CYAML_UNLIMITED),
#include "options.def"
    CYAML_FIELD_END};

static const cyaml_schema_value_t schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, values, fields),
};

/* The parts of libcyaml's log that make the sentence. */
typedef struct complaint {
    char key[64], cause[256], place[128];
} complaint;

static void copy_line(char *out, size_t bytes, const char *from) {
    const size_t length = strcspn(from, "\n");
    const size_t kept = length < bytes - 1 ? length : bytes - 1;
    memcpy(out, from, kept);
    out[kept] = '\0';
}

static void listen(cyaml_log_t level, void *context, const char *format, va_list arguments) {
    complaint *c = context;
    char line[256];
    (void)level;
    vsnprintf(line, sizeof line, format, arguments);
    const char *text = strncmp(line, "Load: ", 6) == 0 ? line + 6 : line;
    if (strncmp(text, "Unexpected key: ", 16) == 0) copy_line(c->key, sizeof c->key, text + 16);
    const char *place = strstr(text, "(line: ");
    if (place && !c->place[0]) copy_line(c->place, sizeof c->place, place);
    if (!c->cause[0] && strncmp(text, "Backtrace", 9) != 0)
        copy_line(c->cause, sizeof c->cause, text);
}

/* The line, from 1, that begins with `key`: libcyaml says where the value before it ended. */
static int find_line(const char *data, size_t bytes, const char *key) {
    const size_t length = strlen(key);
    int line = 1;
    for (size_t i = 0; i < bytes; line++) {
        while (i < bytes && (data[i] == ' ' || data[i] == '"' || data[i] == '\'')) i++;
        if (bytes - i > length && memcmp(data + i, key, length) == 0) return line;
        while (i < bytes && data[i] != '\n') i++;
        i++;
    }
    return 0;
}

static quern_status explain(const char *path, const complaint *c, cyaml_err_t error, int line) {
    if (c->key[0]) {
        nearest n = {.wanted = c->key};
        for (int i = 0; i < OPTION_COUNT; i++) nearest_offer(&n, option_table()[i].name);
        return quern_fail(QUERN_INVALID, "%s: line %d: unknown key \"%s\"; the nearest is \"%s\"",
                          path, line, c->key, n.best);
    }
    const bool wrong_type = error == CYAML_ERR_INVALID_VALUE || error == CYAML_ERR_UNEXPECTED_EVENT;
    return quern_fail(wrong_type ? QUERN_INVALID : QUERN_INPUT, "%s: %s%s%s %s", path,
                      cyaml_strerror(error), c->cause[0] ? ": " : "", c->cause, c->place);
}

quern_status config_parse(void **out, const char *path, const void *data, size_t bytes,
                          const char **texts) {
    complaint c = {0};
    const cyaml_config_t setup = {.log_fn = listen,
                                  .log_ctx = &c,
                                  .mem_fn = cyaml_mem,
                                  .log_level = CYAML_LOG_ERROR,
                                  .flags = CYAML_CFG_DEFAULT};
    values *v = NULL;
    *out = NULL;
    if (bytes == 0) return QUERN_OK;
    const cyaml_err_t error = cyaml_load_data(data, bytes, &setup, &schema, (void **)&v, NULL);
    if (error != CYAML_OK) return explain(path, &c, error, find_line(data, bytes, c.key));
    *out = v;
    if (!v) return QUERN_OK;
#define OPTION(field, ...) texts[OPTION_##field] = v->field;
#include "options.def"
    if (texts[OPTION_config]) return quern_fail(QUERN_INVALID, "%s: config is no key", path);
    return QUERN_OK;
}

quern_status config_load(void **out, const char *path, const char **texts) {
    *out = NULL;
    FILE *file = fopen(path, "rb");
    if (!file) return quern_fail(QUERN_INPUT, "open %s: %s", path, strerror(errno));
    char *data = malloc(CONFIG_BYTES_MAX);
    quern_status status = QUERN_OK;
    const size_t bytes = data ? fread(data, 1, CONFIG_BYTES_MAX, file) : 0;
    if (!data)
        status = quern_fail(QUERN_HOST_MEMORY, "no memory to read %s", path);
    else if (ferror(file))
        status = quern_fail(QUERN_INPUT, "read %s: %s", path, strerror(errno));
    else if (bytes == CONFIG_BYTES_MAX)
        status = quern_fail(QUERN_INPUT, "%s is longer than %d bytes", path, CONFIG_BYTES_MAX);
    else
        status = config_parse(out, path, data, bytes, texts);
    free(data);
    fclose(file);
    return status;
}

void config_release(void *v) {
    const cyaml_config_t setup = {.mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};
    if (v) cyaml_free(&setup, &schema, v, 0);
}
