#include "saved_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static uint32_t mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ x >> 16;
}

static int64_t train_length(void *self) {
    (void)self;
    return SAVED_SAMPLES;
}

static int64_t valid_length(void *self) {
    (void)self;
    return SAVED_VALID;
}

static int32_t fields(void *self, const quern_field **out) {
    static const quern_field list[] = {
        {.name = "image", .dtype = QUERN_F32, .rank = 3, .dim = {1, SAVED_SIDE, SAVED_SIDE}},
        {.name = "label", .dtype = QUERN_I32, .class_count = 3}};
    (void)self;
    *out = list;
    return 2;
}

static void fill(uint32_t index, void *const *to) {
    const uint32_t label = mix(index * 7 + 3) % 3;
    float *image = to[0];
    for (uint32_t i = 0; i < SAVED_SIDE * SAVED_SIDE; i++)
        image[i] = (float)(mix(index * 64 + i) % 120 + (i % 3 == label ? 100 : 0)) / 255;
    *(int32_t *)to[1] = (int32_t)label;
}

/* Notes which sample was asked for. */
static quern_status train_read(void *self, int64_t index, void *const *to) {
    saved_run *r = self;
    const int64_t at = atomic_fetch_add(&r->samples_read, 1);
    if (at < SAVED_RECORDS) r->samples[at] = (int32_t)index;
    fill((uint32_t)index, to);
    float *image = to[0];
    for (int i = 0; i < SAVED_SIDE * SAVED_SIDE && index < r->desc.poisoned; i++) image[i] = 3e38F;
    return QUERN_OK;
}

/* A stream that cannot start again. */
static quern_status train_next(void *self, void *const *to, bool *end) {
    const saved_run *r = self;
    const int64_t index = (int64_t)atomic_load(&r->samples_read);
    *end = index >= SAVED_SAMPLES;
    return *end ? QUERN_OK : train_read(self, index, to);
}

static int64_t no_length(void *self) {
    (void)self;
    return -1;
}

static quern_status valid_read(void *self, int64_t index, void *const *to) {
    (void)self;
    fill(1000 + (uint32_t)index, to);
    return QUERN_OK;
}

static quern_status datasets_open(saved_run *r) {
    static const quern_dataset_type train = {
        .name = "train", .length = train_length, .fields = fields, .read = train_read};
    static const quern_dataset_type valid = {
        .name = "valid", .length = valid_length, .fields = fields, .read = valid_read};
    static const quern_dataset_type stream = {
        .name = "stream", .length = no_length, .fields = fields, .next = train_next};
    const quern_status s =
        quern_dataset_custom(&r->train, r->device, r->desc.stream ? &stream : &train, r);
    return s != QUERN_OK ? s : quern_dataset_custom(&r->valid, r->device, &valid, r);
}

static uint64_t hash_add(uint64_t hash, const void *bytes, size_t count) {
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * UINT64_C(0x100000001B3);
    return hash;
}

static uint64_t hash_of(const quern_event *e) {
    uint64_t hash = hash_add(UINT64_C(0xCBF29CE484222325), &e->outcome, sizeof e->outcome);
    if (e->evaluation) hash = hash_add(hash, e->evaluation, strlen(e->evaluation));
    for (int32_t i = 0; i < e->scalar_count; i++) {
        hash = hash_add(hash, e->scalars[i].name, strlen(e->scalars[i].name));
        hash = hash_add(hash, &e->scalars[i].value, sizeof e->scalars[i].value);
    }
    return hash;
}

/* A whole batch, or the one sample that is an epoch's last. */
static uint64_t hash_of_batch(const saved_run *r) {
    float images[3][SAVED_SIDE * SAVED_SIDE];
    size_t bytes = sizeof images;
    quern_status s = quern_trainer_read(r->trainer, r->image, images, bytes);
    if (s == QUERN_SHAPE) {
        bytes = sizeof images[0];
        s = quern_trainer_read(r->trainer, r->image, images, bytes);
    }
    return s == QUERN_OK ? hash_add(UINT64_C(0xCBF29CE484222325), images, bytes) : 0;
}

static quern_action record(void *self, const quern_event *e) {
    saved_run *r = self;
    const uint64_t hash = e->kind == QUERN_EVENT_micro_end ? hash_of_batch(r) : hash_of(e);
    if (hash == 0) return QUERN_FAIL;
    if (e->checkpoint && e->status == QUERN_OK)
        snprintf(r->newest, sizeof r->newest, "%s", e->checkpoint);
    if (r->record_count < SAVED_RECORDS)
        r->records[r->record_count++] = (saved_record){e->kind,
                                                       e->step,
                                                       e->attempts,
                                                       e->epoch,
                                                       e->batch,
                                                       hash,
                                                       (int64_t)atomic_load(&r->samples_read)};
    return r->desc.hook ? r->desc.hook(r->desc.hook_self, e) : QUERN_CONTINUE;
}

