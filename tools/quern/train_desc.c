/* train_desc.c - the options of `quern train` to the desc of a trainer, refused where they do not
 * go together before anything is opened. */
#include "facts.h"
#include "train.h"

#include <string.h>

/* Options that only checkpoints read. */
static const int of_saves[] = {OPTION_save_every, OPTION_keep, OPTION_keep_best, OPTION_keep_every,
                               OPTION_resume};

/* Options that only a validation set reads. */
static const int of_validation[] = {OPTION_patience,     OPTION_plateau,        OPTION_eval_every,
                                    OPTION_eval_batches, OPTION_sanity_batches, OPTION_keep_best};

/* Before the model and the data, which a resumed run takes from its folder, are missed. */
static quern_status check_resume(const options *o) {
    if (!o->resume) return QUERN_OK;
    if (!o->run_dir)
        return quern_fail(QUERN_INVALID, "--resume needs --run-dir: which run is to go on");
    if (!o->recorded && (!o->model || !o->data))
        return quern_fail(QUERN_INVALID,
                          "--resume: there is no %s/config.json that says which run it was; with "
                          "--model and --data it would be said here",
                          o->run_dir);
    return QUERN_OK;
}

static quern_status check_saves(const options *o) {
    const char *without = o->no_save ? "no-save" : o->fast_dev_run ? "fast-dev-run" : NULL;
    if (!without) return QUERN_OK;
    if (strcmp(o->on_nonfinite, "rollback") == 0)
        return quern_fail(QUERN_INVALID, "--on-nonfinite rollback: --%s leaves no checkpoint",
                          without);
    for (size_t i = 0; i < sizeof of_saves / sizeof *of_saves; i++)
        if (o->given[of_saves[i]])
            return quern_fail(QUERN_INVALID, "--%s: --%s leaves no checkpoint",
                              option_table()[of_saves[i]].name, without);
    return QUERN_OK;
}

quern_status train_check(const options *o) {
    quern_schedule schedule;
    quern_status status = check_resume(o);
    if (status != QUERN_OK) return status;
    if (!o->model) return quern_fail(QUERN_INVALID, "train needs --model");
    if (!o->data) return quern_fail(QUERN_INVALID, "train needs --data");
    if (o->ema_warmup && o->ema == 0) return quern_fail(QUERN_INVALID, "--ema-warmup needs --ema");
    if (o->nonfinite_limit && strcmp(o->on_nonfinite, "stop") == 0)
        return quern_fail(QUERN_INVALID, "--nonfinite-limit: --on-nonfinite stop does not read it");
    if (strcmp(o->tail, "flush") != 0 && o->accumulate == 1)
        return quern_fail(QUERN_INVALID, "--tail %s needs --accumulate", o->tail);
    status = profile_check(o);
    if (status == QUERN_OK) status = check_saves(o);
    if (status == QUERN_OK) status = session_schedule(&schedule, o);
    if (status == QUERN_OK) status = session_device_check(o);
    if (status != QUERN_OK) return status;
    status = samples_check(o->data);
    /* A missing path is no usage error: it is found again, and reported, when the set is opened. */
    return status == QUERN_INPUT ? QUERN_OK : status;
}

quern_status train_check_data(const options *o, const samples *s) {
    const int64_t length = quern_dataset_length(s->train);
    if (length == 0) return quern_fail(QUERN_INPUT, "data %s: no samples", o->data);
    if (o->given[OPTION_batch_size] && o->batch_size > length)
        return quern_fail(QUERN_INVALID,
                          "--batch-size: %lld is larger than the training set, %lld samples",
                          (long long)o->batch_size, (long long)length);
    for (size_t i = 0; i < sizeof of_validation / sizeof *of_validation && !s->valid; i++) {
        const char *text = o->texts[of_validation[i]];
        if (text && strcmp(text, "0") != 0)
            return quern_fail(QUERN_INVALID, "--%s: %s has no validation part to judge by",
                              option_table()[of_validation[i]].name, o->data);
    }
    return QUERN_OK;
}

