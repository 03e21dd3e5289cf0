/* dataset.c - custom and held datasets, their checks, and what the formats share. */
#include "dataset.h"

#include "../base/memory.h"
#include "../base/report.h"
#include "../base/size.h"
#include "../base/text.h"
#include "../device/device.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

bool field_element_count(const quern_field *field, int64_t *out) {
    int64_t count = 1;
    for (int32_t d = 0; d < field->rank; d++)
        if (field->dim[d] <= 0 || !count_multiply(count, field->dim[d], &count)) return false;
    *out = count;
    return true;
}

static bool is_integer(quern_dtype dtype) {
    return dtype == QUERN_U8 || dtype == QUERN_I32 || dtype == QUERN_I64;
}

static quern_status check_field(const char *set, const quern_field *field, int64_t *count) {
    if (field->name == NULL || field->name[0] == '\0')
        return quern_fail(QUERN_INVALID, "dataset '%s': a field without a name", set);
    if (strlen(field->name) >= DATASET_NAME_BYTES)
        return quern_fail(QUERN_INVALID,
                          "dataset '%s': the field name '%.40s…' has %zu bytes, at "
                          "most %d fit",
                          set, field->name, strlen(field->name), DATASET_NAME_BYTES - 1);
    const int dtype = (int)field->dtype;
    if (dtype < 0 || dtype >= QUERN_DTYPE_COUNT || field->dtype == QUERN_BF16 ||
        field->dtype == QUERN_F16)
        return quern_fail(QUERN_INVALID,
                          "dataset '%s': field '%s' has dtype %d; a field is F32, "
                          "F64, I32, I64 or U8",
                          set, field->name, dtype);
    if (field->rank < 0 || field->rank > QUERN_RANK_MAX - 1)
        return quern_fail(QUERN_INVALID,
                          "dataset '%s': field '%s' has rank %" PRId32 ", at most %d", set,
                          field->name, field->rank, QUERN_RANK_MAX - 1);
    for (int32_t d = field->rank; d < QUERN_RANK_MAX - 1; d++)
        if (field->dim[d] != 0)
            return quern_fail(QUERN_INVALID,
                              "dataset '%s': field '%s' has dim %" PRId32 " set, but rank %" PRId32,
                              set, field->name, d, field->rank);
    if (!field_element_count(field, count))
        return quern_fail(QUERN_INVALID,
                          "dataset '%s': field '%s' has a dim that is not positive, "
                          "or too many elements",
                          set, field->name);
    if (field->class_count < 0 || field->class_count > INT32_MAX ||
        (field->class_count > 0 && !is_integer(field->dtype)))
        return quern_fail(QUERN_INVALID,
                          "dataset '%s': field '%s' is %s with class_count %" PRId64
                          "; class indices are U8, I32 or I64, and below 2^31",
                          set, field->name, quern_dtype_name(field->dtype), field->class_count);
    return QUERN_OK;
}

/* Copies the fields in, with names and sizes. */
static quern_status set_fields(quern_dataset *d, const quern_field *fields, int32_t count) {
    if (count < 1 || count > QUERN_FIELD_MAX)
        return quern_fail(QUERN_INVALID,
                          "dataset '%s' has %" PRId32 " fields; 1 to %d are possible", d->name,
                          count, QUERN_FIELD_MAX);
    for (int32_t i = 0; i < count; i++) {
        QUERN_TRY(check_field(d->name, &fields[i], &d->counts[i]));
        if (dataset_find_field(d, fields[i].name) >= 0)
            return quern_fail(QUERN_INVALID, "dataset '%s': two fields are named '%s'", d->name,
                              fields[i].name);
        if (!count_bytes(d->counts[i], quern_dtype_bytes(fields[i].dtype), &d->field_bytes[i]))
            return quern_fail(QUERN_INVALID, "dataset '%s': field '%s' is too large", d->name,
                              fields[i].name);
        d->fields[i] = fields[i];
        memcpy(d->names[i], fields[i].name, strlen(fields[i].name) + 1);
        d->fields[i].name = d->names[i];
        d->field_count = i + 1;
    }
    return QUERN_OK;
}