/* A pure function of the attempt, as a resumed run needs it. */
static quern_action skip_some(void *self, const quern_event *e) {
    (void)self;
    return e->attempts % 7 == 5 ? QUERN_SKIP_STEP : QUERN_CONTINUE;
}

static quern_action count_update(void *self, const quern_event *e) {
    saved_counter *c = self;
    if (e->outcome != QUERN_OUTCOME_APPLIED) return QUERN_CONTINUE;
    c->updates++;
    for (int i = 0; i < 5; i++) c->block[i] = 0.5f * c->block[i] + (float)(c->updates * (i + 1));
    return QUERN_CONTINUE;
}

/* The callback's state enters the records at every epoch's end, so that a lost one shows. */
static quern_action judge_count(void *self, const quern_event *e) {
    const saved_counter *c = self;
    if (quern_trainer_scale_learning_rate(e->trainer, 0.7) != QUERN_OK) return QUERN_FAIL;
    return c->updates >= e->step ? QUERN_CONTINUE : QUERN_FAIL; /* more behind a rollback */
}

static quern_callback_state counter_state(void *self) {
    saved_counter *c = self;
    return (quern_callback_state){&c->updates, sizeof c->updates, c->block, sizeof c->block};
}

static quern_status graph_build(saved_run *r, quern_metric *metrics, quern_tensor **loss) {
    quern_graph *g = r->graph;
    quern_tensor *x = quern_input(
        g,
        &(quern_input_desc){.name = "image", .rank = 2, .dim = {QUERN_B, SAVED_SIDE * SAVED_SIDE}});
    r->image = x;
    quern_tensor *label = quern_labels(g, "label");
    quern_tensor *h = quern_dense(g, x, &(quern_dense_desc){.units = 6, .name = "fc1"});
    h = quern_relu(g, quern_batch_normalize(g, h, NULL));
    h = quern_dropout(g, h, &(quern_dropout_desc){.probability = r->desc.dropout});
    quern_tensor *z = quern_dense(g, h, &(quern_dense_desc){.units = 3, .name = "fc2"});
    *loss = quern_softmax_cross_entropy(
        g, z, label, &(quern_softmax_cross_entropy_desc){.label_smoothing = r->desc.smoothing});
    metrics[0] = quern_metric_accuracy(g, z, label);
    metrics[1] = quern_metric_confusion(g, z, label);
    metrics[2] = (quern_metric){.name = "moving", .kind = QUERN_METRIC_LOSS_MOVING, .window = 5};
    metrics[3] = (quern_metric){.name = "low", .kind = QUERN_METRIC_LOSS_MIN};
    metrics[4] = (quern_metric){.name = "spread", .kind = QUERN_METRIC_LOSS_DEVIATION};
    metrics[5] = (quern_metric){.name = "high", .kind = QUERN_METRIC_LOSS_MAX};
    return quern_graph_status(g);
}

static int32_t callbacks_fill(saved_run *r, quern_callback *out) {
#define X(name, actions, text) .name = record,
    out[0] = (quern_callback){
        .name = "recorder", .band = QUERN_BAND_LOGGER, .self = r, QUERN_EVENT_LIST(X)};
#undef X
    out[0].loss_ready = out[0].grads_ready = out[0].update_begin = NULL;
    if (!r->desc.watched) out[0].micro_end = NULL;
    out[1] = (quern_callback){.name = "skipper", .step_begin = skip_some};
    out[2] = (quern_callback){.name = "counter",
                              .self = &r->counter,
                              .state = counter_state,
                              .update_end = count_update,
                              .epoch_end = judge_count};
    if (!r->early_stop) return 3;
    out[3] = quern_early_stop_callback(r->early_stop);
    return 4;
}

