/* synthetic.c - images to learn from without a file.
 *
 * A class is a prototype: white noise blurred three times by a 5 x 5 box, stretched to 0 … 255.
 * Sample i is the prototype of a random class, shifted by up to 2 pixels, at 5/8 of its contrast,
 * plus triangular noise. Everything is a pure function of (seed, index) in integers: the same
 * bytes everywhere. Cost: about 3 us per sample, once; held in memory. */
#include "dataset.h"

#include "../base/memory.h"
#include "../base/random.h"
#include "../base/report.h"
#include "../base/size.h"
#include "../device/device.h"

#include <inttypes.h>
#include <string.h>

enum { SIDE = 28, PIXELS = SIDE * SIDE, BLUR = 2, SHIFT = 2 };
#define INDEX_LIMIT (INT64_C(1) << 40) /* of a counter's attempt */

/* Mean over the 5 x 5 neighbours, edges wrapped around. */
static void blur(const int32_t from[PIXELS], int32_t to[PIXELS]) {
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int32_t sum = 0;
            for (int dy = -BLUR; dy <= BLUR; dy++)
                for (int dx = -BLUR; dx <= BLUR; dx++)
                    sum += from[(y + dy + SIDE) % SIDE * SIDE + (x + dx + SIDE) % SIDE];
            to[y * SIDE + x] = sum / ((2 * BLUR + 1) * (2 * BLUR + 1));
        }
}

static void make_prototype(uint64_t seed, int64_t class_index, uint8_t to[PIXELS]) {
    const random_key key = {.seed = seed, .purpose = RANDOM_SYNTHETIC, .attempt = class_index};
    int32_t a[PIXELS], b[PIXELS];
    for (int i = 0; i < PIXELS; i += 4) {
        uint32_t bits[4];
        random_block(&key, i / 4, bits);
        for (int k = 0; k < 4; k++) a[i + k] = (int32_t)(bits[k] >> 12);
    }
    blur(a, b);
    blur(b, a);
    blur(a, b);
    int32_t low = b[0], high = b[0];
    for (int i = 0; i < PIXELS; i++) {
        if (b[i] < low) low = b[i];
        if (b[i] > high) high = b[i];
    }
    const int32_t range = high > low ? high - low : 1;
    for (int i = 0; i < PIXELS; i++) to[i] = (uint8_t)((int64_t)(b[i] - low) * 255 / range);
}

/* One block per 8 pixels, two bytes of noise each; the block before them says class and shift. */
static void make_sample(const uint8_t *prototypes, int64_t class_count, uint64_t seed,
                        int64_t index, uint8_t image[PIXELS], int32_t *label) {
    const random_key key = {
        .seed = seed, .purpose = RANDOM_SYNTHETIC, .attempt = index, .microbatch = 1};
    uint32_t bits[4];
    random_block(&key, 0, bits);
    *label = (int32_t)((bits[0] * (uint64_t)class_count) >> 32);
    const int down = (int)(bits[1] % (2 * SHIFT + 1)), right = (int)(bits[2] % (2 * SHIFT + 1));
    const uint8_t *p = prototypes + (size_t)*label * PIXELS;
    for (int i = 0; i < PIXELS; i++) {
        if (i % 8 == 0) random_block(&key, 1 + i / 8, bits);
        const uint32_t two = bits[i % 8 / 2] >> (i % 2 * 16);
        const int noise = (int)(two & 255u) + (int)(two >> 8 & 255u) - 255;
        const int y = (i / SIDE + down + SIDE - SHIFT) % SIDE;
        const int x = (i % SIDE + right + SIDE - SHIFT) % SIDE;
        const int value = 48 + p[y * SIDE + x] * 5 / 8 + noise * 3 / 8;
        image[i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

static quern_status make_all(const quern_host *host, const quern_synthetic_desc *desc,
                             dataset_held *held) {
    uint8_t *images, *prototypes;
    int32_t *labels;
    size_t image_bytes;
    if (!count_bytes(desc->length, PIXELS, &image_bytes))
        return quern_fail(QUERN_INVALID, "synthetic: length %" PRId64, desc->length);
    QUERN_TRY(memory_allocate(host, &images, desc->length, PIXELS, "synthetic images"));
    held->blocks[0] = (dataset_block){.pointer = images, .bytes = image_bytes};
    QUERN_TRY(memory_allocate(host, &labels, desc->length, sizeof *labels, "synthetic labels"));
    held->blocks[1] =
        (dataset_block){.pointer = labels, .bytes = (size_t)desc->length * sizeof *labels};
    QUERN_TRY(memory_allocate(host, &prototypes, desc->class_count, PIXELS, "prototypes"));
    for (int64_t c = 0; c < desc->class_count; c++)
        make_prototype(desc->seed, c, prototypes + (size_t)c * PIXELS);
    for (int64_t i = 0; i < desc->length; i++)
        make_sample(prototypes, desc->class_count, desc->seed, desc->first_index + i,
                    images + (size_t)i * PIXELS, &labels[i]);
    memory_release(host, prototypes, desc->class_count, PIXELS);
    held->data[0] = images;
    held->data[1] = labels;
    return QUERN_OK;
}

quern_status quern_dataset_synthetic(quern_dataset **out, quern_device *device,
                                     const quern_synthetic_desc *desc) {
    if (out == NULL) return quern_fail(QUERN_INVALID, "quern_dataset_synthetic: out is NULL");
    *out = NULL;
    if (device == NULL) return quern_fail(QUERN_INVALID, "quern_dataset_synthetic: device is NULL");
    quern_synthetic_desc d = desc != NULL ? *desc : (quern_synthetic_desc){0};
    if (d.length == 0) d.length = 10000;
    if (d.class_count == 0) d.class_count = 10;
    if (d.length < 0 || d.first_index < 0 || d.first_index > INDEX_LIMIT ||
        d.length > INDEX_LIMIT - d.first_index)
        return quern_fail(QUERN_INVALID,
                          "synthetic: first_index %" PRId64 " and length %" PRId64
                          ", expected 0 to 2^40",
                          d.first_index, d.length);
    if (d.class_count < 0 || d.class_count > 65536)
        return quern_fail(QUERN_INVALID, "synthetic: class_count %" PRId64 ", expected 1 to 65536",
                          d.class_count);
    dataset_held held = {.format = "synthetic", .length = d.length, .field_count = 2};
    held.fields[0] =
        (quern_field){.name = "image", .dtype = QUERN_U8, .rank = 3, .dim = {1, SIDE, SIDE}};
    held.fields[1] =
        (quern_field){.name = "label", .dtype = QUERN_I32, .class_count = d.class_count};
    quern_status status = make_all(&device->host, &d, &held);
    if (status == QUERN_OK) status = dataset_create_held(out, device, &held);
    if (status != QUERN_OK) dataset_release_blocks(&device->host, held.blocks, QUERN_FIELD_MAX);
    return status;
}