static quern_status check_type(const quern_dataset_type *type, void *self, int64_t *length) {
    const char *missing = type->name == NULL     ? "name"
                          : type->length == NULL ? "length"
                          : type->fields == NULL ? "fields"
                                                 : NULL;
    if (missing != NULL) return quern_fail(QUERN_INVALID, "a dataset type without '%s'", missing);
    *length = type->length(self);
    if (*length < -1)
        return quern_fail(QUERN_INVALID, "dataset '%s': length %" PRId64, type->name, *length);
    if (*length >= 0 && type->read == NULL)
        return quern_fail(QUERN_INVALID, "dataset '%s' has a length but no 'read'", type->name);
    if (*length < 0 && type->next == NULL)
        return quern_fail(QUERN_INVALID, "dataset '%s' is a stream but has no 'next'", type->name);
    return QUERN_OK;
}

quern_status quern_dataset_custom(quern_dataset **out, quern_device *device,
                                  const quern_dataset_type *type, void *self) {
    if (out == NULL) return quern_fail(QUERN_INVALID, "quern_dataset_custom: out is NULL");
    *out = NULL;
    if (device == NULL || type == NULL)
        return quern_fail(QUERN_INVALID, "quern_dataset_custom: device or type is NULL");
    int64_t length = 0;
    QUERN_TRY(check_type(type, self, &length));
    quern_dataset *d;
    QUERN_TRY(memory_allocate(&device->host, &d, 1, sizeof *d, "dataset"));
    d->host = &device->host;
    d->name = type->name;
    d->length = length;
    const quern_field *fields = NULL;
    const int32_t count = type->fields(self, &fields);
    const quern_status status = fields == NULL && count > 0
                                    ? quern_fail(QUERN_INVALID,
                                                 "dataset '%s': fields() gave "
                                                 "NULL",
                                                 type->name)
                                    : set_fields(d, fields, count);
    if (status != QUERN_OK) {
        memory_release(&device->host, d, 1, sizeof *d);
        return status;
    }
    d->type = type;
    d->self = self;
    *out = d;
    return QUERN_OK;
}

quern_status dataset_create_held(quern_dataset **out, quern_device *device,
                                 const dataset_held *held) {
    quern_dataset *d;
    if (held->length < 0)
        return quern_fail(QUERN_INVALID, "%s: length %" PRId64, held->format, held->length);
    QUERN_TRY(memory_allocate(&device->host, &d, 1, sizeof *d, "dataset"));
    d->host = &device->host;
    d->name = held->format;
    d->length = held->length;
    d->held = true;
    quern_status status = set_fields(d, held->fields, held->field_count);
    for (int32_t i = 0; i < held->field_count && status == QUERN_OK; i++) {
        size_t bytes;
        d->data[i] = held->data[i];
        if (!count_bytes(held->length, d->field_bytes[i], &bytes) || bytes > PTRDIFF_MAX)
            status =
                quern_fail(QUERN_INVALID, "%s: %" PRId64 " samples of field '%s' are too large",
                           held->format, held->length, d->names[i]);
    }
    if (status != QUERN_OK) {
        memory_release(&device->host, d, 1, sizeof *d);
        return status;
    }
    memcpy(d->blocks, held->blocks, sizeof d->blocks);
    *out = d;
    return QUERN_OK;
}

void dataset_release_blocks(const quern_host *host, dataset_block *blocks, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        memory_release(host, blocks[i].pointer, (int64_t)blocks[i].bytes, 1);
        blocks[i] = (dataset_block){0};
    }
}

void quern_dataset_destroy(quern_dataset *dataset) {
    if (dataset == NULL) return;
    const quern_host *host = dataset->host;
    if (dataset->type != NULL && dataset->type->destroy != NULL)
        dataset->type->destroy(dataset->self);
    dataset_release_blocks(host, dataset->blocks, QUERN_FIELD_MAX);
    memory_release(host, dataset, 1, sizeof *dataset);
}

