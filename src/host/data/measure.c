/* measure.c - mean and population deviation per channel of scale * x over a whole set.
 *
 * U8: one pass counts the 256 values, exactly; the moments follow from the counts. Otherwise two
 * passes in double, summed per sample in four lanes and then over samples in order: the deviation
 * is taken around the mean, so nothing cancels. Cost: about 1 ns per element and pass.
 * Deterministic: one thread, fixed order. */
#include "transform.h"

#include "../base/memory.h"
#include "../base/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct moments {
    const quern_dataset *dataset;
    int32_t field;
    int64_t channels, plane;       /* elements of a channel in one sample */
    int64_t sample_count;          /* seen in the pass */
    void *values[QUERN_FIELD_MAX]; /* one sample, for sets that are not held */
    double center[QUERN_CHANNEL_MAX], sum[QUERN_CHANNEL_MAX];
    int64_t histogram[QUERN_CHANNEL_MAX][256];
} moments;

static double value_at(quern_dtype dtype, const void *data, int64_t i) {
    switch (dtype) {
    case QUERN_F32: return (double)((const float *)data)[i];
    case QUERN_F64: return ((const double *)data)[i];
    case QUERN_I32: return (double)((const int32_t *)data)[i];
    case QUERN_I64: return (double)((const int64_t *)data)[i];
    default: return (double)((const uint8_t *)data)[i];
    }
}

static void count_values(moments *m, const uint8_t *x) {
    for (int64_t c = 0; c < m->channels; c++, x += m->plane)
        for (int64_t i = 0; i < m->plane; i++) m->histogram[c][x[i]]++;
}

/* power 1: sum of x; power 2: sum of (x - center)^2. */
static void add_values(moments *m, const void *x, int power) {
    const quern_dtype dtype = m->dataset->fields[m->field].dtype;
    for (int64_t c = 0; c < m->channels; c++) {
        double lane[4] = {0};
        for (int64_t i = 0; i < m->plane; i++) {
            const double v = value_at(dtype, x, c * m->plane + i) - m->center[c];
            lane[i & 3] += power == 1 ? v : v * v;
        }
        m->sum[c] += (lane[0] + lane[1]) + (lane[2] + lane[3]);
    }
}

/* The next sample, or *end. */
static quern_status fetch(moments *m, int64_t index, const void **out, bool *end) {
    const quern_dataset *d = m->dataset;
    *end = false;
    if (d->length >= 0 && index >= d->length) {
        *end = true;
        return QUERN_OK;
    }
    if (d->held) {
        *out = d->data[m->field] + (size_t)index * d->field_bytes[m->field];
        return QUERN_OK;
    }
    *out = m->values[m->field];
    const quern_status status = d->length >= 0 ? d->type->read(d->self, index, m->values)
                                               : d->type->next(d->self, m->values, end);
    if (status != QUERN_OK)
        return error_prefix(status, "dataset '%s': sample %" PRId64, d->name, index);
    return *end ? QUERN_OK : field_check_values(d->name, &d->fields[m->field], *out, index, 1);
}

static quern_status pass(moments *m, int power) {
    const quern_dataset *d = m->dataset;
    const bool bytes = d->fields[m->field].dtype == QUERN_U8;
    if (d->length < 0) QUERN_TRY(d->type->rewind(d->self));
    memset(m->sum, 0, sizeof m->sum);
    m->sample_count = 0;
    for (;;) {
        const void *x = NULL;
        bool end;
        QUERN_TRY(fetch(m, m->sample_count, &x, &end));
        if (end) break;
        if (bytes)
            count_values(m, x);
        else
            add_values(m, x, power);
        m->sample_count++;
    }
    if (m->sample_count == 0)
        return quern_fail(QUERN_INPUT, "dataset '%s' has no samples", d->name);
    return QUERN_OK;
}

static void histogram_moments(const int64_t histogram[256], double count, double *mean,
                              double *variance) {
    double sum = 0, squares = 0;
    for (int v = 0; v < 256; v++) sum += (double)histogram[v] * v;
    *mean = sum / count;
    for (int v = 0; v < 256; v++) squares += (double)histogram[v] * (v - *mean) * (v - *mean);
    *variance = squares / count;
}

