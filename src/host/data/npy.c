/* npy.c - NumPy files.
 *
 *   offset 0  93 'NUMPY', version (1, 2 or 3), 0
 *          8  length of the header: 16 bits (version 1) or 32, least significant byte first
 *             the header: {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 28, 28), }
 *             the values, and nothing behind them
 *
 * The header is parsed as the one literal that it may be: three keys, each once, in any order.
 * Source: NumPy enhancement proposal 1, and numpy/lib/format.py. */
#include "dataset.h"

#include "../base/file.h"
#include "../base/memory.h"
#include "../base/report.h"
#include "../base/size.h"
#include "../device/device.h"

#include <inttypes.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "values are used as they lie in the file");

#define NPY_FILE_LIMIT ((size_t)1 << 35) /* 32 GiB: more is not held in memory */

typedef struct npy_file {
    const char *path;
    uint8_t *content;
    size_t bytes;
    size_t at, header_end; /* the parser's position; where the values begin */
    quern_dtype dtype;
    int32_t rank;
    int64_t dim[QUERN_RANK_MAX];
    bool has_descr, has_order, has_shape;
} npy_file;

static quern_status expected(const npy_file *f, const char *what) {
    const uint8_t *found = f->content + f->at;
    if (f->at >= f->header_end)
        return quern_fail(QUERN_INPUT, "%s: offset %zu: expected %s, found the header's end",
                          f->path, f->at, what);
    return quern_fail(QUERN_INPUT, "%s: offset %zu: expected %s, found byte %02x", f->path, f->at,
                      what, *found);
}

static void skip_spaces(npy_file *f) {
    while (f->at < f->header_end && (f->content[f->at] == ' ' || f->content[f->at] == '\n' ||
                                     f->content[f->at] == '\t' || f->content[f->at] == '\r'))
        f->at++;
}

/* The character, if it comes next; spaces before it are skipped. */
static bool accept(npy_file *f, char c) {
    skip_spaces(f);
    if (f->at >= f->header_end || f->content[f->at] != (uint8_t)c) return false;
    f->at++;
    return true;
}

static bool accept_word(npy_file *f, const char *word) {
    const size_t length = strlen(word);
    skip_spaces(f);
    if (f->header_end - f->at < length || memcmp(f->content + f->at, word, length) != 0)
        return false;
    f->at += length;
    return true;
}

/* 'text' or "text", without escapes. */
static quern_status parse_string(npy_file *f, char *out, size_t bytes) {
    const char quote = accept(f, '\'') ? '\'' : '"';
    if (quote == '"' && !accept(f, '"')) return expected(f, "a string");
    size_t length = 0;
    while (f->at < f->header_end && f->content[f->at] != (uint8_t)quote) {
        if (length + 1 >= bytes || f->content[f->at] < ' ' || f->content[f->at] == '\\')
            return expected(f, "a short string's end");
        out[length++] = (char)f->content[f->at++];
    }
    out[length] = '\0';
    return accept(f, quote) ? QUERN_OK : expected(f, "a string's end");
}

static quern_status parse_descr(npy_file *f) {
    static const struct {
        const char *text;
        quern_dtype dtype;
    } known[] = {{"<f4", QUERN_F32}, {"<f8", QUERN_F64}, {"<i4", QUERN_I32},
                 {"<i8", QUERN_I64}, {"|u1", QUERN_U8},  {"<u1", QUERN_U8}};
    char text[16];
    skip_spaces(f);
    const size_t at = f->at;
    QUERN_TRY(parse_string(f, text, sizeof text));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(text, known[i].text) == 0) {
            f->dtype = known[i].dtype;
            return QUERN_OK;
        }
    return quern_fail(QUERN_INPUT,
                      "%s: offset %zu: expected the type '<f4', '<f8', '<i4', '<i8' or "
                      "'|u1', found '%s'",
                      f->path, at, text);
}

static quern_status parse_order(npy_file *f) {
    if (accept_word(f, "False")) return QUERN_OK;
    if (accept_word(f, "True"))
        return quern_fail(QUERN_INPUT, "%s: the values are in Fortran order, expected C order",
                          f->path);
    return expected(f, "True or False");
}

static quern_status parse_dim(npy_file *f, int64_t *out) {
    skip_spaces(f);
    if (f->at >= f->header_end || f->content[f->at] < '0' || f->content[f->at] > '9')
        return expected(f, "a dim");
    *out = 0;
    for (; f->at < f->header_end; f->at++) {
        const int digit = f->content[f->at] - '0';
        if (digit < 0 || digit > 9) break;
        if (!count_multiply(*out, 10, out) || !count_add(*out, digit, out))
            return expected(f, "a dim below 2^63");
    }
    return QUERN_OK;
}

