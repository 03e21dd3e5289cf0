/* session.c - options to a device, a graph and the common half of a trainer's desc. */
#include "session.h"
#include "nearest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A line in one write, because loader threads log too. */
static void log_to_stderr(void *self, quern_log_level level, const char *sentence) {
    const quern_log_level *lowest = self;
    char line[1100];
    if (level < *lowest) return;
    const char *kind = level >= QUERN_LOG_WARNING ? "warning: " : "";
    const int length = snprintf(line, sizeof line, "quern: %s%s\n", kind, sentence);
    const size_t bytes = length < (int)sizeof line ? (size_t)length : sizeof line - 1;
    if (write(STDERR_FILENO, line, bytes) < 0) return; /* nowhere is left to say so */
}

static quern_status parse_device(quern_device_desc *desc, const char *text) {
    if (strcmp(text, "auto") == 0) return QUERN_OK;
    if (strcmp(text, "cpu") == 0) {
        desc->kind = QUERN_DEVICE_CPU;
        return QUERN_OK;
    }
    if (strcmp(text, "cuda") == 0) {
        desc->kind = QUERN_DEVICE_CUDA;
        return QUERN_OK;
    }
    char *end = NULL;
    if (strncmp(text, "cuda:", 5) == 0 && text[5] >= '0' && text[5] <= '9') {
        const long index = strtol(text + 5, &end, 10);
        desc->kind = QUERN_DEVICE_CUDA;
        desc->index = (int32_t)index;
        if (!*end && index <= 1023) return QUERN_OK;
    }
    /* Three letters are too few to tell the one from its opposite. */
    nearest n = {.wanted = strncmp(text, "gpu", 3) == 0 ? "cuda" : text};
    nearest_offer(&n, "auto");
    nearest_offer(&n, "cpu");
    nearest_offer(&n, "cuda");
    nearest_offer(&n, "cuda:0");
    return quern_fail(QUERN_INVALID, "--device: unknown device \"%s\"; the nearest is \"%s\"", text,
                      n.best);
}

quern_status session_device_check(const options *o) {
    quern_device_desc desc = {0};
    return parse_device(&desc, o->device);
}

quern_status session_device(quern_device **out, const options *o, quern_log_level *lowest,
                            const profile *p) {
    quern_device_desc desc = {.seed = (uint64_t)o->seed, .host = quern_host_default()};
    const quern_status status = parse_device(&desc, o->device);
    if (status != QUERN_OK) return status;
    desc.tune = o->tune;
    if (desc.kind != QUERN_DEVICE_CUDA) desc.thread_count = (int32_t)o->threads;
    *lowest = o->verbose ? QUERN_LOG_INFO : o->quiet ? QUERN_LOG_ERROR : QUERN_LOG_WARNING;
    desc.host.log = (quern_log_sink){.write = log_to_stderr, .self = lowest};
    if (p && p->sink.begin) desc.host.trace = p->sink;
    desc.trace_ops = p && p->file;
    return quern_device_create(out, &desc);
}

void model_build(model *out, quern_graph *g, const char *name, const quern_field *input,
                 int64_t class_count) {
    quern_input_desc desc = {.name = input->name, .rank = input->rank + 1, .dim = {QUERN_B}};
    memcpy(desc.dim + 1, input->dim, (size_t)input->rank * sizeof *input->dim);
    out->input = quern_input(g, &desc);
    out->target = quern_labels(g, "label");
    if (strcmp(name, "lenet") == 0)
        out->logits = quern_lenet(g, out->input, &(quern_lenet_desc){.class_count = class_count});
    else
        out->logits = quern_mlp(g, out->input, &(quern_mlp_desc){.class_count = class_count});
}

quern_status model_create(model *out, quern_device *device, const char *name,
                          const quern_field *input, int64_t class_count) {
    *out = (model){0};
    quern_status status = quern_graph_create(&out->graph, device, &(quern_graph_desc){0});
    if (status != QUERN_OK) return status;
    quern_graph *g = out->graph;
    model_build(out, g, name, input, class_count);
    out->probabilities = quern_softmax(g, out->logits, NULL);
    out->loss = quern_softmax_cross_entropy(g, out->logits, out->target, NULL);
    out->metrics[0] = quern_metric_accuracy(g, out->logits, out->target);
    out->metrics[1] = quern_metric_confusion(g, out->logits, out->target);
    status = quern_graph_status(g);
    if (status != QUERN_OK) model_release(out);
    return status;
}

void model_release(model *m) {
    quern_graph_destroy(m->graph);
    *m = (model){0};
}

quern_trainer_desc session_trainer(const options *o, const model *m, const samples *s) {
    return (quern_trainer_desc){.graph = m->graph,
                                .loss = m->loss,
                                .metrics = m->metrics,
                                .metric_count = 2,
                                .transforms = &s->transform,
                                .transform_count = 1,
                                .batch_size = o->batch_size,
                                .precision =
                                    (quern_precision)option_choice(OPTION_precision, o->precision),
                                .worker_count = (int32_t)o->workers};
}

double session_scalar(const quern_scalar *scalars, int32_t count, const char *name) {
    for (int32_t i = 0; i < count; i++) {
        const char *slash = strrchr(scalars[i].name, '/');
        if (strcmp(slash ? slash + 1 : scalars[i].name, name) == 0) return scalars[i].value;
    }
    return NAN;
}
