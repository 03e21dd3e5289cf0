/* dataset.h - the dataset object, and what the formats share.
 *
 * A format that holds everything in memory fills a dataset_held: element 0 of field f of sample n
 * is at data[f] + n * field_bytes[f], and the loader reads without a call per sample. */
#ifndef QUERN_DATA_DATASET_H
#define QUERN_DATA_DATASET_H

#include <quern/data.h>

#define DATASET_NAME_BYTES 64 /* of a field's name, terminator included */

/* Memory that goes with the dataset; pointer NULL: borrowed, or nothing. */
typedef struct dataset_block {
    void *pointer;
    size_t bytes;
} dataset_block;

typedef struct dataset_held {
    const char *format; /* "idx": the dataset's name in sentences; static */
    int64_t length;
    int32_t field_count;
    quern_field fields[QUERN_FIELD_MAX];
    const void *data[QUERN_FIELD_MAX];
    dataset_block blocks[QUERN_FIELD_MAX];
} dataset_held;

struct quern_dataset {
    const quern_host *host; /* the device's */
    const char *name;
    const quern_dataset_type *type; /* NULL when held */
    void *self;
    int64_t length; /* -1: a stream */
    int32_t field_count;
    quern_field fields[QUERN_FIELD_MAX];
    char names[QUERN_FIELD_MAX][DATASET_NAME_BYTES]; /* fields[i].name points here */
    int64_t counts[QUERN_FIELD_MAX];                 /* elements of a field */
    size_t field_bytes[QUERN_FIELD_MAX];
    bool held;
    const uint8_t *data[QUERN_FIELD_MAX]; /* held only */
    dataset_block blocks[QUERN_FIELD_MAX];
};

/* Checks fields and sizes, and takes the blocks over; on failure they are the caller's still. */
QUERN_MUST_CHECK quern_status dataset_create_held(quern_dataset **out, quern_device *device,
                                                  const dataset_held *held);
void dataset_release_blocks(const quern_host *host, dataset_block *blocks, int32_t count);

/* The field of that name, or -1. */
int32_t dataset_find_field(const quern_dataset *dataset, const char *name);
/* "image", "label": for sentences. Returns buffer. */
const char *dataset_field_names(const quern_dataset *dataset, char *buffer, size_t bytes);

/* Elements of a field; false when a dim is not positive or the product does not fit. */
bool field_element_count(const quern_field *field, int64_t *out);
/* INPUT for a class index outside [0, class_count), an I64 that does not fit I32, or a value that
 * is not finite; names `where` (a file, or the format), field and sample. */
QUERN_MUST_CHECK quern_status field_check_values(const char *where, const quern_field *field,
                                                 const void *data, int64_t first_sample,
                                                 int64_t sample_count);
#endif