quern_status saved_run_create(saved_run *r) {
    const saved_run_desc *d = &r->desc;
    quern_callback callbacks[4];
    const quern_transform transform = {
        .field = "image", .scale = 1.5f, .crop_padding = 1, .horizontal_flip = true};
    quern_trainer_desc desc = {
        .graph = r->graph,
        .loss = r->loss,
        .metrics = r->metrics,
        .metric_count = 6,
        .outputs = &r->image,
        .output_count = d->watched,
        .train = r->train,
        .valid = r->valid,
        .transforms = &transform,
        .transform_count = 1,
        .batch_size = 3,
        .accumulate = d->accumulate,
        .tail = d->tail,
        .worker_count = d->workers,
        .prefetch = d->prefetch,
        .no_shuffle = d->stream,
        .epoch_count = d->epochs ? d->epochs : 3,
        .step_limit = d->step_limit,
        .log_every = 3,
        .run_ahead = d->run_ahead,
        .optimizer = {.learning_rate = 0.02,
                      .clip_norm = 0.5,
                      .schedule = {.kind = QUERN_SCHEDULE_COSINE, .warmup = 4, .total = 40}},
        .average_decay = 0.9,
        .average_warmup = true,
        .save = {.directory = d->directory, .every = d->every, .resume = d->resume},
        .callbacks = callbacks,
        .callback_count = callbacks_fill(r, callbacks),
    };
    if (d->directory) desc.save.keep_every = 1;
    if (d->change) d->change(d->change_self, &desc);
    return quern_trainer_create(&r->trainer, &desc);
}

static int64_t no_sync(void *self, int64_t file) {
    (void)self;
    (void)file;
    return 0;
}

/* From any thread, but not at once: only tests of one warning read it. */
static void note_log(void *self, quern_log_level level, const char *sentence) {
    saved_run *r = self;
    const size_t length = strlen(r->log);
    if (level >= QUERN_LOG_INFO)
        snprintf(r->log + length, sizeof r->log - length, "%s\n", sentence);
}

/* What a power cut leaves is tests/checkpoint's to show; here files need not reach the disk. */
static quern_host fast_host(saved_run *r) {
    quern_host host = quern_host_default();
    host.files.sync = no_sync;
    host.log = (quern_log_sink){note_log, r};
    return host;
}

static quern_status build_all(saved_run *r) {
    const saved_run_desc *d = &r->desc;
    quern_status s;
    const quern_device_desc device = {.kind = QUERN_DEVICE_CPU,
                                      .thread_count = d->threads ? d->threads : 1,
                                      .seed = d->seed ? d->seed : 11,
                                      .host = d->host.files.sync ? d->host : fast_host(r)};
    if ((s = quern_device_create(&r->device, &device))) return s;
    if ((s = datasets_open(r))) return s;
    if ((s = quern_graph_create(&r->graph, r->device, NULL))) return s;
    if ((s = graph_build(r, r->metrics, &r->loss))) return s;
    if (d->patience > 0) {
        const quern_early_stop_desc stop = {.patience = d->patience, .restore_best = true};
        if ((s = quern_early_stop_create(&r->early_stop, r->device, &stop))) return s;
    }
    return QUERN_OK;
}

quern_status saved_run_build(saved_run *r, const saved_run_desc *desc) {
    memset(r, 0, sizeof *r);
    r->desc = *desc;
    if (r->desc.dropout == 0) r->desc.dropout = 0.25f;
    const quern_status s = build_all(r);
    if (s != QUERN_OK) saved_run_close(r);
    return s;
}

quern_status saved_run_open(saved_run *r, const saved_run_desc *desc) {
    quern_status s = saved_run_build(r, desc);
    if (s != QUERN_OK) return s;
    s = saved_run_create(r);
    if (s != QUERN_OK) saved_run_close(r);
    return s;
}

quern_status saved_run_fit(saved_run *r) {
    const quern_status s = quern_trainer_fit(r->trainer, &r->result);
    /* behind the last save early stop has put the best weights back */
    const bool restored = !r->result.checkpoint && r->early_stop && s == QUERN_OK;
    snprintf(r->checkpoint, sizeof r->checkpoint, "%s",
             restored               ? r->newest
             : r->result.checkpoint ? r->result.checkpoint
                                    : "");
    return s != QUERN_OK ? s : quern_trainer_digest(r->trainer, r->digest);
}

void saved_run_close(saved_run *r) {
    quern_trainer_destroy(r->trainer);
    quern_early_stop_destroy(r->early_stop);
    quern_graph_destroy(r->graph);
    quern_dataset_destroy(r->valid);
    quern_dataset_destroy(r->train);
    quern_device_destroy(r->device);
    r->trainer = NULL;
    r->early_stop = NULL;
    r->graph = NULL;
    r->valid = r->train = NULL;
    r->device = NULL;
}

quern_status saved_run_whole(saved_run *r, const saved_run_desc *desc) {
    quern_status s = saved_run_open(r, desc);
    if (s != QUERN_OK) return s;
    s = saved_run_fit(r);
    char text[1024];
    snprintf(text, sizeof text, "%s", quern_error());
    saved_run_close(r);
    return s == QUERN_OK ? s : quern_fail(s, "%s", text);
}
