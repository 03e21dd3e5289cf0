/* predict.c - `quern predict`: one line per sample, its class and every class's probability. */
#include "commands.h"
#include "json.h"
#include "session.h"

#include <stdlib.h>

static void write_rows(FILE *to, const float *probabilities, int64_t row_count, int64_t classes) {
    fputs("index,class", to);
    for (int64_t c = 0; c < classes; c++) fprintf(to, ",p%lld", (long long)c);
    fputc('\n', to);
    for (int64_t i = 0; i < row_count; i++) {
        const float *p = probabilities + i * classes;
        int64_t best = 0;
        for (int64_t c = 1; c < classes; c++)
            if (p[c] > p[best]) best = c;
        fprintf(to, "%lld,%lld", (long long)i, (long long)best);
        for (int64_t c = 0; c < classes; c++) fprintf(to, ",%.7g", unsigned_nan((double)p[c]));
        fputc('\n', to);
    }
}

static quern_status predict(const trained *t) {
    const int64_t row_count = quern_dataset_length(t->subject), classes = t->data.class_count;
    if (row_count > INT64_MAX / classes / (int64_t)sizeof(float))
        return quern_fail(QUERN_HOST_MEMORY, "%lld samples have more probabilities than fit",
                          (long long)row_count);
    const size_t bytes = (size_t)(row_count * classes) * sizeof(float);
    float *probabilities = malloc(bytes > 0 ? bytes : 1);
    if (!probabilities)
        return quern_fail(QUERN_HOST_MEMORY, "no memory for %zu bytes of probabilities", bytes);
    quern_status status =
        quern_trainer_predict(t->trainer, t->subject, t->net.probabilities, probabilities, bytes);
    sheet s = {0};
    if (status == QUERN_OK) status = sheet_open(&s);
    if (status == QUERN_OK) {
        write_rows(s.to, probabilities, row_count, classes);
        status = sheet_print(&s);
    }
    free(probabilities);
    return status;
}

int command_predict(const options *o) {
    trained t;
    quern_status status = session_device_check(o);
    if (status == QUERN_OK) status = trained_check(o);
    if (status == QUERN_OK) status = trained_open(&t, o, true);
    if (status != QUERN_OK) return command_fail(status);
    status = predict(&t);
    trained_release(&t);
    return status == QUERN_OK ? 0 : command_fail(status);
}
