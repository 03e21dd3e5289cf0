/* precision.c - the trainer's precision and loss scale: defaults and checks. */
#include "precision.h"

#include "../graph/graph.h"

#include <math.h>

bool loss_scale_is_on(const quern_trainer_desc *d) { return d->loss_scale.initial != 0; }

static quern_status refuse(const char *field, double value, const char *expected) {
    return quern_fail(QUERN_INVALID, "trainer: loss_scale.%s is %g, expected %s", field, value,
                      expected);
}

/* Of fields that are set; 0 is the default. */
static quern_status check_scale(const quern_loss_scale *s) {
    if (s->initial != 0 && !(s->initial > 0 && isfinite(s->initial)))
        return refuse("initial", s->initial, "above 0");
    if (s->growth != 0 && !(s->growth > 1 && isfinite(s->growth)))
        return refuse("growth", s->growth, "above 1");
    if (s->backoff != 0 && !(s->backoff > 0 && s->backoff < 1))
        return refuse("backoff", s->backoff, "between 0 and 1");
    if (s->minimum != 0 && !(s->minimum > 0 && isfinite(s->minimum)))
        return refuse("minimum", s->minimum, "above 0");
    if (s->interval < 0) return refuse("interval", (double)s->interval, "1 or more");
    if (s->initial != 0 && s->minimum > s->initial)
        return refuse("minimum", s->minimum, "initial at most");
    return QUERN_OK;
}

static bool any_dynamic(const quern_loss_scale *s) {
    return s->growth != 0 || s->backoff != 0 || s->minimum != 0 || s->interval != 0;
}

quern_status trainer_precision_check(const quern_trainer_desc *d) {
    const quern_loss_scale *s = &d->loss_scale;
    const quern_status status = precision_check(d->precision, d->graph);
    if (status != QUERN_OK) return error_prefix(status, "trainer");
    QUERN_TRY(check_scale(s));
    const bool half = precision_dtype(d->precision) != QUERN_F32;
    if (d->stochastic_rounding && !half)
        return quern_fail(QUERN_INVALID,
                          "trainer: stochastic_rounding is set, but precision %s "
                          "has nothing to round",
                          quern_precision_name(d->precision));
    const bool scaled = d->precision == QUERN_PRECISION_F16 || s->initial != 0;
    if (!scaled && (any_dynamic(s) || s->is_static))
        return quern_fail(QUERN_INVALID,
                          "trainer: loss_scale is set, but precision %s has none "
                          "without loss_scale.initial",
                          quern_precision_name(d->precision));
    if (s->is_static && any_dynamic(s))
        return quern_fail(QUERN_INVALID, "trainer: loss_scale.is_static is set, so that growth, "
                                         "backoff, interval and minimum are not read");
    return QUERN_OK;
}

void trainer_precision_defaults(quern_trainer_desc *d) {
    quern_loss_scale *s = &d->loss_scale;
    if (s->initial == 0 && d->precision == QUERN_PRECISION_F16) s->initial = 65536;
    if (s->initial == 0 || s->is_static) return;
    if (s->growth == 0) s->growth = 2;
    if (s->backoff == 0) s->backoff = 0.5;
    if (s->interval == 0) s->interval = 2000;
    if (s->minimum == 0) s->minimum = s->initial < 1 ? s->initial : 1;
}

task_scaler loss_scale_task(const quern_trainer_desc *d) {
    const quern_loss_scale *s = &d->loss_scale;
    return (task_scaler){s->growth, s->backoff, s->minimum, s->interval};
}
