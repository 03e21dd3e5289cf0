/* fuzz_api.c - the bytes are a program: calls of the public API on one trainer at a time, over a
 * disk in memory, with operations that fail and files that are damaged in between.
 *
 * What must hold whatever the calls are: no INTERNAL, a sentence with every failure, nothing alive
 * at the end, and no finding of the sanitizers. */
#include "fault_host.h"
#include "forge.h"
#include "fuzz.h"
#include "locked_disk.h"

#include <quern/quern.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FEATURES = 3, CLASSES = 3, SAMPLES = 12, CALLS_MAX = 24, EVENTS_MAX = 200 };

typedef struct program {
    const uint8_t *data;
    size_t left;
} program;

typedef struct machine {
    program code;
    locked_disk disk;
    fault_host faults;
    quern_device *device;
    quern_graph *graph;
    quern_dataset *train, *valid;
    quern_tensor *x, *label, *logits, *loss;
    quern_metric metrics[2];
    quern_callback callback;
    quern_evaluation_set more;
    quern_trainer *trainer;
    int32_t events;
    float values[SAMPLES][FEATURES];
    int32_t labels[SAMPLES];
} machine;

static uint8_t next(machine *m) {
    if (m->code.left == 0) return 0;
    m->code.left--;
    return *m->code.data++;
}

/* low … high */
static int64_t number(machine *m, int64_t low, int64_t high) {
    return low + next(m) % (high - low + 1);
}

static bool flag(machine *m) { return next(m) % 4 == 1; }

static void finding(const char *what) {
    fprintf(stderr, "finding: %s; the last sentence: %s\n", what, quern_error());
    abort();
}

static bool judge(quern_status status) {
    if (status == QUERN_OK) return true;
    if (status == QUERN_INTERNAL) finding("INTERNAL");
    if (quern_error()[0] == '\0') finding("a failure without a sentence");
    return false;
}

/* An action byte above the actions is CONTINUE, so that most runs go somewhere. */
static quern_action act(void *self, const quern_event *event) {
    machine *m = self;
    if (m->events++ > EVENTS_MAX || event->kind == QUERN_EVENT_close) return QUERN_CONTINUE;
    const uint8_t byte = next(m);
    if (byte == 200) (void)!judge(quern_event_request(event, QUERN_REQUEST_EVALUATION));
    if (byte == 201) (void)!judge(quern_event_request(event, QUERN_REQUEST_SAVE));
    if (byte == 202) (void)!judge(quern_trainer_scale_learning_rate(event->trainer, 0.5));
    if (byte == 203) (void)!judge(quern_trainer_fit(event->trainer, NULL));
    if (byte == 204) quern_trainer_stop(event->trainer);
    return byte <= QUERN_FAIL ? (quern_action)byte : QUERN_CONTINUE;
}

static void callback_make(machine *m) {
#define X(name, actions, text) .name = act,
#define INSIDE(name) m->callback.name = NULL
    m->callback = (quern_callback){.name = "fuzz", .self = m, QUERN_EVENT_LIST(X)};
    if (flag(m)) return;
    INSIDE(loss_ready);
    INSIDE(micro_end);
    INSIDE(grads_ready);
    INSIDE(update_begin);
#undef INSIDE
#undef X
}

static quern_dataset *dataset_make(machine *m, int64_t length) {
    quern_dataset *set = NULL;
    const quern_arrays_desc desc = {
        .length = length,
        .field_count = 2,
        .fields = {{.name = "x", .rank = 1, .dim = {FEATURES}},
                   {.name = "label", .dtype = QUERN_I32}},
        .data = {m->values, m->labels},
    };
    return judge(quern_dataset_arrays(&set, m->device, &desc)) ? set : NULL;
}

static void samples_make(machine *m) {
    const uint8_t seed = next(m), broken = next(m);
    for (int i = 0; i < SAMPLES; i++) {
        m->labels[i] = (i * 7 + seed) % CLASSES;
        for (int f = 0; f < FEATURES; f++)
            m->values[i][f] = (float)((i * 37 + f * 11 + seed) % 17) / 8.0f - 1.0f;
    }
    if (broken % 8 == 1) m->values[broken % SAMPLES][0] = NAN;
    if (broken % 8 == 2) m->values[broken % SAMPLES][1] = 1e38f;
    if (broken % 8 == 3) m->labels[broken % SAMPLES] = CLASSES;
    if (broken % 8 == 4) m->labels[broken % SAMPLES] = -100;
}

static bool graph_make(machine *m) {
    const uint8_t kind = next(m);
    if (!judge(quern_graph_create(&m->graph, m->device, NULL))) return false;
    quern_graph *g = m->graph;
    m->x = quern_input(g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, FEATURES}});
    m->label = quern_labels(g, "label");
    quern_tensor *h = quern_dense(g, m->x, &(quern_dense_desc){.units = 4, .name = "a"});
    if (kind & 1) h = quern_dropout(g, h, &(quern_dropout_desc){.probability = 0.25f});
    if (kind & 2) h = quern_layer_normalize(g, h, NULL);
    h = quern_relu(g, h);
    m->logits = quern_dense(g, h, &(quern_dense_desc){.units = CLASSES, .name = "b"});
    m->loss =
        quern_softmax_cross_entropy(g, m->logits, m->label, &(quern_softmax_cross_entropy_desc){0});
    m->metrics[0] = quern_metric_accuracy(g, m->logits, m->label);
    m->metrics[1] = quern_metric_confusion(g, m->logits, m->label);
    return judge(quern_graph_status(g));
}