static bool is_same(const float *a, const float *b, int32_t count) {
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

/* The library would say which tensor it misses; the user has given an option. */
static quern_status check_same_model(const options *o, const char *folder) {
    const char *before = recorded_text(o->recorded, "model");
    float ema = 0;
    if (before && strcmp(before, o->model) != 0)
        return quern_fail(QUERN_INPUT, "--resume: the run in %s has the model %s, not %s", folder,
                          before, o->model);
    if (o->ema > 0 && recorded_floats(o->recorded, "ema", &ema, 1) == 1 && ema == 0)
        return quern_fail(QUERN_INPUT,
                          "--resume: the run in %s keeps no moving average: --ema cannot begin in "
                          "the middle",
                          folder);
    return QUERN_OK;
}

/* Before the library compares the sets, which names no option. */
quern_status train_check_resume(const training *t) {
    const quern_transform *now = &t->data.transform;
    facts f;
    if (!t->options->recorded || !place_has_checkpoints(t->checkpoints)) return QUERN_OK;
    quern_status status = check_same_model(t->options, t->dir.path);
    if (status == QUERN_OK) status = facts_from_run(&f, t->options->recorded, t->dir.path);
    if (status != QUERN_OK) return status;
    const int32_t count = now->channel_count;
    if (f.class_count == t->data.class_count && f.scale == now->scale && f.channel_count == count &&
        is_same(f.mean, now->mean, count) && is_same(f.deviation, now->deviation, count))
        return QUERN_OK;
    return quern_fail(QUERN_INPUT,
                      "--resume: the run in %s had other data: %s with %lld classes and mean %g in "
                      "its first channel, now it is %s with %lld classes and mean %g",
                      t->dir.path, f.data ? f.data : "some", (long long)f.class_count,
                      (double)f.mean[0], t->options->data, (long long)t->data.class_count,
                      (double)now->mean[0]);
}

quern_status session_optimizer(quern_optimizer_desc *out, const options *o) {
    *out = (quern_optimizer_desc){
        .kind = (quern_optimizer_kind)option_choice(OPTION_optimizer, o->optimizer),
        .learning_rate = o->lr > 0 ? o->lr : (double)QUERN_ZERO,
        .momentum = o->momentum,
        .weight_decay = o->weight_decay,
        .clip_norm = o->clip_norm,
        .clip_value = o->clip_value,
    };
    return session_schedule(&out->schedule, o);
}

static void fill_limits(quern_trainer_desc *d, const options *o) {
    d->epoch_count = o->epochs;
    d->step_limit = o->steps;
    d->sample_limit = o->max_samples;
    d->seconds_limit = o->max_seconds;
    d->train_batch_limit = o->train_batches;
    d->eval_batch_limit = o->eval_batches;
    d->sanity_batches = o->sanity_batches;
    d->fast_dev_run = o->fast_dev_run;
    d->overfit_batch = o->overfit_batch;
    d->stop_file = o->stop_file;
}

static void fill_saves(quern_save_desc *s, const training *t) {
    const options *o = t->options;
    if (o->no_save || o->fast_dev_run) return;
    *s = (quern_save_desc){.directory = t->checkpoints,
                           .every = o->save_every,
                           .keep_last = (int32_t)o->keep,
                           .keep_best = (int32_t)o->keep_best,
                           .keep_every = o->keep_every,
                           .resume = o->resume};
}

quern_status train_desc(quern_trainer_desc *out, const training *t) {
    const options *o = t->options;
    *out = session_trainer(o, &t->net, &t->data);
    out->train = t->data.train;
    out->valid = t->data.valid;
    out->accumulate = o->accumulate;
    out->tail = (quern_tail)option_choice(OPTION_tail, o->tail);
    out->resident = (quern_resident)option_choice(OPTION_resident, o->resident);
    out->no_capture = o->eager;
    out->log_every = o->log_every;
    out->evaluate_every = o->eval_every;
    out->not_finite = (quern_not_finite)option_choice(OPTION_on_nonfinite, o->on_nonfinite);
    out->not_finite_limit = o->nonfinite_limit;
    out->loss_scale =
        (quern_loss_scale){.initial = o->loss_scale, .is_static = o->fixed_loss_scale};
    out->stochastic_rounding = o->stochastic_rounding;
    out->average_decay = o->ema;
    out->average_warmup = o->ema_warmup;
    out->handle_signals = true;
    fill_limits(out, o);
    fill_saves(&out->save, t);
    return session_optimizer(&out->optimizer, o);
}