int64_t quern_dataset_length(const quern_dataset *dataset) {
    return dataset == NULL ? 0 : dataset->length;
}

int32_t quern_dataset_fields(const quern_dataset *dataset, const quern_field **out) {
    if (out != NULL) *out = dataset == NULL ? NULL : dataset->fields;
    return dataset == NULL ? 0 : dataset->field_count;
}

int32_t dataset_find_field(const quern_dataset *dataset, const char *name) {
    for (int32_t i = 0; i < dataset->field_count; i++)
        if (strcmp(dataset->fields[i].name, name) == 0) return i;
    return -1;
}

const char *dataset_field_names(const quern_dataset *dataset, char *buffer, size_t bytes) {
    text t = text_over(buffer, bytes);
    for (int32_t i = 0; i < dataset->field_count; i++)
        text_add(&t, "%s'%s'", i == 0 ? "" : ", ", dataset->fields[i].name);
    return buffer;
}

static int64_t integer_at(quern_dtype dtype, const void *data, int64_t i) {
    if (dtype == QUERN_U8) return ((const uint8_t *)data)[i];
    if (dtype == QUERN_I32) return ((const int32_t *)data)[i];
    return ((const int64_t *)data)[i];
}

static quern_status check_integers(const char *where, const quern_field *field, const void *data,
                                   int64_t first_sample, int64_t elements, int64_t per_sample) {
    const bool classes = field->class_count > 0;
    const int64_t low = classes ? 0 : INT32_MIN;
    const int64_t high = classes ? field->class_count - 1 : INT32_MAX;
    for (int64_t i = 0; i < elements; i++) {
        const int64_t value = integer_at(field->dtype, data, i);
        if (value < low || value > high)
            return quern_fail(QUERN_INPUT,
                              "%s: field '%s' of sample %" PRId64 " is %" PRId64
                              ", expected %" PRId64 " to %" PRId64,
                              where, field->name, first_sample + i / per_sample, value, low, high);
    }
    return QUERN_OK;
}

/* x * 0 is 0 for a finite x and NaN for any other: the sum finds out without a branch. */
static bool all_finite_f32(const float *x, int64_t count) {
    float sum[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int64_t lane = 0; lane < 8; lane++) sum[lane] += x[i + lane] * 0.0f;
    for (; i < count; i++) sum[0] += x[i] * 0.0f;
    for (int lane = 1; lane < 8; lane++) sum[0] += sum[lane];
    return sum[0] == 0.0f;
}

static quern_status check_finite(const char *where, const quern_field *field, const void *data,
                                 int64_t first_sample, int64_t elements, int64_t per_sample) {
    const bool wide = field->dtype == QUERN_F64;
    if (!wide && all_finite_f32(data, elements)) return QUERN_OK;
    for (int64_t i = 0; i < elements; i++) {
        const double value = wide ? ((const double *)data)[i] : (double)((const float *)data)[i];
        if (!isfinite(value))
            return quern_fail(QUERN_INPUT,
                              "%s: element %" PRId64 " of field '%s' of sample %" PRId64
                              " is %s, expected a finite number",
                              where, i % per_sample, field->name, first_sample + i / per_sample,
                              isnan(value) ? "NaN" : "infinite");
    }
    return QUERN_OK;
}

quern_status field_check_values(const char *where, const quern_field *field, const void *data,
                                int64_t first_sample, int64_t sample_count) {
    int64_t per_sample;
    QUERN_ENSURE(field_element_count(field, &per_sample));
    const int64_t elements = sample_count * per_sample;
    if (!is_integer(field->dtype))
        return check_finite(where, field, data, first_sample, elements, per_sample);
    if (field->dtype == QUERN_I64 || field->class_count > 0)
        return check_integers(where, field, data, first_sample, elements, per_sample);
    return QUERN_OK;
}