static bool world_make(machine *m) {
    samples_make(m);
    const quern_device_desc device = {
        .kind = QUERN_DEVICE_CPU, .thread_count = 1, .seed = next(m), .host = m->faults.host};
    return judge(quern_device_create(&m->device, &device)) &&
           (m->train = dataset_make(m, number(m, 1, SAMPLES))) != NULL &&
           (m->valid = dataset_make(m, number(m, 1, SAMPLES))) != NULL && graph_make(m);
}

static quern_optimizer_desc optimizer_make(machine *m) {
    quern_optimizer_desc o = {.kind = (quern_optimizer_kind)number(m, 0, QUERN_OPTIMIZER_COUNT - 1),
                              .learning_rate = flag(m) ? 1e30 : 0.05};
    if (flag(m)) o.clip_norm = 0.5;
    if (flag(m)) o.clip_value = 0.1;
    if (flag(m)) o.schedule.kind = (quern_schedule_kind)number(m, 0, QUERN_SCHEDULE_COUNT - 2);
    if (flag(m)) o.schedule.warmup = number(m, 0, 4);
    return o;
}

static quern_save_desc save_make(machine *m) {
    if (!flag(m) && !flag(m)) return (quern_save_desc){0};
    return (quern_save_desc){.directory = "/run/checkpoints",
                             .every = number(m, 0, 3),
                             .keep_last = (int32_t)number(m, 0, 4),
                             .keep_best = (int32_t)number(m, 0, 1),
                             .keep_every = number(m, 0, 2),
                             .two_snapshots = flag(m),
                             .resume = next(m) % 2 == 1};
}

static void data_make(machine *m, quern_trainer_desc *d) {
    d->train = flag(m) ? NULL : m->train;
    d->valid = flag(m) ? NULL : m->valid;
    if (flag(m)) {
        m->more = (quern_evaluation_set){.name = flag(m) ? "val" : "more", .dataset = m->train};
        d->evaluation_sets = &m->more;
        d->evaluation_set_count = 1;
    }
    d->batch_size = number(m, 1, 5);
    d->accumulate = number(m, 0, 3);
    d->tail = (quern_tail)number(m, 0, 2);
    d->drop_last = flag(m);
    d->no_shuffle = flag(m);
    d->worker_count = flag(m) ? (int32_t)number(m, 0, 2) : 0;
    d->prefetch = flag(m) ? (int32_t)number(m, 0, 3) : 0;
    d->evaluate_every = number(m, 0, 3);
    d->train_batch_limit = number(m, 0, 4);
    d->eval_batch_limit = number(m, 0, 3);
    d->sanity_batches = number(m, 0, 2);
}

static void trainer_make(machine *m) {
    quern_trainer_desc d = {.graph = m->graph,
                            .loss = m->loss,
                            .metrics = m->metrics,
                            .metric_count = 2,
                            .outputs = &m->logits,
                            .output_count = 1};
    quern_trainer_destroy(m->trainer);
    m->trainer = NULL;
    callback_make(m);
    data_make(m, &d);
    if (d.train) d.epoch_count = number(m, 1, 3); /* a run of skips alone must end too */
    d.step_limit = number(m, 0, 6);
    d.sample_limit = flag(m) ? number(m, 0, 30) : 0;
    d.log_every = number(m, 0, 3);
    d.run_ahead = (int32_t)number(m, 0, 4);
    d.not_finite = (quern_not_finite)number(m, 0, 2);
    d.not_finite_limit = number(m, 0, 3);
    d.fast_dev_run = flag(m) && flag(m);
    d.overfit_batch = flag(m) && flag(m);
    d.stop_file = flag(m) ? "/run/stop" : NULL;
    d.no_capture = flag(m);
    d.no_fusion = flag(m);
    d.average_decay = flag(m) ? 0.5 : 0;
    d.average_warmup = flag(m) && d.average_decay > 0;
    d.optimizer = optimizer_make(m);
    d.save = save_make(m);
    d.callbacks = &m->callback;
    d.callback_count = flag(m) ? 0 : 1;
    (void)!judge(quern_trainer_create(&m->trainer, &d));
}

static void result_check(quern_status status, const quern_result *r) {
    (void)!judge(status);
    if (r->step < 0 || r->samples < 0 || r->epochs < 0) finding("a counter below 0");
    if (r->attempts < r->step) finding("more steps than attempts");
    if (quern_stop_reason_name(r->reason)[0] == '\0') finding("a stop reason without a name");
}

static void fit(machine *m) {
    quern_result r = {0};
    m->events = 0;
    const quern_status status = quern_trainer_fit(m->trainer, &r);
    result_check(status, &r);
}