static quern_status measure(moments *m, double mean[], double variance[]) {
    QUERN_TRY(pass(m, 1));
    const double count = (double)m->sample_count * (double)m->plane;
    const bool bytes = m->dataset->fields[m->field].dtype == QUERN_U8;
    for (int64_t c = 0; c < m->channels; c++) {
        if (bytes)
            histogram_moments(m->histogram[c], count, &mean[c], &variance[c]);
        else
            m->center[c] = mean[c] = m->sum[c] / count;
    }
    if (bytes) return QUERN_OK;
    QUERN_TRY(pass(m, 2));
    for (int64_t c = 0; c < m->channels; c++) variance[c] = m->sum[c] / count;
    return QUERN_OK;
}

/* Buffers for one sample, measure, release. */
static quern_status measure_with_buffers(moments *m, double mean[], double variance[]) {
    const quern_dataset *d = m->dataset;
    quern_status status = QUERN_OK;
    for (int32_t i = 0; i < d->field_count && !d->held && status == QUERN_OK; i++)
        status =
            memory_allocate(d->host, &m->values[i], (int64_t)d->field_bytes[i], 1, "one sample");
    if (status == QUERN_OK) status = measure(m, mean, variance);
    for (int32_t i = 0; i < d->field_count; i++)
        memory_release(d->host, m->values[i], (int64_t)d->field_bytes[i], 1);
    return status;
}

/* Columns of a table have scales of their own; a longer row is taken for one signal. */
static int64_t channels_of(const quern_field *f) {
    if (f->rank == 3) return f->dim[0];
    return f->rank == 1 && f->dim[0] <= QUERN_CHANNEL_MAX ? f->dim[0] : 1;
}

quern_status quern_transform_measure(quern_transform *transform, const quern_dataset *dataset) {
    if (transform == NULL || dataset == NULL || transform->field == NULL)
        return quern_fail(QUERN_INVALID, "quern_transform_measure: transform, its field or dataset "
                                         "is NULL");
    const int32_t field = dataset_find_field(dataset, transform->field);
    char names[256];
    if (field < 0)
        return quern_fail(QUERN_INVALID, "dataset '%s' has no field '%s', it has %s", dataset->name,
                          transform->field, dataset_field_names(dataset, names, sizeof names));
    if (dataset->length < 0 && dataset->type->rewind == NULL)
        return quern_fail(QUERN_UNSUPPORTED,
                          "dataset '%s' is a stream that cannot start again: it "
                          "cannot be measured",
                          dataset->name);
    const quern_field *f = &dataset->fields[field];
    const int64_t channels = channels_of(f);
    if (channels > QUERN_CHANNEL_MAX)
        return quern_fail(QUERN_UNSUPPORTED, "field '%s' has %" PRId64 " channels, at most %d",
                          f->name, channels, QUERN_CHANNEL_MAX);
    const double scale = transform->scale == 0 ? 1.0 : (double)transform->scale;
    double mean[QUERN_CHANNEL_MAX] = {0}, variance[QUERN_CHANNEL_MAX] = {0};
    moments *m;
    QUERN_TRY(memory_allocate(dataset->host, &m, 1, sizeof *m, "moments"));
    m->dataset = dataset;
    m->field = field;
    m->channels = channels;
    m->plane = dataset->counts[field] / channels;
    const quern_status status = measure_with_buffers(m, mean, variance);
    memory_release(dataset->host, m, 1, sizeof *m);
    if (status != QUERN_OK) return status;
    transform->channel_count = (int32_t)channels;
    for (int64_t c = 0; c < channels; c++) {
        transform->mean[c] = (float)(scale * mean[c]);
        transform->deviation[c] = (float)(fabs(scale) * sqrt(variance[c]));
        if (transform->deviation[c] == 0) transform->deviation[c] = 1; /* a constant channel */
    }
    return QUERN_OK;
}
