/* arrays.c - samples in the application's own memory, borrowed. The values are checked once, when
 * the set is made: class indices, I64 values that must fit I32, floats that must be finite. */
#include "dataset.h"

#include "../base/report.h"

#include <inttypes.h>

quern_status quern_dataset_arrays(quern_dataset **out, quern_device *device,
                                  const quern_arrays_desc *desc) {
    if (out == NULL) return quern_fail(QUERN_INVALID, "quern_dataset_arrays: out is NULL");
    *out = NULL;
    if (device == NULL || desc == NULL)
        return quern_fail(QUERN_INVALID, "quern_dataset_arrays: device or desc is NULL");
    dataset_held held = {
        .format = "arrays", .length = desc->length, .field_count = desc->field_count};
    for (int32_t i = 0; i < QUERN_FIELD_MAX; i++) {
        const bool used = i < desc->field_count;
        if (!used && desc->data[i] != NULL)
            return quern_fail(QUERN_INVALID,
                              "arrays: data[%" PRId32 "] is set, but field_count is %" PRId32, i,
                              desc->field_count);
        if (used && desc->data[i] == NULL && desc->length != 0)
            return quern_fail(QUERN_INVALID, "arrays: data[%" PRId32 "] is NULL", i);
        held.fields[i] = desc->fields[i];
        held.data[i] = desc->data[i];
    }
    if (desc->length == 0) return quern_fail(QUERN_INPUT, "arrays: no samples");
    quern_dataset *d;
    QUERN_TRY(dataset_create_held(&d, device, &held));
    for (int32_t i = 0; i < d->field_count; i++) {
        const size_t align = quern_dtype_bytes(d->fields[i].dtype);
        const quern_status status =
            (uintptr_t)d->data[i] % align != 0
                ? quern_fail(QUERN_INVALID, "arrays: data[%" PRId32 "] is not aligned to %zu bytes",
                             i, align)
                : field_check_values(d->name, &d->fields[i], d->data[i], 0, d->length);
        if (status != QUERN_OK) {
            quern_dataset_destroy(d);
            return status;
        }
    }
    *out = d;
    return QUERN_OK;
}
