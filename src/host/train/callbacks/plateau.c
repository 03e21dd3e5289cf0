/* plateau.c - multiplies the schedule by a factor when a metric stands still.
 *
 * Step for step torch.optim.lr_scheduler.ReduceLROnPlateau with threshold_mode "abs": an evaluation
 * that does not improve on the best counts, one inside the cooldown does not; more than `patience`
 * in a row reduce. `lowest` bounds the product of this callback's reductions; a reduction that
 * would change nothing is left out, and begins its cooldown all the same. The scale itself is the
 * trainer's, which saves it. */
#include "watch.h"
#include <quern/train.h>

#include <inttypes.h>
#include <math.h>

/* Saved as it lies: no padding. */
typedef struct plateau_state {
    int64_t without_improvement, cooling; /* evaluations; of the cooldown, those to come */
    double best, product;                 /* product of all reductions */
} plateau_state;

struct quern_plateau {
    const quern_host *host;
    watch watch;
    double factor, lowest;
    int64_t patience, cooldown;
    plateau_state state;
};

static quern_status desc_resolve(quern_plateau_desc *d) {
    if (d->factor == 0) d->factor = 0.1;
    if (d->patience == 0) d->patience = 10;
    if (!(d->factor > 0 && d->factor < 1))
        return quern_fail(QUERN_INVALID, "plateau: factor is %g, not between 0 and 1", d->factor);
    if (d->patience < 1 || d->cooldown < 0)
        return quern_fail(QUERN_INVALID,
                          "plateau: patience %" PRId64 " and cooldown %" PRId64
                          ", expected 1 or more and 0 or more evaluations",
                          d->patience, d->cooldown);
    if (!(d->lowest >= 0 && d->lowest < 1))
        return quern_fail(QUERN_INVALID, "plateau: lowest is %g, not 0 … 1", d->lowest);
    return QUERN_OK;
}

static quern_status describe(quern_plateau *p) {
    char words[256];
    text t = text_over(words, sizeof words);
    text_add(&t, ", \"factor\": ");
    text_add_json_number(&t, p->factor);
    text_add(&t,
             ", \"patience\": %" PRId64 ", \"cooldown\": %" PRId64 ", \"lowest\": ", p->patience,
             p->cooldown);
    text_add_json_number(&t, p->lowest);
    return watch_describe(&p->watch, &t);
}

quern_status quern_plateau_create(quern_plateau **out, quern_device *device,
                                  const quern_plateau_desc *desc) {
    quern_plateau *p = NULL;
    quern_plateau_desc d = desc ? *desc : (quern_plateau_desc){0};
    *out = NULL;
    QUERN_TRY(desc_resolve(&d));
    QUERN_TRY(memory_allocate(&device->host, &p, 1, sizeof *p, "plateau"));
    p->host = &device->host;
    p->factor = d.factor;
    p->lowest = d.lowest;
    p->patience = d.patience;
    p->cooldown = d.cooldown;
    const double worst = d.maximize ? -INFINITY : INFINITY;
    p->state = (plateau_state){.best = worst, .product = 1};
    quern_status status =
        watch_create(&p->watch, device, "plateau", d.metric, d.maximize, d.min_delta);
    if (status == QUERN_OK) status = describe(p);
    if (status == QUERN_OK)
        *out = p;
    else
        quern_plateau_destroy(p);
    return status;
}

static quern_status reduce(quern_plateau *p, const quern_event *event) {
    const double product = fmax(p->state.product * p->factor, p->lowest);
    p->state.cooling = p->cooldown;
    p->state.without_improvement = 0;
    if (!(product < p->state.product) || !isnormal(product)) return QUERN_OK;
    QUERN_TRY(quern_trainer_scale_learning_rate(event->trainer, product / p->state.product));
    p->state.product = product;
    log_write(p->host, QUERN_LOG_INFO,
              "%s has not improved for more than %" PRId64
              " evaluations: the learning rate is scaled by %g from step %" PRId64 " on",
              p->watch.metric, p->patience, product, event->step);
    return QUERN_OK;
}

static quern_status judge(quern_plateau *p, const quern_event *event, double value) {
    plateau_state *s = &p->state;
    if (watch_improves(&p->watch, s->best, value)) {
        s->best = value;
        s->without_improvement = 0;
    } else {
        s->without_improvement++;
    }
    if (s->cooling > 0) {
        s->cooling--;
        s->without_improvement = 0;
    }
    return s->without_improvement > p->patience ? reduce(p, event) : QUERN_OK;
}

static quern_action answer(const quern_event *event, quern_status status) {
    return status == QUERN_OK ? QUERN_CONTINUE : quern_event_fail(event, status);
}

static quern_action look(void *self, const quern_event *event) {
    quern_plateau *p = self;
    bool due = false;
    double value = 0;
    quern_status status = watch_look(&p->watch, event, &due, &value);
    if (status == QUERN_OK && due) status = judge(p, event, value);
    return answer(event, status);
}

static quern_action on_init(void *self, const quern_event *event) {
    return answer(event, watch_find(&((quern_plateau *)self)->watch, event));
}

static quern_action on_load_end(void *self, const quern_event *event) {
    const plateau_state *s = &((quern_plateau *)self)->state;
    if (s->without_improvement >= 0 && s->cooling >= 0 && !isnan(s->best) && s->product > 0 &&
        s->product <= 1)
        return QUERN_CONTINUE;
    return answer(event, quern_fail(QUERN_INPUT,
                                    "plateau: a state of %" PRId64
                                    " evaluations without improvement, %" PRId64
                                    " of cooldown, best %g, product %g cannot be",
                                    s->without_improvement, s->cooling, s->best, s->product));
}

static quern_callback_state state_of(void *self) {
    quern_plateau *p = self;
    return (quern_callback_state){.data = &p->state, .bytes = sizeof p->state};
}

quern_callback quern_plateau_callback(quern_plateau *plateau) {
    return (quern_callback){.name = "plateau",
                            .band = QUERN_BAND_MUTATOR,
                            .self = plateau,
                            .state = state_of,
                            .settings = plateau->watch.settings,
                            .init = on_init,
                            .load_end = on_load_end,
                            .fit_begin = look,
                            .stop_requested = look,
                            .eval_end = look,
                            .epoch_end = look};
}

void quern_plateau_destroy(quern_plateau *p) {
    if (!p) return;
    watch_release(&p->watch);
    memory_release(p->host, p, 1, sizeof *p);
}
