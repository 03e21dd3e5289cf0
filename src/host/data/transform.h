/* transform.h - how one field of a sample becomes one input: conversion, y = (x * scale - mean[c])
 * / deviation[c] in the input's precision, random crop and flip. */
#ifndef QUERN_DATA_TRANSFORM_H
#define QUERN_DATA_TRANSFORM_H

#include "dataset.h"

/* A field matched with an input, all checks done, all defaults filled in. */
typedef struct field_plan {
    quern_dtype from, to;
    int64_t class_count;
    int64_t count;                   /* elements of a sample */
    int64_t channels, height, width; /* count = channels * height * width */
    bool arithmetic, normalise;      /* a scale other than 1; a mean and a deviation */
    double scale, mean[QUERN_CHANNEL_MAX], deviation[QUERN_CHANNEL_MAX];
    int64_t crop_padding;
    bool horizontal_flip;
} field_plan;

/* Fills in the defaults, in place; INVALID for a number that makes no sense. */
QUERN_MUST_CHECK quern_status transform_resolve(quern_transform *transform);

/* transform: resolved, or NULL. augment: keep crop and flip. SHAPE, INVALID: names both sides. */
QUERN_MUST_CHECK quern_status field_plan_make(field_plan *out, const quern_field *field,
                                              const quern_transform *transform,
                                              const char *input_name, quern_dtype to,
                                              int64_t input_count, bool augment);

/* Writes one sample. The crop and the flip are drawn from (seed, epoch, sample) alone: two fields
 * of one sample (image and mask) get the same. */
void field_plan_apply(const field_plan *plan, const void *from, void *to, uint64_t seed,
                      int64_t epoch, int64_t sample);

#endif
