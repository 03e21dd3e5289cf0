/* eval.c - `quern eval`: loss, accuracy, and accuracy per class of a trained model. */
#include "commands.h"
#include "json.h"
#include "session.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

typedef struct evaluation {
    quern_status status;
    char reason[1024];
    int64_t samples, class_count;
    double loss, accuracy, seconds;
    double *per_class; /* class_count, or NULL */
} evaluation;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static quern_status measure(evaluation *e, const trained *t) {
    quern_scalar scalars[8];
    int32_t count = 0;
    const double start = now();
    quern_status status = quern_trainer_evaluate(t->trainer, t->subject, scalars, 8, &count);
    if (status != QUERN_OK) return status;
    e->seconds = now() - start;
    e->samples = quern_dataset_length(t->subject);
    e->loss = session_scalar(scalars, count, "loss");
    e->accuracy = session_scalar(scalars, count, "accuracy");
    const int64_t classes = t->data.class_count;
    double *counts = calloc((size_t)(classes * classes), sizeof *counts);
    e->per_class = calloc((size_t)classes, sizeof *e->per_class);
    if (!counts || !e->per_class)
        status = quern_fail(QUERN_HOST_MEMORY, "no memory for %lld classes", (long long)classes);
    if (status == QUERN_OK)
        status = quern_trainer_confusion(t->trainer, "confusion", counts, classes * classes);
    if (status == QUERN_OK) quern_confusion_class_accuracy(counts, classes, e->per_class);
    e->class_count = classes;
    free(counts);
    return status;
}

static quern_status print_json(const evaluation *e) {
    sheet s;
    json j;
    const quern_status status = sheet_open(&s);
    if (status != QUERN_OK) return status;
    json_begin(&j, s.to, " ");
    json_text(&j, "status", command_status_name(e->status));
    json_text(&j, "reason", e->status == QUERN_OK ? "data" : e->reason);
    json_count(&j, "samples", e->samples);
    json_number(&j, "seconds", e->seconds);
    json_number(&j, "val/loss", e->loss);
    json_number(&j, "val/accuracy", e->accuracy);
    json_key(&j, "val/class_accuracy");
    fputc('[', s.to);
    for (int64_t i = 0; i < e->class_count && e->per_class; i++) {
        if (i > 0) fputs(", ", s.to);
        json_write_number(s.to, e->per_class[i]);
    }
    fputc(']', s.to);
    json_end(&j);
    fputc('\n', s.to);
    return sheet_print(&s);
}

static quern_status print_text(const evaluation *e) {
    sheet s;
    const quern_status status = sheet_open(&s);
    if (status != QUERN_OK) return status;
    fprintf(s.to, "samples  %lld\n", (long long)e->samples);
    fprintf(s.to, "loss     %.4f\n", unsigned_nan(e->loss));
    fprintf(s.to, "accuracy %.4f\n", unsigned_nan(e->accuracy));
    for (int64_t i = 0; i < e->class_count && e->per_class; i++)
        if (isfinite(e->per_class[i]))
            fprintf(s.to, "class %-3lld %.4f\n", (long long)i, e->per_class[i]);
    return sheet_print(&s);
}

int command_eval(const options *o) {
    trained t;
    evaluation e = {.loss = NAN, .accuracy = NAN, .seconds = NAN};
    quern_status status = session_device_check(o);
    if (status == QUERN_OK && o->data && samples_check(o->data) == QUERN_INVALID)
        status = QUERN_INVALID;
    if (status == QUERN_OK) status = trained_check(o);
    if (status != QUERN_OK) return command_fail(status);
    status = trained_open(&t, o, false);
    if (status == QUERN_OK) {
        status = measure(&e, &t);
        snprintf(e.reason, sizeof e.reason, "%s", quern_error());
        trained_release(&t);
    } else {
        snprintf(e.reason, sizeof e.reason, "%s", quern_error());
    }
    e.status = status;
    if (status != QUERN_OK) fprintf(stderr, "quern: %s\n", e.reason);
    quern_status printed = QUERN_OK;
    if (o->json)
        printed = print_json(&e);
    else if (status == QUERN_OK)
        printed = print_text(&e);
    free(e.per_class);
    if (status == QUERN_OK && printed != QUERN_OK) return command_fail(printed);
    return quern_status_exit_code(status);
}
