/* verify.c - `quern verify`: one training step of a model on the CPU and on a device against the
 * F64 reference. */
#include "commands.h"
#include "json.h"
#include "session.h"

#include <math.h>
#include <stdlib.h>

enum { BAD_LINES_MAX = 20 };

typedef struct verifying {
    const options *options;
    samples data;
    const char *model;
    const quern_safetensors *weights; /* NULL: fresh ones */
    quern_verify_tensor *tensors;
    int64_t count, capacity;
    quern_verify_result result;
} verifying;

static quern_status build(void *self, quern_graph *graph, quern_verify_model *out) {
    const verifying *v = self;
    model m = {0};
    model_build(&m, graph, v->model, &v->data.input, v->data.class_count);
    out->loss = quern_softmax_cross_entropy(graph, m.logits, m.target, NULL);
    return quern_graph_status(graph);
}

static quern_status collect(void *self, const quern_verify_tensor *tensor) {
    verifying *v = self;
    if (v->count == v->capacity) {
        const int64_t capacity = v->capacity > 0 ? 2 * v->capacity : 64;
        quern_verify_tensor *more = realloc(v->tensors, (size_t)capacity * sizeof *more);
        if (!more) return quern_fail(QUERN_HOST_MEMORY, "no memory for the table of tensors");
        v->tensors = more;
        v->capacity = capacity;
    }
    v->tensors[v->count++] = *tensor;
    return QUERN_OK;
}

static quern_status run(verifying *v, quern_device *device) {
    quern_verify_desc desc = {.build = build,
                              .self = v,
                              .device = device,
                              .dataset = v->data.train,
                              .transforms = &v->data.transform,
                              .transform_count = 1,
                              .weights = v->weights,
                              .batch_size = v->options->batch_size,
                              .visit = collect,
                              .visit_self = v};
    const quern_status status = session_optimizer(&desc.optimizer, v->options);
    return status == QUERN_OK ? quern_verify(&v->result, &desc) : status;
}

/* The weights of a checkpoint, with the model and the data that they were trained on. */
static quern_status run_trained(verifying *v) {
    trained t;
    quern_status status = trained_open(&t, v->options, false);
    if (status != QUERN_OK) return status;
    v->data = t.data;
    v->model = t.model;
    v->weights = quern_checkpoint_model(t.checkpoint);
    status = run(v, t.device);
    trained_release(&t);
    return status;
}

static quern_status run_fresh(verifying *v) {
    quern_device *device = NULL;
    quern_log_level lowest;
    v->model = v->options->model;
    quern_status status = session_device(&device, v->options, &lowest, NULL);
    if (status == QUERN_OK) status = samples_open(&v->data, device, v->options->data, NULL);
    if (status == QUERN_OK) status = samples_measure(&v->data);
    if (status == QUERN_OK) status = run(v, device);
    samples_release(&v->data);
    quern_device_destroy(device);
    return status;
}

static const char *device_name(quern_device_kind kind) {
    return kind == QUERN_DEVICE_CUDA ? "cuda" : "cpu";
}

/* A NaN is worse than any number. */
static bool is_worse(const quern_verify_tensor *a, const quern_verify_tensor *b) {
    if (isnan(a->error) || isnan(b->error)) return isnan(a->error) && !isnan(b->error);
    return a->error / a->tolerance > b->error / b->tolerance;
}

static void print_row(FILE *to, const quern_verify_tensor *t, const char *verdict) {
    fprintf(to, "%-6s %-23s %-28s %10.2e %10.2e  %s%s\n", device_name(t->device),
            quern_verify_role_name(t->role), t->name, unsigned_nan(t->error), t->tolerance, verdict,
            t->by_norm ? ", by norm" : "");
}

/* The worst tensor of each role. */
static void print_worst(FILE *to, const verifying *v, quern_device_kind kind) {
    for (int role = 0; role < QUERN_VERIFY_ROLE_COUNT; role++) {
        const quern_verify_tensor *worst = NULL;
        for (int64_t i = 0; i < v->count; i++) {
            const quern_verify_tensor *t = &v->tensors[i];
            if (t->device != kind || (int)t->role != role) continue;
            if (!worst || is_worse(t, worst)) worst = t;
        }
        if (worst) print_row(to, worst, worst->ok ? "ok" : "BAD");
    }
}

