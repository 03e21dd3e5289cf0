/* configuration.c - what changed between the configuration that a checkpoint was written with and
 * the one of the run that goes on from it. A key that is not known to be harmless is taken to break
 * exactness. What an evaluation depends on is as harmless as what is made of the evaluation. */
#include "configuration.h"
#include "../json_failure.h"
#include "../../base/report.h"
#include "../../base/text.h"
#include "../../graph/node_text.h"

#include <jansson.h>
#include <string.h>

#define KEY_BYTES 512
#define VALUE_BYTES 256
#define SENTENCE_BYTES (KEY_BYTES + 2 * VALUE_BYTES + 128)
#define DEPTH_MAX 16
#define COUNT(list) (sizeof(list) / sizeof *(list))

/* Keys, by their last part, that decide when to look, to save or to report, or how the work is
 * spread: the bits of a step do not depend on them. */
static const char *const harmless[] = {
    "log_every",      "save_every",     "keep",         "keep_last",
    "keep_best",      "keep_every",     "run_ahead",    "steps_per_launch",
    "worker_count",   "workers",        "thread_count", "threads",
    "prefetch",       "resident",       "run_dir",      "directory",
    "verbose",        "progress",       "json",         "resume",
    "nvtx",           "no_capture",     "eager",        "profile_steps",
    "sanity_batches", "handle_signals", "stop_file",    "quiet",
    "trace",          "every",          "best_metric",  "best_is_largest",
};

/* Those that decide when there is an evaluation, or of what: a limit ends a run with one. A
 * schedule that is derived from a limit has its own resolved length in the configuration, so that a
 * changed limit shows there. */
static const char *const evaluating[] = {
    "step_limit",     "sample_limit",          "seconds_limit",    "second_limit",
    "steps",          "max_seconds",           "eval_every",       "limit_eval_batches",
    "evaluate_every", "evaluate_every_epochs", "eval_batch_limit",
};

/* The same, where not each epoch ends with an evaluation as it is. */
static const char *const epoch_limits[] = {"epoch_count", "epochs"};

/* What a changed key does, from little to much. */
typedef enum effect { NOTHING, ANOTHER_END, OTHER_BITS, ANOTHER_RUN } effect;
static const char *const effect_words[] = {
    "the run stays bit-identical",
    "its steps stay bit-identical, its end may be another one",
    "the run is no longer bit-identical to one that was not stopped",
    "it is another run",
};

bool configuration_is_below(const char *key, const char *above) {
    const size_t length = strlen(above);
    return strncmp(key, above, length) == 0 && key[length] == '.';
}

static bool is_of_digests(const char *key) {
    return configuration_is_below(key, TRAINING_DIGESTS_KEY) ||
           configuration_is_below(key, EVALUATION_DIGESTS_KEY);
}

static bool is_of_data(const char *key) {
    return configuration_is_below(key, TRAINING_DATA_KEY) ||
           configuration_is_below(key, EVALUATION_DATA_KEY) || is_of_digests(key);
}

/* Of a checkpoint from before there was one, or of a set that has none: nothing can be said. */
static bool is_unknown(const char *key, const json_t *before, const json_t *now) {
    if (before != NULL && now != NULL) return false;
    static const char *const keys[] = {EVALUATION_DATA_KEY,
                                       TRAINING_DIGESTS_KEY,
                                       EVALUATION_DIGESTS_KEY,
                                       CALLBACKS_KEY,
                                       EARLY_STOPS_KEY,
                                       MODEL_DIGEST_KEY,
                                       (MODEL_KEY "." OTHER_NODES_STRUCTURE_KEY)};
    for (size_t i = 0; i < COUNT(keys); i++)
        if (strcmp(key, keys[i]) == 0) return true;
    const char *dot = strrchr(key, '.');
    return is_of_digests(key) || (is_of_data(key) && strcmp(dot + 1, SAMPLE_DIGEST_KEY) == 0);
}

/* "log-every" and "log_every" are one word. */
static bool same_word(const char *a, const char *b) {
    for (; *a != '\0' && *b != '\0'; a++, b++)
        if ((*a == '-' ? '_' : *a) != *b) return false;
    return *a == *b;
}

static bool is_one_of(const char *word, const char *const *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (same_word(word, list[i])) return true;
    return false;
}

/* Not inside an optimizer or a schedule, whose "steps" are something else, nor what a node of the
 * model computes, a field of the data is or a callback decides by, whatever it is called. */
static bool is_of_bits(const char *key) {
    return configuration_is_below(key, MODEL_KEY) || is_of_data(key) ||
           configuration_is_below(key, CALLBACKS_KEY) || strstr(key, "optimizer") != NULL ||
           strstr(key, "schedule") != NULL;
}