/* (), (5,), (5, 6), (5, 6,) */
static quern_status parse_shape(npy_file *f) {
    if (!accept(f, '(')) return expected(f, "a shape");
    while (!accept(f, ')')) {
        if (f->rank == QUERN_RANK_MAX) return expected(f, "at most 8 dims");
        QUERN_TRY(parse_dim(f, &f->dim[f->rank]));
        f->rank++;
        if (accept(f, ',')) continue;
        if (f->rank == 1) return expected(f, "a comma"); /* (5) is a number */
        if (!accept(f, ')')) return expected(f, "a comma or the shape's end");
        break;
    }
    return QUERN_OK;
}

static quern_status parse_entry(npy_file *f) {
    char key[16];
    skip_spaces(f);
    const size_t at = f->at;
    QUERN_TRY(parse_string(f, key, sizeof key));
    bool *seen = strcmp(key, "descr") == 0           ? &f->has_descr
                 : strcmp(key, "fortran_order") == 0 ? &f->has_order
                 : strcmp(key, "shape") == 0         ? &f->has_shape
                                                     : NULL;
    if (seen == NULL || *seen)
        return quern_fail(QUERN_INPUT,
                          "%s: offset %zu: expected 'descr', 'fortran_order' and "
                          "'shape', each once, found '%s'",
                          f->path, at, key);
    *seen = true;
    if (!accept(f, ':')) return expected(f, "a colon");
    if (seen == &f->has_descr) return parse_descr(f);
    return seen == &f->has_order ? parse_order(f) : parse_shape(f);
}

static quern_status parse_header(npy_file *f) {
    if (!accept(f, '{')) return expected(f, "'{'");
    while (!accept(f, '}')) {
        QUERN_TRY(parse_entry(f));
        if (accept(f, ',')) continue;
        if (!accept(f, '}')) return expected(f, "a comma or '}'");
        break;
    }
    skip_spaces(f);
    if (f->at != f->header_end) return expected(f, "spaces up to the header's end");
    if (!f->has_descr || !f->has_order || !f->has_shape)
        return quern_fail(QUERN_INPUT, "%s: the header lacks %s", f->path,
                          !f->has_descr   ? "'descr'"
                          : !f->has_order ? "'fortran_order'"
                                          : "'shape'");
    return QUERN_OK;
}

/* Magic, version and the header's length. */
static quern_status parse_preamble(npy_file *f) {
    static const uint8_t magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
    const uint8_t *c = f->content;
    if (f->bytes < 10)
        return quern_fail(QUERN_INPUT, "%s: expected an .npy file of at least 10 bytes, found %zu",
                          f->path, f->bytes);
    if (memcmp(c, magic, sizeof magic) != 0)
        return quern_fail(QUERN_INPUT,
                          "%s: offset 0: expected the magic 93 'NUMPY', found "
                          "%02x%02x%02x%02x%02x%02x",
                          f->path, c[0], c[1], c[2], c[3], c[4], c[5]);
    if (c[6] < 1 || c[6] > 3 || c[7] != 0)
        return quern_fail(QUERN_INPUT,
                          "%s: offset 6: expected version 1.0, 2.0 or 3.0, found %d.%d", f->path,
                          c[6], c[7]);
    f->at = c[6] == 1 ? 10 : 12;
    if (f->bytes < f->at)
        return quern_fail(QUERN_INPUT, "%s: the file ends in the header's length", f->path);
    size_t length = (size_t)c[8] | (size_t)c[9] << 8;
    if (c[6] > 1) length |= (size_t)c[10] << 16 | (size_t)c[11] << 24;
    if (length > f->bytes - f->at)
        return quern_fail(QUERN_INPUT,
                          "%s: offset 8: the header has %zu bytes, the file %zu after "
                          "offset %zu",
                          f->path, length, f->bytes - f->at, f->at);
    f->header_end = f->at + length;
    return QUERN_OK;
}

