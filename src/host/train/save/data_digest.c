/* data_digest.c - tells one set from another of the same shape, where it is held in memory:
 * XXH3-128 over each whole field that is not large, as labels are, and over some samples, from the
 * first to the last at even distances, of each field the first and last bytes. That is at most
 * 2 MiB beside the fields, whatever the set's size. A set that the application reads has none: what
 * it gives may be another thing each time it is asked. */
#include "../checkpoint/digest.h"
#include "../../data/dataset.h"
#include "state.h"

enum { SAMPLES = 64, END_BYTES = 2048, WHOLE_BYTES = 64 << 20 };

static void add_field(digest *d, const uint8_t *at, size_t bytes) {
    const size_t end = bytes < END_BYTES ? bytes : END_BYTES;
    digest_add(d, at, end);
    digest_add(d, at + bytes - end, end);
}

bool data_digest(const quern_dataset *set, char out[DIGEST_TEXT]) {
    const int64_t count = set->length < SAMPLES ? set->length : SAMPLES;
    digest d;
    if (!set->held) return false;
    digest_begin(&d);
    for (int64_t i = 0; i < count; i++) {
        /* i (length - 1) / (count - 1), without the product */
        const int64_t gaps = count > 1 ? count - 1 : 1, last = set->length - 1;
        const int64_t n = last / gaps * i + last % gaps * i / gaps;
        for (int32_t f = 0; f < set->field_count; f++)
            add_field(&d, set->data[f] + (size_t)n * set->field_bytes[f], set->field_bytes[f]);
    }
    digest_end(&d, out);
    return true;
}

bool field_digest(const quern_dataset *set, int32_t field, char out[DIGEST_TEXT]) {
    digest d;
    if (!set->held || set->length > (int64_t)(WHOLE_BYTES / set->field_bytes[field])) return false;
    digest_begin(&d);
    digest_add(&d, set->data[field], (size_t)set->length * set->field_bytes[field]);
    digest_end(&d, out);
    return true;
}
