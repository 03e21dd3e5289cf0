/* main.c - quern, the command: `quern COMMAND [OPTIONS]`. Results go to standard output, all else
 * to standard error; exit codes are those of status.h, 130 and 143 after a signal. The command is
 * a client of the library: it includes nothing but <quern/…>. */
#include "commands.h"
#include "json.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

int command_fail(quern_status status) {
    fprintf(stderr, "quern: %s\n", quern_error());
    return quern_status_exit_code(status);
}

const char *command_status_name(quern_status status) {
    const char *name = quern_status_name(status);
    return strncmp(name, "QUERN_", 6) == 0 ? name + 6 : name;
}

static void write_help(FILE *to) {
    fprintf(to, "quern %s - train neural networks\n\nusage: quern COMMAND [OPTIONS]\n\n",
            quern_version());
#define X(name, bit, value, help) fprintf(to, "  %-10s %s\n", #name, help);
    COMMAND_LIST(X)
#undef X
    fputs("\nquern COMMAND --help lists a command's options; quern --version prints the version.\n"
          "Exit codes: 0 done, 1 a fault of quern, 2 usage, 3 input, 4 writing, 5 host memory,\n"
          "6 device memory, 7 device, 9 not finite, 10 no such device, 11 callback, 130 and 143\n"
          "stopped by SIGINT and SIGTERM.\n",
          to);
}

static const char *path_usage(command of) {
    if (of == INSPECT) return " PATH";
    return of == EVAL || of == PREDICT ? " [PATH]" : "";
}

/* Headlines and options in the order of options.def. */
static const struct help_line {
    const char *title; /* NULL: an option */
    int option;
} help_lines[] = {
#define GROUP(title) {title, 0},
#define OPTION(field, ...) {NULL, OPTION_##field},
#include "options.def"
};
enum { HELP_LINE_COUNT = sizeof help_lines / sizeof *help_lines };

static void write_option_help(FILE *to, const option_row *row) {
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s", row->name, row->argument ? " " : "",
             row->argument ? row->argument : "");
    fprintf(to, "  %-22s %s", left, row->help);
    if (row->choices && strcmp(row->name, "model") != 0) fprintf(to, " (%s)", row->choices + 1);
    if (row->preset && strcmp(row->preset, "0") != 0) fprintf(to, "; default %s", row->preset);
    fputc('\n', to);
}

static void write_command_help(FILE *to, command of) {
#define X(name, bit, value, help)                                                                  \
    if (of == bit) fprintf(to, "usage: quern %s%s [OPTIONS]\n%s\n", #name, path_usage(of), help);
    COMMAND_LIST(X)
#undef X
    const char *title = NULL;
    for (int i = 0; i < HELP_LINE_COUNT; i++) {
        const option_row *row = &option_table()[help_lines[i].option];
        if (help_lines[i].title) title = help_lines[i].title;
        if (help_lines[i].title || !(row->commands & (int)of)) continue;
        if (title) fprintf(to, "\n%s\n", title);
        title = NULL;
        write_option_help(to, row);
    }
}

static int print_help(command of) {
    sheet s;
    quern_status status = sheet_open(&s);
    if (status != QUERN_OK) return command_fail(status);
    if (of == COMMAND_NONE)
        write_help(s.to);
    else
        write_command_help(s.to, of);
    status = sheet_print(&s);
    return status == QUERN_OK ? 0 : command_fail(status);
}

static int print_version(void) {
    sheet s;
    quern_status status = sheet_open(&s);
    if (status != QUERN_OK) return command_fail(status);
    fprintf(s.to, "quern %s\n", quern_version());
    status = sheet_print(&s);
    return status == QUERN_OK ? 0 : command_fail(status);
}

static int run_command(const options *o) {
    switch (o->command) {
#define X(name, bit, value, help)                                                                  \
    case bit: return command_##name(o);
        COMMAND_LIST(X)
#undef X
    case COMMAND_NONE: break;
    }
    return 2;
}

/* A standard stream that came closed is opened so that writing to it fails: else the first file of
 * a run would get its number, and with it what is meant for the stream. */
static void hold_streams(void) {
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++)
        if (fcntl(stream, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != stream) _exit(1);
}

static bool asks_for_help(const char *argument) {
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0 ||
           strcmp(argument, "help") == 0;
}

int main(int argument_count, char **arguments) {
    options o;
    hold_streams();
    /* A file size limit, or a reader that went away, then fails a write instead of killing a run.*/
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (argument_count > 1 && asks_for_help(arguments[1])) return print_help(COMMAND_NONE);
    if (argument_count > 1 && strcmp(arguments[1], "--version") == 0) return print_version();
    const quern_status status = options_read(&o, argument_count, arguments);
    if (status != QUERN_OK) return command_fail(status);
    const int code = o.help ? print_help(o.command) : run_command(&o);
    options_release(&o);
    return code;
}