static quern_status check_size(const npy_file *f) {
    if (f->rank == 0)
        return quern_fail(QUERN_INPUT, "%s: the shape is (), expected samples along axis 0",
                          f->path);
    int64_t count = 1;
    bool fits = true;
    for (int32_t d = 0; d < f->rank; d++) {
        if (f->dim[d] == 0)
            return quern_fail(QUERN_INPUT,
                              d == 0 ? "%s: the shape has no samples (axis %" PRId32 " is 0)"
                                     : "%s: axis %" PRId32 " of the shape is 0",
                              f->path, d);
        fits = fits && count_multiply(count, f->dim[d], &count);
    }
    size_t need = 0;
    const size_t have = f->bytes - f->header_end;
    fits = fits && count_bytes(count, quern_dtype_bytes(f->dtype), &need);
    if (!fits)
        return quern_fail(QUERN_INPUT, "%s: the shape promises more than 2^63 bytes", f->path);
    if (need != have)
        return quern_fail(QUERN_INPUT,
                          "%s: offset %zu: the shape promises %zu bytes of data, found "
                          "%zu",
                          f->path, f->header_end, need, have);
    return QUERN_OK;
}

/* I64 becomes I32 in place, from the front: a value is never written over one not yet read. */
static quern_status narrow(npy_file *f, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        int64_t wide;
        memcpy(&wide, f->content + f->header_end + (size_t)i * 8, sizeof wide);
        const int32_t value = (int32_t)wide;
        if (value != wide)
            return quern_fail(QUERN_INPUT, "%s: offset %zu: %" PRId64 " does not fit 32 bits",
                              f->path, f->header_end + (size_t)i * 8, wide);
        memcpy(f->content + (size_t)i * 4, &value, sizeof value);
    }
    f->dtype = QUERN_I32;
    f->header_end = 0;
    return QUERN_OK;
}

/* Reads one file into field i of `held`; what was allocated is in its block, also on failure. */
static quern_status read_field(const quern_host *host, const quern_npy_desc *desc, int32_t i,
                               dataset_held *held) {
    npy_file f = {.path = desc->paths[i]};
    const quern_status status = file_read_all(host, f.path, NPY_FILE_LIMIT, &f.content, &f.bytes);
    held->blocks[i] = (dataset_block){.pointer = f.content, .bytes = f.bytes};
    QUERN_TRY(status);
    QUERN_TRY(parse_preamble(&f));
    QUERN_TRY(parse_header(&f));
    QUERN_TRY(check_size(&f));
    const int64_t count = (int64_t)((f.bytes - f.header_end) / quern_dtype_bytes(f.dtype));
    if (f.dtype == QUERN_I64) QUERN_TRY(narrow(&f, count));
    if (f.header_end % quern_dtype_bytes(f.dtype) != 0) {
        memmove(f.content, f.content + f.header_end, f.bytes - f.header_end);
        f.header_end = 0;
    }
    if (i > 0 && f.dim[0] != held->length)
        return quern_fail(QUERN_INPUT, "%s has %" PRId64 " samples, %s has %" PRId64,
                          desc->paths[0], held->length, f.path, f.dim[0]);
    held->length = f.dim[0];
    held->data[i] = f.content + f.header_end;
    quern_field *field = &held->fields[i];
    *field = (quern_field){.name = desc->names[i],
                           .dtype = f.dtype,
                           .rank = f.rank - 1,
                           .class_count = desc->class_count[i]};
    memcpy(field->dim, f.dim + 1, sizeof field->dim);
    return field_check_values(f.path, field, held->data[i], 0, held->length);
}

quern_status quern_dataset_npy(quern_dataset **out, quern_device *device,
                               const quern_npy_desc *desc) {
    if (out == NULL) return quern_fail(QUERN_INVALID, "quern_dataset_npy: out is NULL");
    *out = NULL;
    if (device == NULL || desc == NULL || desc->field_count < 1 ||
        desc->field_count > QUERN_FIELD_MAX)
        return quern_fail(QUERN_INVALID,
                          "quern_dataset_npy: device or desc is NULL, or field_count "
                          "is not 1 to %d",
                          QUERN_FIELD_MAX);
    for (int32_t i = 0; i < desc->field_count; i++)
        if (desc->paths[i] == NULL || desc->names[i] == NULL || desc->class_count[i] < 0)
            return quern_fail(QUERN_INVALID,
                              "quern_dataset_npy: field %" PRId32 " has no path or "
                              "no name, or a negative class_count",
                              i);
    dataset_held held = {.format = "npy", .field_count = desc->field_count};
    quern_status status = QUERN_OK;
    for (int32_t i = 0; i < desc->field_count && status == QUERN_OK; i++)
        status = read_field(&device->host, desc, i, &held);
    if (status == QUERN_OK) status = dataset_create_held(out, device, &held);
    if (status != QUERN_OK) dataset_release_blocks(&device->host, held.blocks, QUERN_FIELD_MAX);
    return status;
}
