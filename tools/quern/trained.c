/* trained.c - a trained model, from a run's result, a file, or a checkpoint, ready to be used. */
#include "facts.h"
#include "place.h"
#include "session.h"

#include <string.h>

/* What the user says has precedence over what was written down. */
static quern_status choose(const char **out, const char *given, const char *said,
                           const char *option) {
    *out = given ? given : said;
    if (*out) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "the file does not say its %s: --%s is needed", option,
                      option);
}

static quern_status use_facts(trained *t, const facts *f, const char *path) {
    quern_transform *transform = &t->data.transform;
    if (f->class_count == 0) return samples_measure(&t->data);
    if (t->data.class_count > f->class_count)
        return quern_fail(QUERN_INPUT, "the data set has %lld classes, %s was trained on %lld",
                          (long long)t->data.class_count, path, (long long)f->class_count);
    t->data.class_count = f->class_count;
    transform->scale = f->scale;
    transform->channel_count = f->channel_count;
    memcpy(transform->mean, f->mean, sizeof f->mean);
    memcpy(transform->deviation, f->deviation, sizeof f->deviation);
    return QUERN_OK;
}

/* How many numbers the trained model takes, where that can be seen: a table's columns. */
static int64_t input_columns(const trained *t) {
    const quern_safetensors *file = t->file ? t->file : quern_checkpoint_model(t->checkpoint);
    const quern_safetensors_entry *first = quern_safetensors_find(file, "fc1.weight");
    return first && first->rank == 2 ? first->dim[1] : 0;
}

static quern_status open_samples(trained *t, const options *o, const facts *f, const char *name) {
    if (t->predicts && o->data && f->class_count > 0)
        return samples_open_inputs(&t->data, t->device, name, input_columns(t));
    return samples_open(&t->data, t->device, name, o->data ? NULL : f->valid);
}

static quern_status build(trained *t, const options *o, const facts *f, const char *path) {
    const char *name = NULL, *data = NULL;
    quern_status status = choose(&name, o->model, f->model, "model");
    t->model = name;
    if (status == QUERN_OK) status = choose(&data, o->data, f->data, "data");
    if (status == QUERN_OK) status = open_samples(t, o, f, data);
    if (status == QUERN_OK) status = use_facts(t, f, path);
    if (status == QUERN_OK)
        status = model_create(&t->net, t->device, name, &t->data.input, t->data.class_count);
    if (status != QUERN_OK) return status;
    t->subject = samples_for_evaluation(&t->data);
    quern_trainer_desc desc = session_trainer(o, &t->net, &t->data);
    if (!t->data.unlabelled) desc.valid = t->subject;
    desc.outputs = &t->net.probabilities;
    desc.output_count = 1;
    return quern_trainer_create(&t->trainer, &desc);
}

static quern_status open_file(trained *t, const options *o, const char *path) {
    facts f;
    quern_status status = quern_safetensors_open(&t->file, t->device, path);
    if (status == QUERN_OK) status = facts_from_notes(&f, t->file, path);
    if (status == QUERN_OK) status = build(t, o, &f, path);
    if (status != QUERN_OK) return status;
    return quern_safetensors_load(t->file, t->net.graph, quern_trainer_parameters(t->trainer));
}

/* The checkpoint itself, or the newest one that is whole. */
static quern_status find_checkpoint(trained *t, const place *p) {
    if (p->kind == PLACE_CHECKPOINT)
        return quern_checkpoint_open(&t->checkpoint, t->device, p->path);
    const quern_status status =
        quern_checkpoint_latest(&t->checkpoint, t->device, p->checkpoints, NULL, NULL);
    if (status != QUERN_OK || t->checkpoint) return status;
    return quern_fail(QUERN_INPUT, "%s: expected a checkpoint, found none", p->checkpoints);
}

/* Where a moving average was kept, that is what the run evaluated. */
static quern_status load_average(trained *t) {
    const quern_safetensors *state = quern_checkpoint_state(t->checkpoint);
    quern_parameters *parameters = quern_trainer_parameters(t->trainer);
    for (int32_t i = 0; i < quern_graph_parameter_count(t->net.graph); i++) {
        const quern_tensor *tensor = quern_graph_parameter(t->net.graph, i);
        char name[512];
        snprintf(name, sizeof name, "average.%s", quern_tensor_name(tensor));
        const quern_safetensors_entry *e = quern_safetensors_find(state, name);
        if (!e) continue;
        const quern_status status = quern_parameters_write(parameters, tensor, e->data, e->bytes);
        if (status != QUERN_OK) return status;
    }
    return QUERN_OK;
}

static quern_status open_checkpoint(trained *t, const options *o, const place *p) {
    facts f = {0};
    quern_status status = find_checkpoint(t, p);
    if (status == QUERN_OK) status = recorded_open(&t->config, p->run);
    if (status == QUERN_OK && t->config) status = facts_from_run(&f, t->config, p->run);
    if (status != QUERN_OK) return status;
    const char *path = quern_checkpoint_info_get(t->checkpoint).path;
    status = build(t, o, &f, path);
    if (status == QUERN_OK)
        status = quern_checkpoint_load(t->checkpoint, t->net.graph,
                                       quern_trainer_parameters(t->trainer));
    return status == QUERN_OK ? load_average(t) : status;
}

/* A run that came to its end left its result; one that did not has its checkpoints. */
static quern_status open_place(trained *t, const options *o, const char *path) {
    place p;
    char file[PATH_BYTES];
    quern_status status = place_find(&p, path);
    if (status != QUERN_OK) return status;
    if (p.kind == PLACE_FILE) return open_file(t, o, path);
    if (p.kind != PLACE_RUN || !path_holds(path, "model.safetensors"))
        return open_checkpoint(t, o, &p);
    status = path_join(file, path, "model.safetensors");
    return status == QUERN_OK ? open_file(t, o, file) : status;
}

static quern_status open_named(trained *t, const options *o) {
    place p;
    char file[PATH_BYTES];
    if (o->path) return open_place(t, o, o->path);
    if (o->weights) return open_file(t, o, o->weights);
    if (o->run_dir) {
        const quern_status status = path_join(file, o->run_dir, "model.safetensors");
        return status == QUERN_OK ? open_file(t, o, file) : status;
    }
    quern_status status = place_find(&p, o->checkpoint);
    if (status == QUERN_OK && p.kind == PLACE_FILE)
        status = quern_fail(QUERN_INVALID, "--checkpoint: %s is a file; --weights takes one",
                            o->checkpoint);
    return status == QUERN_OK ? open_checkpoint(t, o, &p) : status;
}

quern_status trained_check(const options *o) {
    const int count = !!o->path + !!o->weights + !!o->run_dir + !!o->checkpoint;
    if (count == 1) return QUERN_OK;
    return quern_fail(QUERN_INVALID,
                      "expected one of a path, --run-dir, --checkpoint and --weights, found %s",
                      count > 1 ? "several" : "none");
}

quern_status trained_open(trained *t, const options *o, bool predicts) {
    *t = (trained){.predicts = predicts};
    quern_status status = session_device(&t->device, o, &t->lowest, NULL);
    if (status == QUERN_OK) status = open_named(t, o);
    if (status != QUERN_OK) trained_release(t);
    return status;
}

void trained_release(trained *t) {
    quern_trainer_destroy(t->trainer);
    model_release(&t->net);
    samples_release(&t->data);
    quern_safetensors_destroy(t->file);
    quern_checkpoint_destroy(t->checkpoint);
    recorded_release(t->config);
    quern_device_destroy(t->device);
    *t = (trained){0};
}
