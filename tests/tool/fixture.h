/* fixture.h - running a built program as its user does, and small data sets for it. */
#ifndef QUERN_TESTS_TOOL_FIXTURE_H
#define QUERN_TESTS_TOOL_FIXTURE_H

#include "support/temporary.h"

#include <jansson.h>
#include <stdint.h>

enum { ARGUMENT_MAX = 40, OUTPUT_MAX = 1 << 18 };

typedef struct run_result {
    int exit_code; /* -1: killed by a signal, or it never started */
    int killed_by; /* that signal, else 0 */
    int64_t elapsed_us;
    char out[OUTPUT_MAX], error[OUTPUT_MAX];
} run_result;

/* How to run it beyond its arguments; zero: nothing special. */
typedef struct run_setup {
    const char *directory;      /* working directory; default: the test's own folder */
    const char *stdout_path;    /* instead of being captured */
    const char *environment[2]; /* "NAME=value" */
    int terminal_columns;       /* > 0: standard error is a terminal of this width, not a pipe */
    int64_t file_limit;         /* RLIMIT_FSIZE; 0: none */
    unsigned closed, deaf;      /* bits 1 << stream: closed; a pipe whose reader has gone */
    int signal;                 /* sent once stderr holds a "step" line, */
    const char *until;          /* or, where one is given, once this file is there, */
    bool (*ready)(const run_result *r); /* or once this holds of what it has written, */
    int64_t delay_us;                   /* and so much later; without `until`, from the start on */
    int twice;                          /* and this one, so that both come at once; 0: none */
    bool held_output;                   /* what it writes to standard output waits for the signal */
    const char *pipe;      /* a FIFO: once the program reads it, SIGINT and SIGTERM are sent, */
    const char *pipe_text; /* or, where one is given, `signal`; then it is a file with this text */
} run_setup;

/* Arguments end with NULL; the program comes first. One caller at a time: the result is static. */
run_result *run_program(temporary *t, const run_setup *setup, const char *const *arguments);

/* The command with arguments: COMMAND(&t, "train", "--model", "mlp"). */
#define COMMAND(t, ...)                                                                            \
    run_program((t), &(run_setup){0}, (const char *const[]){QUERN_COMMAND, __VA_ARGS__, NULL})
#define COMMAND_WITH(t, setup, ...)                                                                \
    run_program((t), (setup), (const char *const[]){QUERN_COMMAND, __VA_ARGS__, NULL})

/* The four MNIST-named files in folder `name`: images whose bright rows tell the class. */
bool fixture_mnist(temporary *t, const char *name, int train_count, int test_count);

/* A learnable table of `rows`: two columns and a label in 0 … 2, with a header. */
bool fixture_csv(temporary *t, const char *name, int rows);

/* The scalars and counters of metrics.jsonl in `folder`, line by line, without times, without its
 * first line, which is the configuration, and without evaluations that a stop cut short. Owned by
 * the caller; "": there is no such file. */
char *fixture_metrics(temporary *t, const char *folder);

/* Names, sizes and SHA-256 of everything in `folder`, as text. Owned by the caller. */
char *fixture_content(temporary *t, const char *folder);

/* stdout as exactly one JSON object, or NULL (and a failed check). Owned by the caller. */
json_t *fixture_json(const run_result *r);
const char *fixture_json_text(json_t *object, const char *key); /* "" when it is no text */
double fixture_json_number(json_t *object, const char *key);    /* NaN when it is no number */

#endif