static void print_bad(FILE *to, const verifying *v) {
    int lines = 0;
    for (int64_t i = 0; i < v->count && lines < BAD_LINES_MAX; i++) {
        if (v->tensors[i].ok) continue;
        if (lines++ == 0) fputs("\nout of tolerance, in the order of a step:\n", to);
        print_row(to, &v->tensors[i], lines == 1 ? "first" : "");
    }
}

static quern_status print_text(const verifying *v) {
    sheet s;
    const quern_status status = sheet_open(&s);
    if (status != QUERN_OK) return status;
    fprintf(s.to, "%-6s %-23s %-28s %10s %10s\n", "device", "worst", "tensor", "error",
            "tolerance");
    print_worst(s.to, v, QUERN_DEVICE_CPU);
    print_worst(s.to, v, QUERN_DEVICE_CUDA);
    print_bad(s.to, v);
    fprintf(s.to,
            "\n%lld samples, %lld tensors, %lld out of tolerance, %lld branches of kinks differ\n",
            (long long)v->result.samples, (long long)v->result.compared, (long long)v->result.bad,
            (long long)v->result.flips);
    return sheet_print(&s);
}

static void tensor_json(FILE *to, const quern_verify_tensor *t) {
    json j;
    json_begin(&j, to, " ");
    json_text(&j, "device", device_name(t->device));
    json_text(&j, "role", quern_verify_role_name(t->role));
    json_text(&j, "name", t->name);
    json_text(&j, "shape", t->shape);
    json_count(&j, "count", t->count);
    json_count(&j, "index", t->index);
    json_number(&j, "reference", t->reference);
    json_number(&j, "found", t->found);
    json_number(&j, "error", t->error);
    json_number(&j, "tolerance", t->tolerance);
    json_flag(&j, "by_norm", t->by_norm);
    json_flag(&j, "ok", t->ok);
    json_end(&j);
}

static quern_status print_json(const verifying *v, quern_status outcome, const char *reason) {
    sheet s;
    json j;
    const quern_status status = sheet_open(&s);
    if (status != QUERN_OK) return status;
    json_begin(&j, s.to, " ");
    json_text(&j, "status", command_status_name(outcome));
    json_text(&j, "reason", reason);
    json_count(&j, "samples", v->result.samples);
    json_count(&j, "compared", v->result.compared);
    json_count(&j, "bad", v->result.bad);
    json_count(&j, "flips", v->result.flips);
    json_text(&j, "first", v->result.bad > 0 ? v->result.first.name : NULL);
    json_key(&j, "tensors");
    fputc('[', s.to);
    for (int64_t i = 0; i < v->count; i++) {
        if (i > 0) fputs(", ", s.to);
        tensor_json(s.to, &v->tensors[i]);
    }
    fputc(']', s.to);
    json_end(&j);
    fputc('\n', s.to);
    return sheet_print(&s);
}

static quern_status check_sources(const options *o) {
    if (o->checkpoint) return o->data ? samples_check(o->data) : QUERN_OK;
    if (!o->model) return quern_fail(QUERN_INVALID, "verify needs --model");
    if (!o->data) return quern_fail(QUERN_INVALID, "verify needs --data");
    return samples_check(o->data);
}

/* What is missing is said when it is opened. */
static quern_status check(const options *o) {
    const quern_status status = check_sources(o);
    if (status == QUERN_INVALID) return status;
    return session_device_check(o);
}

int command_verify(const options *o) {
    verifying v = {.options = o};
    char reason[1024] = "";
    quern_status status = check(o);
    if (status != QUERN_OK) return command_fail(status);
    status = o->checkpoint ? run_trained(&v) : run_fresh(&v);
    if (status != QUERN_OK) {
        snprintf(reason, sizeof reason, "%s", quern_error());
        fprintf(stderr, "quern: %s\n", reason);
    }
    quern_status printed = QUERN_OK;
    if (o->json)
        printed = print_json(&v, status, status == QUERN_OK ? "in tolerance" : reason);
    else if (v.count > 0)
        printed = print_text(&v);
    free(v.tensors);
    if (status == QUERN_OK && printed != QUERN_OK) return command_fail(printed);
    return quern_status_exit_code(status);
}