/* What the callbacks of a run make of its evaluations. */
static effect effect_of_callbacks(const json_t *configuration) {
    if (json_object_size(json_object_get(configuration, CALLBACKS_KEY)) > 0) return OTHER_BITS;
    const json_t *stops = json_object_get(configuration, EARLY_STOPS_KEY);
    return json_object_size(stops) > 0 ? ANOTHER_END : NOTHING;
}

static effect larger(effect a, effect b) { return a > b ? a : b; }

/* Has no set, as it says. */
static bool evaluates_nothing(const json_t *configuration) {
    const json_t *sets = json_object_get(configuration, "evaluation_sets");
    return json_is_array(sets) && json_array_size(sets) == 0;
}

static bool evaluates_each_epoch(const json_t *configuration) {
    return json_integer_value(json_object_get(configuration, "evaluate_every_epochs")) == 1;
}

static quern_status load(json_t **out, const char *from, const char *which, quern_status refusal) {
    json_error_t error;
    *out = json_loads(from, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(*out)) return QUERN_OK;
    quern_status status = refusal;
    if (*out != NULL) {
        quern_fail(status, "%s is not a JSON object", which);
    } else {
        status = json_failure(&error, refusal);
        quern_fail(status, "%s, line %d, column %d: %s", which, error.line, error.column,
                   json_failure_text(status, &error));
    }
    json_decref(*out);
    *out = NULL;
    return status;
}

quern_status configuration_check(const char *configuration) {
    json_t *object = NULL;
    const quern_status status = load(&object, configuration, "the configuration", QUERN_INVALID);
    json_decref(object);
    return status;
}

typedef struct comparison {
    char key[KEY_BYTES]; /* the path so far */
    size_t key_length;
    bool exact, same_model;
    effect of_evaluations, of_epochs; /* of another number or kind of them */
    void (*visit)(void *context, const quern_checkpoint_change *change);
    void *context;
} comparison;

/* A node that comes or goes alone is one that nothing else reads: it says nothing of the others. Of
 * those without lines the digest of the structure tells. */
static bool is_another_node(const char *key, const json_t *before, const json_t *now) {
    const char *name = key + strlen(MODEL_KEY ".");
    if (strcmp(name, OTHER_NODES_KEY) == 0 || before == NULL || now == NULL) return false;
    return !json_is_string(before) || !json_is_string(now) ||
           !node_text_alike(json_string_value(before), json_string_value(now));
}

static bool is_one_of_keys(const char *key, const char *const *keys, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return false;
}

/* What decides which run it is: sums of one metric, or set, are nothing to another. Names of nodes
 * do, where nothing else tells the model. */
static bool is_another_run(const comparison *c, const json_t *before, const json_t *now) {
    static const char *const keys[] = {"optimizer.rule", "metrics", "evaluation_sets",
                                       MODEL_DIGEST_KEY};
    static const char *const names[] = {"loss", "loss_weight"};
    if (is_one_of_keys(c->key, keys, COUNT(keys))) return true;
    if (is_one_of_keys(c->key, names, COUNT(names))) return !c->same_model;
    if (configuration_is_below(c->key, MODEL_KEY))
        return !c->same_model && is_another_node(c->key, before, now);
    return is_of_data(c->key);
}

/* Early stop changes no step, but by the best weights that it may put back. */
static effect effect_of_early_stop(const comparison *c, const json_t *before, const json_t *now) {
    const char *last = strrchr(c->key, '.') + 1;
    const bool restores = json_is_true(json_object_get(before, RESTORE_KEY)) ||
                          json_is_true(json_object_get(now, RESTORE_KEY));
    return restores || strcmp(last, RESTORE_KEY) == 0 ? OTHER_BITS : ANOTHER_END;
}

static effect effect_of(const comparison *c, const json_t *before, const json_t *now) {
    const char *dot = strrchr(c->key, '.');
    const char *last = dot != NULL ? dot + 1 : c->key;
    if (is_another_run(c, before, now)) return ANOTHER_RUN;
    if (configuration_is_below(c->key, EARLY_STOPS_KEY))
        return effect_of_early_stop(c, before, now);
    if (is_of_bits(c->key)) return OTHER_BITS;
    if (is_one_of(last, harmless, COUNT(harmless))) return NOTHING;
    if (is_one_of(last, evaluating, COUNT(evaluating))) return c->of_evaluations;
    if (is_one_of(last, epoch_limits, COUNT(epoch_limits))) return c->of_epochs;
    return OTHER_BITS;
}

