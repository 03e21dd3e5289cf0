/* train.h - one run of `quern train`, from its options to its files. */
#ifndef QUERN_TOOL_TRAIN_H
#define QUERN_TOOL_TRAIN_H

#include "options.h"
#include "run_dir.h"
#include "session.h"

typedef struct training {
    const options *options;
    quern_device *device;
    char device_name[160];
    samples data;
    run_dir dir;
    char checkpoints[PATH_BYTES];
    bool has_dir, started; /* started: the first step may have been taken */
    model net;
    quern_jsonl *jsonl;
    quern_tensorboard *board;     /* NULL in a build without it */
    quern_early_stop *early_stop; /* NULL without --patience */
    quern_progress *progress;
    quern_report *report;
    quern_trainer *trainer;
    quern_memory memory;
    quern_result result;
    int stop_signal; /* 0, SIGINT or SIGTERM */
} training;

/* INVALID: options that do not go together, or not with the data. */
quern_status train_check(const options *o);
quern_status train_check_data(const options *o, const samples *s);
/* All of the desc but the callbacks. */
quern_status train_desc(quern_trainer_desc *out, const training *t);

/* The run's files: config.json before it, model.safetensors after it. */
quern_status outputs_write_config(const training *t);
quern_status outputs_write_results(const training *t, quern_status status);
/* The configuration as one line of JSON, the header of metrics.jsonl; the caller frees it. */
quern_status outputs_config_line(const training *t, char **out);
/* The object that scripts read. */
quern_status outputs_print_json(const training *t, quern_status status, const char *reason);
quern_status outputs_print_text(const training *t);
void outputs_print_start(const training *t);

/* SIGINT and SIGTERM ask for an orderly end; a second one exits at once. */
void signals_install(void);
void signals_watch(quern_trainer *trainer); /* NULL: no more */
int signals_received(void);

#endif
