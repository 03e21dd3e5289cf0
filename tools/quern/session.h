/* session.h - what train, eval and predict share: a device, a data set, a model as a graph. */
#ifndef QUERN_TOOL_SESSION_H
#define QUERN_TOOL_SESSION_H

#include "options.h"
#include "profile.h"
#include "place.h"

enum { CLASS_MAX = 4096 };

/* The data set, opened. `valid` is NULL when the source has only one part. */
typedef struct samples {
    quern_dataset *train, *valid;
    quern_field input; /* "image" or "x" */
    int64_t class_count;
    quern_transform transform;
    bool unlabelled; /* `train` has inputs only, class_count is 0 */
} samples;

/* A name that is unknown and no path is INVALID, with the nearest; a path that is missing INPUT. */
quern_status samples_check(const char *name);
/* `valid`: a .csv file to go with a .csv file, or NULL. */
quern_status samples_open(samples *out, quern_device *device, const char *name, const char *valid);
/* To predict on: a .csv file of `columns` columns, none of them named "label", is all input;
 * whatever else is opened as above. */
quern_status samples_open_inputs(samples *out, quern_device *device, const char *name,
                                 int64_t columns);
/* The name as it means the same from every working directory. */
quern_status samples_path(char out[PATH_BYTES], const char *name);
/* Mean and deviation of the training set; U8 values are scaled by 1/255 first. */
quern_status samples_measure(samples *s);
const quern_dataset *samples_for_evaluation(const samples *s);
void samples_release(samples *s);

typedef struct model {
    quern_graph *graph;
    quern_tensor *input, *target, *logits, *probabilities, *loss;
    quern_metric metrics[2]; /* accuracy, confusion */
} model;
/* Only as far as the logits, in a graph that is there. */
void model_build(model *out, quern_graph *graph, const char *name, const quern_field *input,
                 int64_t class_count);
quern_status model_create(model *out, quern_device *device, const char *name,
                          const quern_field *input, int64_t class_count);
void model_release(model *m);

/* INVALID when --device is no device name: before anything is opened. */
quern_status session_device_check(const options *o);
/* What is logged from *lowest on goes to standard error; warnings do, and with --quiet errors. It
 * has to live as long as the device. */
quern_status session_device(quern_device **out, const options *o, quern_log_level *lowest,
                            const profile *p); /* p NULL: none of --trace and --nvtx */
/* INVALID when the schedule lacks an option that it needs, or has one that it does not read. */
quern_status session_schedule(quern_schedule *out, const options *o);
/* train_desc.c: rule, rate and schedule. */
quern_status session_optimizer(quern_optimizer_desc *out, const options *o);
/* The part of a trainer's desc that all three commands have in common. */
quern_trainer_desc session_trainer(const options *o, const model *m, const samples *s);

/* The scalar of an evaluation, whatever the set is called; NaN: there is none. */
double session_scalar(const quern_scalar *scalars, int32_t count, const char *name);

/* The graph's trained state in a file, with what eval and predict need to use it. */
quern_status weights_save(const char *path, const options *o, const model *m, const samples *s,
                          quern_parameters *parameters);

/* A trained model ready to be evaluated. */
typedef struct trained {
    quern_device *device;
    quern_log_level lowest;
    quern_safetensors *file;      /* this one or */
    quern_checkpoint *checkpoint; /* this one it came from */
    struct recorded *config;      /* of the checkpoint's run, if it is there */
    const char *model;            /* its name */
    bool predicts;                /* nothing else is done with it */
    samples data;
    model net;
    quern_trainer *trainer;
    const quern_dataset *subject; /* what is evaluated */
} trained;
/* INVALID: the options name no source, or several. */
quern_status trained_check(const options *o);
/* `predicts`: the samples may lack labels. */
quern_status trained_open(trained *out, const options *o, bool predicts);
void trained_release(trained *t);

#endif
