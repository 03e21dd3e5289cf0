/* configuration_text.c - the resolved desc as one JSON object, for manifests and for the comparison
 * on resume. Everything that decides a bit of the run is in it; "data" and "optimizer.rule" say
 * which run it is at all. */
#include "../callbacks/early_stop.h"
#include "../checkpoint/configuration.h"
#include "../precision.h"
#include "state.h"
#include "../../graph/node_text.h"
#include "../../graph/shapes.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

typedef enum member_kind { BOOL, INT32, INT64, REAL } member_kind;

typedef struct member {
    const char *key;
    member_kind kind;
    size_t offset;
} member;

#define M(type, kind, name)                                                                        \
    { #name, kind, offsetof(type, name) }

static const member trainer_members[] = {
    M(quern_trainer_desc, INT64, batch_size),
    M(quern_trainer_desc, INT64, accumulate),
    M(quern_trainer_desc, BOOL, drop_last),
    M(quern_trainer_desc, BOOL, no_shuffle),
    M(quern_trainer_desc, INT32, worker_count),
    M(quern_trainer_desc, INT32, prefetch),
    M(quern_trainer_desc, INT64, epoch_count),
    M(quern_trainer_desc, INT64, step_limit),
    M(quern_trainer_desc, INT64, sample_limit),
    M(quern_trainer_desc, REAL, seconds_limit),
    M(quern_trainer_desc, INT64, evaluate_every),
    M(quern_trainer_desc, INT64, evaluate_every_epochs),
    M(quern_trainer_desc, INT64, eval_batch_limit),
    M(quern_trainer_desc, INT64, train_batch_limit),
    M(quern_trainer_desc, INT64, sanity_batches),
    M(quern_trainer_desc, BOOL, overfit_batch),
    M(quern_trainer_desc, BOOL, handle_signals),
    M(quern_trainer_desc, INT64, log_every),
    M(quern_trainer_desc, INT32, run_ahead),
    M(quern_trainer_desc, INT32, steps_per_launch),
    M(quern_trainer_desc, INT64, not_finite_limit),
    M(quern_trainer_desc, REAL, average_decay),
    M(quern_trainer_desc, BOOL, average_warmup),
    M(quern_trainer_desc, BOOL, no_fusion),
    M(quern_trainer_desc, BOOL, no_capture),
};

static const member loss_scale_members[] = {
    M(quern_loss_scale, REAL, initial), M(quern_loss_scale, REAL, growth),
    M(quern_loss_scale, REAL, backoff), M(quern_loss_scale, INT64, interval),
    M(quern_loss_scale, REAL, minimum), M(quern_loss_scale, BOOL, is_static),
};

static const member optimizer_members[] = {
    M(quern_optimizer_desc, REAL, learning_rate), M(quern_optimizer_desc, REAL, beta1),
    M(quern_optimizer_desc, REAL, beta2),         M(quern_optimizer_desc, REAL, epsilon),
    M(quern_optimizer_desc, REAL, momentum),      M(quern_optimizer_desc, BOOL, nesterov),
    M(quern_optimizer_desc, REAL, weight_decay),  M(quern_optimizer_desc, REAL, clip_norm),
    M(quern_optimizer_desc, REAL, clip_value),
};

static const member schedule_members[] = {
    M(quern_schedule, INT64, warmup),        M(quern_schedule, REAL, warmup_scale),
    M(quern_schedule, INT64, total),         M(quern_schedule, REAL, final_scale),
    M(quern_schedule, REAL, gamma),          M(quern_schedule, INT64, period),
    M(quern_schedule, INT64, period_factor), M(quern_schedule, REAL, power),
    M(quern_schedule, REAL, start_scale),    M(quern_schedule, REAL, peak),
    M(quern_schedule, INT64, decay),
};

static const member save_members[] = {
    M(quern_save_desc, INT64, every),      M(quern_save_desc, INT32, keep_last),
    M(quern_save_desc, INT32, keep_best),  M(quern_save_desc, BOOL, best_is_largest),
    M(quern_save_desc, INT64, keep_every),
};

#define COUNT(list) (sizeof(list) / sizeof *(list))

static void add_value(text *t, const member *m, const char *from) {
    const void *value = from + m->offset;
    switch (m->kind) {
    case BOOL: text_add(t, *(const bool *)value ? "true" : "false"); break;
    case INT32: text_add(t, "%" PRId32, *(const int32_t *)value); break;
    case INT64: text_add(t, "%" PRId64, *(const int64_t *)value); break;
    case REAL: text_add_json_number(t, *(const double *)value); break;
    }
}

static void add_members(text *t, const member *members, size_t count, const void *from) {
    for (size_t i = 0; i < count; i++) {
        text_add(t, ", \"%s\": ", members[i].key);
        add_value(t, &members[i], from);
    }
}

static void add_string(text *t, const char *key, const char *value) {
    text_add(t, ", \"%s\": ", key);
    text_add_json_string(t, value);
}

static void add_schedule(text *t, const quern_schedule *s) {
    static const char *const warmups[] = {"linear", "exponential"};
    text_add(t, ", \"schedule\": {\"kind\": \"%s\"", quern_schedule_name(s->kind));
    add_string(t, "warmup_kind", warmups[s->warmup_kind]);
    add_members(t, schedule_members, COUNT(schedule_members), s);
    text_add(t, ", \"milestones\": [");
    for (int32_t i = 0; i < s->milestone_count; i++)
        text_add(t, "%s%" PRId64, i > 0 ? ", " : "", s->milestones[i]);
    text_add(t, "]}");
}

enum { MODEL_LINES = 1000 };

static void node_line(text *line, const graph_node *n) {
    char shape[160];
    shape_text(&n->out[0]->shape, shape, sizeof shape);
    node_text(line, n);
    text_add(line, " %s %s", quern_dtype_name(n->out[0]->shape.dtype), shape);
}

/* Of inputs too many to be named a digest, so that no line is cut. */
static void model_node_text(text *line, const graph_node *n) {
    char inputs_digest[DIGEST_TEXT];
    digest inputs;
    node_line(line, n);
    if (!line->overflow) return;
    digest_begin(&inputs);
    for (int32_t i = 0; i < n->input_count; i++) {
        const char *name = n->in[i] ? n->in[i]->name : "-";
        digest_add(&inputs, name, strlen(name) + 1);
    }
    digest_end(&inputs, inputs_digest);
    graph_node bare = *n;
    bare.input_count = 0;
    *line = text_over(line->data, line->capacity);
    node_line(line, &bare);
    text_add(line, " of %" PRId32 " inputs, %s", n->input_count, inputs_digest);
}

/* All of it or none reads as in checkpoints from before there was a scale. */
static void add_decay(text *t, float scale) {
    if (scale == 0 || scale == 1)
        text_add(t, scale == 1 ? "true" : "false");
    else
        text_add_json_number(t, (double)scale);
}

/* Of the parameters that do not move as all others do. */
static void add_groups(text *t, const quern_graph *graph) {
    const char *between = "";
    text_add(t, ", \"groups\": {");
    for (const quern_tensor *tensor = graph->tensors; tensor; tensor = tensor->next) {
        const quern_parameter_desc *p = tensor->parameter;
        if (tensor->role != ROLE_PARAMETER ||
            (!p->frozen && p->weight_decay_scale == 1 && p->learning_rate_scale == 1))
            continue;
        text_add(t, "%s", between);
        text_add_json_string(t, tensor->name);
        text_add(t, ": {\"frozen\": %s, \"weight_decay\": ", p->frozen ? "true" : "false");
        add_decay(t, p->weight_decay_scale);
        text_add(t, ", \"learning_rate_scale\": ");
        text_add_json_number(t, (double)p->learning_rate_scale);
        text_add(t, "}");
        between = ", ";
    }
    text_add(t, "}");
}

static void add_optimizer(text *t, const quern_optimizer_desc *d, const quern_graph *graph) {
    text_add(t, ", \"optimizer\": {\"rule\": ");
    text_add_json_string(t, optimizer_name(d));
    add_members(t, optimizer_members, COUNT(optimizer_members), d);
    add_schedule(t, &d->schedule);
    add_groups(t, graph);
    text_add(t, "}");
}

static void add_field(text *t, const quern_field *f) {
    text_add_json_string(t, f->name);
    text_add(t, ": \"%s (", quern_dtype_name(f->dtype));
    for (int32_t i = 0; i < f->rank; i++) text_add(t, "%s%" PRId64, i > 0 ? ", " : "", f->dim[i]);
    text_add(t, ")\"");
}

/* Of one set; "": there is none. */
typedef struct set_digests {
    char samples[DIGEST_TEXT], fields[QUERN_FIELD_MAX][DIGEST_TEXT];
} set_digests;

/* What takes time to find is found once, however often the text has to be begun again. */
typedef struct found {
    char model[DIGEST_TEXT];
    set_digests *sets; /* the evaluation sets, then the training set */
} found;

static void set_find(set_digests *out, const quern_dataset *set) {
    if (!data_digest(set, out->samples)) return;
    for (int32_t i = 0; i < set->field_count; i++) (void)field_digest(set, i, out->fields[i]);
}

static quern_status find(const quern_trainer *t, found *out) {
    QUERN_TRY(model_digest(t, out->model));
    for (int32_t i = 0; i < t->set_count; i++) set_find(&out->sets[i], t->sets[i].dataset);
    if (t->desc.train) set_find(&out->sets[t->set_count], t->desc.train);
    return QUERN_OK;
}

/* {"samples": …}: what it holds, and of a set in memory which samples. */
static void add_dataset(text *t, const quern_dataset *dataset, const set_digests *digests) {
    const quern_field *fields = NULL;
    const int32_t count = quern_dataset_fields(dataset, &fields);
    text_add(t, "{\"samples\": %" PRId64 ", \"fields\": {", quern_dataset_length(dataset));
    for (int32_t i = 0; i < count; i++) {
        text_add(t, i > 0 ? ", " : "");
        add_field(t, &fields[i]);
    }
    text_add(t, "}");
    if (digests->samples[0]) add_string(t, SAMPLE_DIGEST_KEY, digests->samples);
    text_add(t, "}");
}

/* {"label": "…"}: of all samples. */
static void add_digests(text *t, const quern_dataset *dataset, const set_digests *digests) {
    const quern_field *fields = NULL;
    const char *between = "";
    const int32_t count = quern_dataset_fields(dataset, &fields);
    text_add(t, "{");
    for (int32_t i = 0; i < count; i++) {
        if (!digests->fields[i][0]) continue;
        text_add(t, "%s", between);
        text_add_json_string(t, fields[i].name);
        text_add(t, ": \"%s\"", digests->fields[i]);
        between = ", ";
    }
    text_add(t, "}");
}

static void add_data(text *t, const quern_dataset *train, const set_digests *digests) {
    if (!train) return;
    text_add(t, ", \"" TRAINING_DATA_KEY "\": ");
    add_dataset(t, train, digests);
    text_add(t, ", \"" TRAINING_DIGESTS_KEY "\": ");
    add_digests(t, train, digests);
}

/* An object by the sets' names. */
static void add_each_set(text *t, const quern_trainer *trainer, const found *f, const char *key,
                         void (*add)(text *t, const quern_dataset *set,
                                     const set_digests *digests)) {
    text_add(t, ", \"%s\": {", key);
    for (int32_t i = 0; i < trainer->set_count; i++) {
        text_add(t, i > 0 ? ", " : "");
        text_add_json_string(t, trainer->sets[i].name);
        text_add(t, ": ");
        add(t, trainer->sets[i].dataset, &f->sets[i]);
    }
    text_add(t, "}");
}

static void add_floats(text *t, const char *key, const float *values, int32_t count) {
    text_add(t, ", \"%s\": [", key);
    for (int32_t i = 0; i < count; i++) {
        text_add(t, i > 0 ? ", " : "");
        text_add_json_number(t, (double)values[i]);
    }
    text_add(t, "]");
}

static void add_transforms(text *t, const quern_trainer_desc *d) {
    text_add(t, ", \"transforms\": [");
    for (int32_t i = 0; i < d->transform_count; i++) {
        const quern_transform *x = &d->transforms[i];
        text_add(t, i > 0 ? ", {\"field\": " : "{\"field\": ");
        text_add_json_string(t, x->field);
        text_add(t, ", \"scale\": ");
        text_add_json_number(t, (double)x->scale);
        add_floats(t, "mean", x->mean, x->channel_count);
        add_floats(t, "deviation", x->deviation, x->channel_count);
        text_add(t, ", \"crop_padding\": %" PRId32 ", \"horizontal_flip\": %s}", x->crop_padding,
                 x->horizontal_flip ? "true" : "false");
    }
    text_add(t, "]");
}

static void add_metrics(text *t, const quern_trainer_desc *d) {
    text_add(t, ", \"metrics\": [");
    for (int32_t i = 0; i < d->metric_count; i++) {
        text_add(t, i > 0 ? ", " : "");
        text_add_json_string(t, d->metrics[i].name);
    }
    text_add(t, "]");
}

/* Of the nodes that have no line of their own, whatever they compute; and but for the real numbers
 * among their attributes. */
typedef struct rest {
    digest lines, structure;
} rest;

static void rest_add(rest *r, char *line) {
    digest_add(&r->lines, line, strlen(line));
    node_text_strip(line);
    digest_add(&r->structure, line, strlen(line));
}

static void add_rest(text *t, rest *r) {
    char lines[DIGEST_TEXT], structure[DIGEST_TEXT];
    digest_end(&r->lines, lines);
    digest_end(&r->structure, structure);
    add_string(t, OTHER_NODES_KEY, lines);
    add_string(t, OTHER_NODES_STRUCTURE_KEY, structure);
}

/* The first nodes line by line, so that a change can be named. */
static void add_model(text *t, const quern_trainer_desc *d) {
    const char *between = "";
    char line[2048];
    rest others;
    digest_begin(&others.lines);
    digest_begin(&others.structure);
    text_add(t, ", \"" MODEL_KEY "\": {");
    for (const graph_node *n = d->graph->nodes; n; n = n->next) {
        text node = text_over(line, sizeof line);
        model_node_text(&node, n);
        if (n->id >= MODEL_LINES) {
            rest_add(&others, line);
            continue;
        }
        text_add(t, "%s", between);
        text_add_json_string(t, n->name);
        text_add(t, ": ");
        text_add_json_string(t, line);
        between = ", ";
    }
    if (d->graph->node_count > MODEL_LINES) add_rest(t, &others);
    text_add(t, "}");
    add_string(t, "loss", d->loss->name);
    add_string(t, "loss_weight", d->loss_weight ? d->loss_weight->name : "");
}

/* Those whose values the state holds, and what they were measured on. */
static void add_sets(text *t, const quern_trainer *trainer, const found *f) {
    text_add(t, ", \"evaluation_sets\": [");
    for (int32_t i = 0; i < trainer->set_count; i++) {
        text_add(t, i > 0 ? ", " : "");
        text_add_json_string(t, trainer->sets[i].name);
    }
    text_add(t, "]");
    add_each_set(t, trainer, f, EVALUATION_DATA_KEY, add_dataset);
    add_each_set(t, trainer, f, EVALUATION_DIGESTS_KEY, add_digests);
}

static void add_save(text *t, const quern_save_desc *d) {
    text_add(t, ", \"save\": {\"best_metric\": ");
    text_add_json_string(t, d->best_metric ? d->best_metric : "");
    add_members(t, save_members, COUNT(save_members), d);
    text_add(t, "}");
}

static void add_callbacks(text *t, const quern_trainer *trainer, const char *key, bool stops) {
    const char *between = "";
    text_add(t, ", \"%s\": {", key);
    for (int32_t i = 0; i < trainer->desc.callback_count; i++) {
        const quern_callback *callback = trainer->callbacks[i];
        if (!callback->settings || is_early_stop(callback) != stops) continue;
        text_add(t, "%s", between);
        text_add_json_string(t, callback->name);
        text_add(t, ": %s", callback->settings);
        between = ", ";
    }
    text_add(t, "}");
}

static void add_precision(text *t, const quern_trainer_desc *d) {
    add_string(t, "precision", quern_precision_name(d->precision));
    text_add(t, ", \"stochastic_rounding\": %s", d->stochastic_rounding ? "true" : "false");
    text_add(t, ", \"loss_scale\": {\"on\": %s", loss_scale_is_on(d) ? "true" : "false");
    add_members(t, loss_scale_members, COUNT(loss_scale_members), &d->loss_scale);
    text_add(t, "}");
}

static void add_all(text *t, const quern_trainer *trainer, const found *f) {
    static const char *const tails[] = {"flush", "carry", "drop"};
    static const char *const policies[] = {"stop", "skip", "rollback"};
    static const char *const residents[] = {"auto", "on", "off"};
    const quern_trainer_desc *d = &trainer->desc;
    text_add(t, "{\"seed\": \"%" PRIu64 "\"", trainer->device->seed);
    add_data(t, d->train, &f->sets[trainer->set_count]);
    add_members(t, trainer_members, COUNT(trainer_members), d);
    add_string(t, "tail", tails[d->tail]);
    add_string(t, "not_finite", policies[d->not_finite]);
    add_string(t, "resident", residents[d->resident]);
    add_precision(t, d);
    add_transforms(t, d);
    add_metrics(t, d);
    add_sets(t, trainer, f);
    add_model(t, d);
    add_string(t, MODEL_DIGEST_KEY, f->model);
    add_optimizer(t, &d->optimizer, trainer->graph);
    add_save(t, &d->save);
    add_callbacks(t, trainer, CALLBACKS_KEY, false);
    add_callbacks(t, trainer, EARLY_STOPS_KEY, true);
    text_add(t, "}");
}

/* They stand in the configuration as they are. */
quern_status configuration_check_settings(const quern_trainer *t) {
    for (int32_t i = 0; i < t->desc.callback_count; i++) {
        const quern_callback *callback = t->callbacks[i];
        if (!callback->settings) continue;
        if (!callback->name || !callback->name[0])
            return quern_fail(QUERN_INVALID, "trainer: a callback without a name has settings");
        const quern_status status = configuration_check(callback->settings);
        if (status != QUERN_OK)
            return error_prefix(status, "trainer: the settings of callback %s", callback->name);
        for (int32_t k = 0; k < i; k++)
            if (t->callbacks[k]->settings && strcmp(t->callbacks[k]->name, callback->name) == 0)
                return quern_fail(QUERN_INVALID,
                                  "trainer: two callbacks with settings are named %s",
                                  callback->name);
    }
    return QUERN_OK;
}

static quern_status write_all(quern_trainer *trainer, const found *f, const char **out) {
    char *json = NULL;
    for (int64_t capacity = 8192;; capacity *= 2) {
        QUERN_TRY(arena_allocate(&trainer->memory, &json, capacity, 1, "the configuration"));
        text t = text_over(json, (size_t)capacity);
        add_all(&t, trainer, f);
        *out = json;
        if (!t.overflow) return QUERN_OK;
        if (capacity >= INT64_C(1) << 24)
            return quern_fail(
                QUERN_INVALID,
                "trainer: the configuration takes more than %" PRId64 " bytes of JSON", capacity);
    }
}

quern_status configuration_write(quern_trainer *trainer, const char **out) {
    const int64_t count = (int64_t)trainer->set_count + 1;
    found f = {.sets = NULL};
    QUERN_TRY(memory_allocate(trainer->host, &f.sets, count, sizeof *f.sets, "digests of data"));
    quern_status status = find(trainer, &f);
    if (status == QUERN_OK) status = write_all(trainer, &f, out);
    memory_release(trainer->host, f.sets, count, sizeof *f.sets);
    return status;
}
