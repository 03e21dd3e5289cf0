/* field_plan.h - how one field of a sample becomes one input, once for both compilers:
 * conversion, y = (x * scale - mean[c]) / deviation[c] in the input's precision, random crop and
 * flip. As torchvision's RandomCrop(padding) and RandomHorizontalFlip: the raw image is padded with
 * zeros, then cropped, then flipped, then normalised, so the border becomes (0 - mean) / deviation.
 *
 * Here are the plan, the draws and the arithmetic of one element; cpu/field_plan.c goes through a
 * sample run by run, cuda/task_gather.cu element by element. Nothing here may be contracted to
 * fused multiply-adds: both are compiled without. */
#ifndef QUERN_KERNELS_FIELD_PLAN_H
#define QUERN_KERNELS_FIELD_PLAN_H

#include "../host/base/random.h"
#include <quern/data.h>

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

/* What is drawn for a sample of an epoch; two fields of one sample (image and mask) share it. */
typedef struct field_draw {
    uint32_t bits[4];
} field_draw;

/* Block `sample` of the stream of (seed, epoch): row, column, flip, and one draw left over. */
static inline QUERN_HD field_draw field_draw_of(uint64_t seed, int64_t epoch, int64_t sample) {
    field_draw d;
    const random_key key = {seed, RANDOM_AUGMENT, epoch, 0};
    random_block(&key, sample, d.bits);
    return d;
}

typedef struct field_augmentation {
    int64_t down, right; /* of the crop window, from -padding to padding */
    bool flip;
} field_augmentation;

static inline QUERN_HD bool field_is_augmented(const field_plan *p) {
    return p->crop_padding > 0 || p->horizontal_flip;
}

static inline QUERN_HD field_augmentation field_augmentation_of(const field_plan *p,
                                                                const field_draw *d) {
    const uint64_t choices = 2 * (uint64_t)p->crop_padding + 1;
    field_augmentation g;
    g.down = (int64_t)((d->bits[0] * choices) >> 32) - p->crop_padding;
    g.right = (int64_t)((d->bits[1] * choices) >> 32) - p->crop_padding;
    g.flip = p->horizontal_flip && d->bits[2] >> 31 != 0;
    return g;
}

/* Which element of the raw sample becomes element `at`; -1: one of the border. */
static inline QUERN_HD int64_t field_source(const field_plan *p, const field_augmentation *g,
                                            int64_t at) {
    const int64_t column = at % p->width, line = at / p->width;
    const int64_t y = line % p->height + g->down;
    const int64_t x = (g->flip ? p->width - 1 - column : column) + g->right;
    if (y < 0 || y >= p->height || x < 0 || x >= p->width) return -1;
    return (line - line % p->height + y) * p->width + x;
}

static inline QUERN_HD float field_normalise_float(float x, float scale, float mean,
                                                   float deviation) {
    return (x * scale - mean) / deviation;
}

static inline QUERN_HD double field_normalise_double(double x, double scale, double mean,
                                                     double deviation) {
    return (x * scale - mean) / deviation;
}

#endif
