/* options.h - what the user asked for, after the command line and the YAML file were read. */
#ifndef QUERN_TOOL_OPTIONS_H
#define QUERN_TOOL_OPTIONS_H

#include <quern/quern.h>
#include <stdio.h>

/* One table: command, its bit in options.def, what it does. */
#define COMMAND_LIST(X)                                                                            \
    X(train, TRAIN, 1, "train a model on a data set and validate it")                              \
    X(eval, EVAL, 2, "measure a trained model on a data set")                                      \
    X(predict, PREDICT, 4, "write a trained model's class probabilities as CSV")                   \
    X(verify, VERIFY, 32, "compare one training step with the F64 reference, tensor by tensor")    \
    X(devices, DEVICES, 8, "list the devices that can compute")                                    \
    X(inspect, INSPECT, 16, "print what a run folder, a checkpoint or a .safetensors file holds")
#define X(name, bit, value, help) bit = value,
typedef enum command { COMMAND_NONE, COMMAND_LIST(X) } command;
#undef X

#define OPTION_TYPE_TEXT const char *
#define OPTION_TYPE_CHOICE const char *
#define OPTION_TYPE_COUNT int64_t
#define OPTION_TYPE_REAL double
#define OPTION_TYPE_FLAG bool

enum {
#define OPTION(field, ...) OPTION_##field,
#include "options.def"
    OPTION_COUNT
};

typedef struct options {
    command command;
    bool help;
    const char *path; /* the argument of inspect, eval and predict */
#define OPTION(field, name, kind, ...) OPTION_TYPE_##kind field;
#include "options.def"
    bool given[OPTION_COUNT];        /* by the command line or the file */
    const char *texts[OPTION_COUNT]; /* as written by the user, of the resumed run, or the preset */
    void *yaml;                      /* owns the texts that came from the file */
    struct recorded *recorded;       /* and those of the resumed run */
} options;

/* INVALID: a usage error, with the nearest valid name; INPUT: the YAML file is missing or is not
 * YAML. Options are released in both cases. */
quern_status options_read(options *out, int argument_count, char **arguments);
void options_release(options *o);

/* What a row of options.def says about one option. */
typedef struct option_row {
    const char *name, *kind, *choices, *argument, *help, *preset;
    int commands;
} option_row;
const option_row *option_table(void);

/* The option's value as it goes into config.json. */
void option_write_json(const options *o, int option, FILE *to);

/* The place of `name` among the choices of an option. */
int option_choice(int option, const char *name);

#endif