static void step(machine *m) {
    quern_batch batches[3];
    const int32_t count = (int32_t)number(m, 1, 3);
    for (int i = 0; i < count; i++) {
        const int64_t samples = number(m, 0, 5);
        batches[i] = (quern_batch){.sample_count = samples,
                                   .field_count = (int32_t)number(m, 1, 2),
                                   .names = {"x", "label"},
                                   .data = {m->values, m->labels},
                                   .on_device = flag(m)};
        if (next(m) % 16 == 3) batches[i].data[0] = NULL;
    }
    m->events = 0;
    if (count == 1)
        (void)!judge(quern_trainer_step(m->trainer, &batches[0]));
    else
        (void)!judge(quern_trainer_step_window(m->trainer, batches, count));
}

static void evaluate(machine *m) {
    quern_scalar scalars[4];
    int32_t count = 0;
    double counts[CLASSES * CLASSES];
    (void)!judge(
        quern_trainer_evaluate(m->trainer, flag(m) ? m->train : m->valid, scalars, 4, &count));
    (void)!judge(quern_trainer_confusion(m->trainer, m->metrics[1].name, counts, number(m, 0, 12)));
}

static void outputs(machine *m) {
    float logits[SAMPLES * CLASSES];
    const size_t bytes = (size_t)number(m, 0, SAMPLES) * CLASSES * sizeof *logits;
    if (flag(m))
        (void)!judge(quern_trainer_read(m->trainer, m->logits, logits, bytes));
    else
        (void)!judge(quern_trainer_predict(m->trainer, m->valid, m->logits, logits, bytes));
}

static void state(machine *m) {
    char text[33];
    quern_result r = {0};
    switch (number(m, 0, 5)) {
    case 0: (void)!judge(quern_trainer_reset(m->trainer)); break;
    case 1: (void)!judge(quern_trainer_save(m->trainer)); break;
    case 2: (void)!judge(quern_trainer_digest(m->trainer, text)); break;
    case 3: quern_trainer_stop(m->trainer); break;
    case 4:
        (void)!judge(quern_trainer_scale_learning_rate(m->trainer, (double)number(m, 0, 3)));
        break;
    default: result_check(quern_trainer_wait(m->trainer, &r), &r);
    }
}

/* The n-th operation from now on fails; or, again, none does. */
static void fault_plan(machine *m) {
    const fault_kind kind = (fault_kind)number(m, 0, FAULT_KIND_COUNT - 1);
    const int64_t n = number(m, 0, 12);
    m->faults.fault[kind] = (fault){
        .at = n > 0 ? m->faults.count[kind] + n : 0, .error = n % 2 ? 5 : 28, .for_ever = flag(m)};
}

/* A file of a checkpoint; of no bytes when it is not there. */
static forge_file disk_file(machine *m, int step, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/run/checkpoints/step-%d/%s", step, name);
    const disk_node *node = power_disk_find(&m->disk.disk, path);
    if (!node) return (forge_file){NULL, 0, 0};
    return (forge_file){(char *)node->data, node->bytes, node->bytes};
}

/* A changed byte; or a lie, whose digests are right. */
static void disk_damage(machine *m) {
    static const char *const names[] = {"manifest.json", "state.safetensors", "model.safetensors"};
    const int step = (int)number(m, 0, 6);
    const int which = flag(m) ? 0 : flag(m) ? 1 : 2;
    forge_file files[3];
    for (int i = 0; i < 3; i++) files[i] = disk_file(m, step, names[i]);
    const size_t at = (size_t)next(m) * 16 + next(m);
    if (at < files[which].bytes) files[which].data[at] ^= (char)(1 + next(m) % 127);
    if (flag(m)) (void)!forge_digests(&files[0], &files[2], &files[1]);
}

static void call(machine *m) {
    const int64_t kind = number(m, 0, 9);
    if (kind == 0) trainer_make(m);
    if (kind == 1) fault_plan(m);
    if (!m->trainer) return;
    if (kind >= 2 && kind <= 3) fit(m);
    if (kind >= 4 && kind <= 5) step(m);
    if (kind == 6) evaluate(m);
    if (kind == 7) outputs(m);
    if (kind == 8) state(m);
    if (kind != 9) return;
    quern_trainer_destroy(m->trainer); /* the writer is at rest: nothing else reads the disk */
    m->trainer = NULL;
    disk_damage(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static machine m;
    memset(&m, 0, sizeof m);
    m.code = (program){data, bytes};
    locked_disk_begin(&m.disk);
    const quern_host disk = locked_disk_host(&m.disk);
    fault_host_begin(&m.faults, &disk);
    if (world_make(&m)) {
        trainer_make(&m);
        for (int i = 0; i < CALLS_MAX && m.code.left > 0; i++) call(&m);
    }
    quern_trainer_destroy(m.trainer);
    quern_graph_destroy(m.graph);
    quern_dataset_destroy(m.valid);
    quern_dataset_destroy(m.train);
    quern_device_destroy(m.device);
    if (fault_host_live(&m.faults) != 0) finding("something is still alive");
    locked_disk_end(&m.disk);
    return 0;
}
