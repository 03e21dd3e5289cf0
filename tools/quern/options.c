/* options.c - the command line, by exact names only: "--option value" and "--option=value".
 * The command line goes before the YAML file, the file before what the resumed run recorded, that
 * before the presets; all are texts until one converter gives them their type and range. */
#include "options.h"
#include "config.h"
#include "nearest.h"
#include "recorded.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

#define X(constant, name, states, reads) "|" #name
#define OPTIMIZER_CHOICES QUERN_OPTIMIZER_LIST(X)
/* Every schedule but the application's own function. */
#define SCHEDULE_CHOICES                                                                           \
    "|constant|step|multi_step|exponential|linear|cosine|cosine_restarts|polynomial|one_cycle"     \
    "|warmup_stable_decay"

typedef struct option_range {
    double low, high;
} option_range;

static const option_row rows[] = {
#define OPTION(field, name, kind, preset, low, high, choices, commands, argument, help)            \
    {name, #kind, choices, argument, help, preset, commands},
#include "options.def"
};

static const option_range ranges[] = {
#define OPTION(field, name, kind, preset, low, high, ...) {low, high},
#include "options.def"
};
#undef X

const option_row *option_table(void) { return rows; }

static bool is_kind(int option, const char *kind) { return strcmp(rows[option].kind, kind) == 0; }

static int option_find(const char *name, size_t length) {
    for (int i = 0; i < OPTION_COUNT; i++)
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0) return i;
    return -1;
}

static const char *command_name(command of) {
#define X(name, bit, value, help)                                                                  \
    if (of == bit) return #name;
    COMMAND_LIST(X)
#undef X
    return "quern";
}

/* What other tools call it. */
static const char *other_name(const char *name) {
    static const char *const names[][2] = {
        {"learning-rate", "lr"},    {"learning_rate", "lr"},      {"gpu", "device"},
        {"cuda", "device"},         {"validation-data", "valid"}, {"early-stopping", "patience"},
        {"early-stop", "patience"}, {"output", "run-dir"},        {"out", "run-dir"},
        {"dtype", "precision"},     {"grad-clip", "clip-norm"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i][0]) == 0) return names[i][1];
    return NULL;
}

static quern_status fail_unknown_option(const char *argument, command of) {
    char name[64];
    nearest n = {.wanted = name};
    snprintf(name, sizeof name, "%.*s", (int)strcspn(argument + 2, "="), argument + 2);
    for (int i = 0; i < OPTION_COUNT; i++)
        if (rows[i].commands & (int)of) nearest_offer(&n, rows[i].name);
    const char *other = other_name(name);
    const int option = other ? option_find(other, strlen(other)) : -1;
    if (option >= 0 && rows[option].commands & (int)of)
        return quern_fail(QUERN_INVALID, "unknown option --%s; here it is --%s", name, other);
    if (nearest_meant(&n))
        return quern_fail(QUERN_INVALID, "unknown option --%s; the nearest is --%s", name, n.best);
    return quern_fail(QUERN_INVALID, "unknown option --%s; quern %s --help lists what there is",
                      name, command_name(of));
}

