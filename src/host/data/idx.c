/* idx.c - IDX files, the format of MNIST.
 *
 *   offset 0  00 00 08 R    unsigned bytes, R dims
 *          4  R dims, 32 bits each, most significant byte first
 *     4 + 4R  the values, row-major, and nothing behind them
 *
 * Source: LeCun, Cortes, Burges, "The MNIST database", section "file formats". */
#include "dataset.h"

#include "../base/file.h"
#include "../base/memory.h"
#include "../base/report.h"
#include "../base/size.h"
#include "../device/device.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define IDX_FILE_LIMIT ((size_t)1 << 35) /* 32 GiB: more is not held in memory */

typedef struct idx_file {
    const char *path;
    uint8_t *content; /* the whole file, inflated */
    size_t bytes;
    int64_t dim[3];
    size_t data_offset;
} idx_file;

static int64_t read_u32(const uint8_t *p) {
    return (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | (int64_t)p[3];
}

/* Header and length; `rank` is what the file must have. */
static quern_status idx_parse(idx_file *f, int rank) {
    const size_t header = 4 + 4 * (size_t)rank;
    if (f->bytes < header)
        return quern_fail(QUERN_INPUT,
                          "%s: an IDX header of %zu bytes was expected, the file has "
                          "%zu",
                          f->path, header, f->bytes);
    const uint8_t *c = f->content;
    if (c[0] != 0 || c[1] != 0 || c[2] != 8 || c[3] != rank)
        return quern_fail(QUERN_INPUT,
                          "%s: offset 0: expected the magic 000008%02x (unsigned bytes, "
                          "%d dims), found %02x%02x%02x%02x",
                          f->path, (unsigned)rank, rank, c[0], c[1], c[2], c[3]);
    int64_t count = 1;
    for (int d = 0; d < rank; d++) {
        f->dim[d] = read_u32(c + 4 + 4 * d);
        if (f->dim[d] == 0)
            return quern_fail(QUERN_INPUT,
                              d == 0 ? "%s: offset %d: no samples" : "%s: offset %d: a dim is 0",
                              f->path, 4 + 4 * d);
        if (!count_multiply(count, f->dim[d], &count))
            return quern_fail(QUERN_INPUT, "%s: offset %d: the dims promise more than 2^63 bytes",
                              f->path, 4 + 4 * d);
    }
    if ((uint64_t)count != f->bytes - header)
        return quern_fail(QUERN_INPUT,
                          "%s: offset %zu: the dims promise %" PRId64 " bytes of data, "
                          "found %zu",
                          f->path, header, count, f->bytes - header);
    f->data_offset = header;
    return QUERN_OK;
}

static quern_status idx_read(idx_file *f, const quern_host *host, int rank) {
    QUERN_TRY(file_read_inflated(host, f->path, IDX_FILE_LIMIT, &f->content, &f->bytes));
    return idx_parse(f, rank);
}

/* Labels become I32: what the losses read. */
static quern_status widen_labels(const quern_host *host, const idx_file *labels, dataset_block *out,
                                 int64_t *largest) {
    const uint8_t *from = labels->content + labels->data_offset;
    int32_t *to;
    QUERN_TRY(memory_allocate(host, &to, labels->dim[0], sizeof *to, "labels"));
    *largest = 0;
    for (int64_t i = 0; i < labels->dim[0]; i++) {
        to[i] = from[i];
        if (from[i] > *largest) *largest = from[i];
    }
    *out = (dataset_block){.pointer = to, .bytes = (size_t)labels->dim[0] * sizeof *to};
    return QUERN_OK;
}

static quern_status read_both(const quern_host *host, idx_file *images, idx_file *labels,
                              const quern_idx_desc *desc, dataset_held *held) {
    QUERN_TRY(idx_read(images, host, 3));
    QUERN_TRY(idx_read(labels, host, 1));
    if (images->dim[0] != labels->dim[0])
        return quern_fail(QUERN_INPUT, "%s has %" PRId64 " images, %s has %" PRId64 " labels",
                          images->path, images->dim[0], labels->path, labels->dim[0]);
    int64_t largest;
    QUERN_TRY(widen_labels(host, labels, &held->blocks[1], &largest));
    const int64_t classes = desc->class_count > 0 ? desc->class_count : largest + 1;
    held->length = images->dim[0];
    held->field_count = 2;
    held->fields[0] = (quern_field){
        .name = "image", .dtype = QUERN_U8, .rank = 3, .dim = {1, images->dim[1], images->dim[2]}};
    held->fields[1] = (quern_field){.name = "label", .dtype = QUERN_I32, .class_count = classes};
    held->data[0] = images->content + images->data_offset;
    held->data[1] = held->blocks[1].pointer;
    return field_check_values(labels->path, &held->fields[1], held->data[1], 0, held->length);
}

quern_status quern_dataset_idx(quern_dataset **out, quern_device *device,
                               const quern_idx_desc *desc) {
    if (out == NULL) return quern_fail(QUERN_INVALID, "quern_dataset_idx: out is NULL");
    *out = NULL;
    if (device == NULL || desc == NULL || desc->images == NULL || desc->labels == NULL)
        return quern_fail(QUERN_INVALID, "quern_dataset_idx: device, images or labels is NULL");
    if (desc->class_count < 0 || desc->class_count > INT32_MAX)
        return quern_fail(QUERN_INVALID, "quern_dataset_idx: class_count %" PRId64,
                          desc->class_count);
    const quern_host *host = &device->host;
    idx_file images = {.path = desc->images}, labels = {.path = desc->labels};
    dataset_held held = {.format = "idx"};
    quern_status status = read_both(host, &images, &labels, desc, &held);
    held.blocks[0] = (dataset_block){.pointer = images.content, .bytes = images.bytes};
    if (status == QUERN_OK) status = dataset_create_held(out, device, &held);
    memory_release(host, labels.content, (int64_t)labels.bytes, 1);
    if (status != QUERN_OK) dataset_release_blocks(host, held.blocks, QUERN_FIELD_MAX);
    return status;
}

/* directory/part, or the same with .gz: whichever is there. */
static quern_status find_part(const quern_host *host, const char *directory, const char *part,
                              char *path, size_t bytes) {
    const char *const endings[] = {"", ".gz"};
    for (int i = 0; i < 2; i++) {
        quern_file_info info;
        const int length = snprintf(path, bytes, "%s/%s%s", directory, part, endings[i]);
        if (length < 0 || (size_t)length >= bytes)
            return quern_fail(QUERN_INPUT, "the path of the directory has more than %zu bytes",
                              bytes - 32);
        if (host->files.info(host->files.self, path, &info) >= 0 && !info.is_directory)
            return QUERN_OK;
    }
    return quern_fail(QUERN_INPUT,
                      "%s: neither %s nor %s.gz is there (looked for train- and t10k-"
                      "images-idx3-ubyte and -labels-idx1-ubyte)",
                      directory, part, part);
}

quern_status quern_dataset_mnist(quern_dataset **out, quern_device *device, const char *directory,
                                 bool test) {
    if (out == NULL) return quern_fail(QUERN_INVALID, "quern_dataset_mnist: out is NULL");
    *out = NULL;
    if (device == NULL || directory == NULL)
        return quern_fail(QUERN_INVALID, "quern_dataset_mnist: device or directory is NULL");
    const quern_host *host = &device->host;
    char images[4096], labels[4096];
    quern_file_info info;
    if (host->files.info(host->files.self, directory, &info) < 0)
        return quern_fail(QUERN_INPUT, "%s: there is no such directory", directory);
    QUERN_TRY(find_part(host, directory,
                        test ? "t10k-images-idx3-ubyte" : "train-images-idx3-ubyte", images,
                        sizeof images));
    QUERN_TRY(find_part(host, directory,
                        test ? "t10k-labels-idx1-ubyte" : "train-labels-idx1-ubyte", labels,
                        sizeof labels));
    return quern_dataset_idx(
        out, device, &(quern_idx_desc){.images = images, .labels = labels, .class_count = 10});
}
