/* train.h - one run of `quern train`, from its options to its files. */
#ifndef QUERN_TOOL_TRAIN_H
#define QUERN_TOOL_TRAIN_H

#include "run_dir.h"
#include "session.h"

enum { TRAIN_CALLBACKS_MAX = 9 };

typedef struct training {
    const options *options;
    profile profile;
    quern_device *device;
    quern_log_level lowest; /* that is shown */
    char device_name[160];
    samples data;
    run_dir dir;
    char checkpoints[PATH_BYTES]; /* the folder of all of them */
    bool has_dir, started;        /* started: the first step may have been taken */
    bool config_renewed;
    model net;
    quern_jsonl *jsonl;
    quern_tensorboard *board;     /* NULL in a build without it */
    quern_early_stop *early_stop; /* NULL without --patience */
    quern_plateau *plateau;       /* NULL without --plateau */
    quern_progress *progress;     /* NULL with --quiet */
    quern_report *report;
    quern_trainer *trainer;
    quern_memory memory;
    quern_result result;
    char checkpoint[PATH_BYTES]; /* the one that holds the result; "": none does */
    char digest[33];             /* of the final state; "": not known */
} training;

/* train_desc.c. INVALID: options that do not go together, or not with the data. */
quern_status train_check(const options *o);
quern_status train_check_data(const options *o, const samples *s);
/* INPUT: the run that is to go on had other data. */
quern_status train_check_resume(const training *t);
/* All of the desc but the callbacks. */
quern_status train_desc(quern_trainer_desc *out, const training *t);

/* train.c: what the run was ended by, for people. */
const char *train_ended_by(const training *t);

/* train_callbacks.c. Release is also for what open left behind when it failed. */
quern_status train_callbacks_open(training *t);
int32_t train_callbacks(training *t, quern_callback out[TRAIN_CALLBACKS_MAX]); /* how many */
void train_callbacks_release(training *t);

/* outputs.c. The run's files: config.json before it, model.safetensors after it. */
quern_status outputs_write_config(const training *t);
quern_status outputs_write_model(const training *t);
/* The configuration as one line of JSON, the header of metrics.jsonl; the caller frees it. */
quern_status outputs_config_line(const training *t, char **out);
/* The object that scripts read. */
quern_status outputs_print_json(const training *t, quern_status status, const char *reason);
quern_status outputs_print_text(const training *t);
void outputs_print_start(const training *t);

/* signals.c. For the time before and after fit, which handles them itself. */
void signals_install(void);
/* Hands on to fit what came before it. */
quern_callback signals_callback(void);
/* The run was ended by this signal, if not 0: the next one ends the process at once. */
void signals_note(int number);
/* SIGINT or SIGTERM, whenever it came; 0: neither has. */
int signals_received(void);

#endif