static quern_status command_find(command *out, const char *text) {
    nearest n = {.wanted = text};
#define X(name, bit, value, help)                                                                  \
    if (strcmp(text, #name) == 0) {                                                                \
        *out = bit;                                                                                \
        return QUERN_OK;                                                                           \
    }                                                                                              \
    nearest_offer(&n, #name);
    COMMAND_LIST(X)
#undef X
    return quern_fail(QUERN_INVALID, "unknown command \"%s\"; the nearest is \"%s\"", text, n.best);
}

/* Takes one option with its value; *next is the index of the argument after it. */
static quern_status take_option(options *o, int count, char **arguments, int *next) {
    const char *argument = arguments[*next];
    const char *equals = strchr(argument, '=');
    const size_t length = equals ? (size_t)(equals - argument) - 2 : strlen(argument) - 2;
    const int option = option_find(argument + 2, length);
    if (option < 0) return fail_unknown_option(argument, o->command);
    if (!(rows[option].commands & (int)o->command))
        return quern_fail(QUERN_INVALID, "%s does not take --%s", command_name(o->command),
                          rows[option].name);
    const bool flag = is_kind(option, "FLAG");
    if (flag && equals) return quern_fail(QUERN_INVALID, "--%s takes no value", rows[option].name);
    if (!flag && !equals && *next + 1 >= count)
        return quern_fail(QUERN_INVALID, "--%s needs a value: %s", rows[option].name,
                          rows[option].argument);
    (*next)++;
    o->texts[option] = flag ? "true" : equals ? equals + 1 : arguments[(*next)++];
    o->given[option] = true;
    return QUERN_OK;
}

static bool takes_path(command of) { return of == INSPECT || of == EVAL || of == PREDICT; }

static quern_status read_arguments(options *o, int count, char **arguments) {
    for (int i = 2; i < count;) {
        const char *argument = arguments[i];
        if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            o->help = true;
            i++;
        } else if (strncmp(argument, "--", 2) == 0) {
            const quern_status status = take_option(o, count, arguments, &i);
            if (status != QUERN_OK) return status;
        } else if (takes_path(o->command) && !o->path && argument[0] != '-') {
            o->path = argument;
            i++;
        } else {
            return quern_fail(QUERN_INVALID, "unexpected argument \"%s\"", argument);
        }
    }
    if (o->command == INSPECT && !o->path && !o->help)
        return quern_fail(QUERN_INVALID,
                          "inspect needs a run folder, a checkpoint or a .safetensors file");
    return QUERN_OK;
}

static quern_status check_choice(int option, const char *text) {
    char names[16][32], list[256] = "";
    nearest n = {.wanted = text};
    for (int i = 0; i < 16 && choice_get(rows[option].choices, i, names[i], sizeof *names); i++) {
        if (strcmp(names[i], text) == 0) return QUERN_OK;
        nearest_offer(&n, names[i]);
        strncat(list, i > 0 ? ", " : "", sizeof list - strlen(list) - 1);
        strncat(list, names[i], sizeof list - strlen(list) - 1);
    }
    return quern_fail(QUERN_INVALID, "--%s: unknown name \"%s\"; the nearest is \"%s\" (of %s)",
                      rows[option].name, text, n.best, list);
}

static quern_status to_count(int option, const char *text, int64_t *out) {
    char *end = NULL;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    const option_range range = ranges[option];
    const bool sane = *text && !*end && errno == 0 && strchr(" \t\n+", *text) == NULL;
    if (!sane || (double)value < range.low || (double)value > range.high)
        return quern_fail(QUERN_INVALID,
                          "--%s: expected an integer from %.0f to %.0f, found \"%s\"",
                          rows[option].name, range.low, range.high, text);
    *out = value;
    return QUERN_OK;
}

static quern_status to_real(int option, const char *text, double *out) {
    char *end = NULL;
    const double value = strtod(text, &end);
    const option_range range = ranges[option];
    const bool sane = *text && !*end && strchr(" \t\n", *text) == NULL;
    if (!sane || !(value >= range.low && value <= range.high))
        return quern_fail(QUERN_INVALID, "--%s: expected a number from %g to %g, found \"%s\"",
                          rows[option].name, range.low, range.high, text);
    *out = value;
    return QUERN_OK;
}

static quern_status to_text(int option, const char *text, const char **out) {
    if (!*text)
        return quern_fail(QUERN_INVALID, "--%s: expected %s, found nothing", rows[option].name,
                          rows[option].argument);
    *out = text;
    return QUERN_OK;
}

static quern_status to_choice(int option, const char *text, const char **out) {
    *out = text;
    return check_choice(option, text);
}

static quern_status to_flag(int option, const char *text, bool *out) {
    *out = strcmp(text, "true") == 0;
    if (!*out && strcmp(text, "false") != 0)
        return quern_fail(QUERN_INVALID, "%s: expected true or false, found \"%s\"",
                          rows[option].name, text);
    return QUERN_OK;
}

#define CONVERT_TEXT to_text
#define CONVERT_CHOICE to_choice
#define CONVERT_COUNT to_count
#define CONVERT_REAL to_real
#define CONVERT_FLAG to_flag

static quern_status convert_all(options *o) {
    quern_status status = QUERN_OK;
#define OPTION(field, name, kind, ...)                                                             \
    if (status == QUERN_OK && o->texts[OPTION_##field])                                            \
        status = CONVERT_##kind(OPTION_##field, o->texts[OPTION_##field], &o->field);
#include "options.def"
    return status;
}

static quern_status read_file(options *o) {
    const char *texts[OPTION_COUNT] = {0};
    const char *path = o->texts[OPTION_config];
    if (!path) return QUERN_OK;
    const quern_status status = config_load(&o->yaml, path, texts);
    if (status != QUERN_OK) return status;
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (!texts[i]) continue;
        if (!(rows[i].commands & (int)o->command))
            return quern_fail(QUERN_INVALID, "%s: %s does not take %s", path,
                              command_name(o->command), rows[i].name);
        if (o->texts[i]) continue;
        o->texts[i] = texts[i];
        o->given[i] = true;
    }
    return QUERN_OK;
}

/* Of this call alone, or of no use to a run that goes on. */
static bool is_recorded(int option) {
    return option != OPTION_run_dir && option != OPTION_resume && option != OPTION_config &&
           option != OPTION_json && option != OPTION_quiet && option != OPTION_no_save &&
           option != OPTION_eager && option != OPTION_verbose && option != OPTION_fast_dev_run;
}

/* A resumed run is the same run: what is not said anew is as it was. */
static quern_status read_recorded(options *o) {
    const char *resume = o->texts[OPTION_resume], *folder = o->texts[OPTION_run_dir];
    if (!resume || strcmp(resume, "true") != 0 || !folder) return QUERN_OK;
    const quern_status status = recorded_open(&o->recorded, folder);
    for (int i = 0; i < OPTION_COUNT && o->recorded; i++)
        if (!o->texts[i] && is_recorded(i)) o->texts[i] = recorded_text(o->recorded, rows[i].name);
    return status;
}

quern_status options_read(options *out, int count, char **arguments) {
    *out = (options){0};
    if (count < 2) return quern_fail(QUERN_INVALID, "no command; see quern --help");
    quern_status status = command_find(&out->command, arguments[1]);
    if (status == QUERN_OK) status = read_arguments(out, count, arguments);
    if (status == QUERN_OK && !out->help) status = read_file(out);
    if (status == QUERN_OK && !out->help) status = read_recorded(out);
    for (int i = 0; i < OPTION_COUNT; i++)
        if (!out->texts[i]) out->texts[i] = rows[i].preset;
    if (status == QUERN_OK && !out->help) status = convert_all(out);
    if (status != QUERN_OK) options_release(out);
    return status;
}

void options_release(options *o) {
    config_release(o->yaml);
    recorded_release(o->recorded);
    o->yaml = NULL;
    o->recorded = NULL;
}

static void write_text(FILE *to, const char *value) { json_write_text(to, value); }
static void write_count(FILE *to, int64_t value) { fprintf(to, "%" PRId64, value); }
static void write_real(FILE *to, double value) { json_write_number(to, value); }
static void write_flag(FILE *to, bool value) { fputs(value ? "true" : "false", to); }

#define WRITE_TEXT write_text
#define WRITE_CHOICE write_text
#define WRITE_COUNT write_count
#define WRITE_REAL write_real
#define WRITE_FLAG write_flag

void option_write_json(const options *o, int option, FILE *to) {
    switch (option) {
#define OPTION(field, name, kind, ...)                                                             \
    case OPTION_##field:                                                                           \
        if (o->texts[option] || OPTION_##field == OPTION_json || OPTION_##field == OPTION_quiet)   \
            WRITE_##kind(to, o->field);                                                            \
        else                                                                                       \
            fputs("null", to);                                                                     \
        break;
#include "options.def"
    default: break;
    }
}

int option_choice(int option, const char *name) {
    const char *choices = option_table()[option].choices;
    const size_t length = strlen(name);
    for (int i = 0; (choices = strchr(choices, '|')) != NULL; i++) {
        choices++;
        if (strncmp(choices, name, length) == 0 && strchr("|", choices[length])) return i;
    }
    return 0;
}