/* Of what does not fit the beginning, up to a whole character, with room for "...". */
static int add_piece(const char *piece, size_t bytes, void *to) {
    text *t = to;
    const size_t room = t->capacity - 1 - t->length;
    t->overflow = bytes > room;
    memcpy(t->data + t->length, piece, t->overflow ? room : bytes);
    t->length += t->overflow ? room : bytes;
    if (t->overflow) {
        t->length -= 3;
        while ((t->data[t->length] & 0xC0) == 0x80) t->length--;
        memcpy(t->data + t->length, "...", 3);
        t->length += 3;
    }
    t->data[t->length] = '\0';
    return t->overflow ? -1 : 0; /* no more pieces */
}

/* Compact and cut; "" for a missing value. */
static void value_text(const json_t *value, char to[VALUE_BYTES]) {
    text t = text_over(to, VALUE_BYTES);
    if (value == NULL) return;
    (void)json_dump_callback(value, add_piece, &t,
                             JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
}

static void report_change(comparison *c, const json_t *before, const json_t *now) {
    char before_text[VALUE_BYTES], now_text[VALUE_BYTES], sentence[SENTENCE_BYTES];
    if (is_unknown(c->key, before, now)) return;
    const effect does = effect_of(c, before, now);
    const bool exact = does < OTHER_BITS;
    c->exact = c->exact && exact;
    if (c->visit == NULL) return;
    value_text(before, before_text);
    value_text(now, now_text);
    text t = text_over(sentence, sizeof sentence);
    text_add(&t, "%s was %s, is %s: %s", c->key, before != NULL ? before_text : "not set",
             now != NULL ? now_text : "not set", effect_words[does]);
    c->visit(c->context, &(quern_checkpoint_change){
                             .key = c->key,
                             .before = before_text,
                             .now = now_text,
                             .exact = exact,
                             .another_run = does == ANOTHER_RUN,
                             .sentence = sentence,
                         });
}

static void compare_objects(comparison *c, json_t *before, json_t *now, int depth);

/* Both may be NULL, not at the same time. */
static void compare_values(comparison *c, json_t *before, json_t *now, int depth) {
    if (depth < DEPTH_MAX && json_is_object(before) && json_is_object(now)) {
        compare_objects(c, before, now, depth + 1);
    } else if (before == NULL || now == NULL || !json_equal(before, now)) {
        report_change(c, before, now);
    }
}

static void compare_key(comparison *c, const char *key, json_t *before, json_t *now, int depth) {
    const size_t length = c->key_length;
    text t = {.data = c->key, .capacity = sizeof c->key, .length = length};
    text_add(&t, "%s%s", length > 0 ? "." : "", key);
    c->key_length = t.length;
    compare_values(c, before, now, depth);
    c->key_length = length;
    c->key[length] = '\0';
}

static void compare_objects(comparison *c, json_t *before, json_t *now, int depth) {
    const char *key;
    json_t *value;
    json_object_foreach(before, key, value) {
        compare_key(c, key, value, json_object_get(now, key), depth);
    }
    json_object_foreach(now, key, value) {
        if (json_object_get(before, key) == NULL) compare_key(c, key, NULL, value, depth);
    }
}

/* Only callbacks that read evaluations let a run depend on when there is one, or of what. */
static void note_evaluations(comparison *c, const json_t *before, const json_t *now) {
    if (evaluates_nothing(before) && evaluates_nothing(now)) return;
    c->of_evaluations = larger(effect_of_callbacks(before), effect_of_callbacks(now));
    if (!evaluates_each_epoch(before) || !evaluates_each_epoch(now))
        c->of_epochs = c->of_evaluations;
}

static bool is_same_model(const json_t *before, const json_t *now) {
    const json_t *a = json_object_get(before, MODEL_DIGEST_KEY);
    const json_t *b = json_object_get(now, MODEL_DIGEST_KEY);
    return json_is_string(a) && json_is_string(b) && json_equal(a, b);
}

quern_status quern_checkpoint_compare(const char *before, const char *now, bool *exact,
                                      void (*visit)(void *context,
                                                    const quern_checkpoint_change *change),
                                      void *context) {
    json_t *old = NULL, *new = NULL;
    comparison c = {.exact = true, .visit = visit, .context = context};
    quern_status status = load(&old, before, "the checkpoint's configuration", QUERN_INPUT);
    if (status == QUERN_OK) status = load(&new, now, "the run's configuration", QUERN_INPUT);
    if (status == QUERN_OK) {
        note_evaluations(&c, old, new);
        c.same_model = is_same_model(old, new);
        compare_objects(&c, old, new, 0);
    }
    json_decref(old);
    json_decref(new);
    *exact = status == QUERN_OK && c.exact;
    return status;
}
