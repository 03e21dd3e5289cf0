/* Every truncation and every single-bit flip of small files gives a clean error or a valid read;
 * every failing allocation and file operation its status. Sanitizers watch. */
#include "fault_host.h"
#include "memory_files.h"
#include "quern_test.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/host/data/dataset.h"

typedef quern_status open_function(quern_dataset **out, quern_device *device);

static quern_status open_idx(quern_dataset **out, quern_device *device) {
    return quern_dataset_idx(out, device,
                             &(quern_idx_desc){.images = "images", .labels = "labels"});
}

static quern_status open_npy(quern_dataset **out, quern_device *device) {
    return quern_dataset_npy(out, device,
                             &(quern_npy_desc){.field_count = 2,
                                               .names = {"x", "y"},
                                               .paths = {"x.npy", "y.npy"},
                                               .class_count = {0, 4}});
}

static quern_status open_csv(quern_dataset **out, quern_device *device) {
    return quern_dataset_csv(out, device,
                             &(quern_csv_desc){.path = "t.csv", .label_column = "kind"});
}

static quern_status open_synthetic(quern_dataset **out, quern_device *device) {
    return quern_dataset_synthetic(out, device, &(quern_synthetic_desc){.length = 3});
}

typedef struct sample_files {
    uint8_t buffer[6][512];
    memory_files files;
} sample_files;

static void add_file(sample_files *s, const char *path, size_t bytes) {
    s->files.file[s->files.count] = (memory_file){path, s->buffer[s->files.count], bytes};
    s->files.count++;
}

static void begin_idx(sample_files *s, bool gzip) {
    static const uint8_t values[12] = {0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255};
    uint8_t plain[64];
    *s = (sample_files){0};
    size_t bytes = make_idx(plain, 3, (const uint32_t[]){2, 2, 3}, values, 12);
    if (gzip)
        bytes = make_gzip(s->buffer[0], plain, bytes);
    else
        memcpy(s->buffer[0], plain, bytes);
    add_file(s, "images", bytes);
    bytes = make_idx(s->buffer[1], 1, (const uint32_t[]){2}, (const uint8_t[]){3, 1}, 2);
    add_file(s, "labels", bytes);
}

static void begin_npy(sample_files *s) {
    *s = (sample_files){0};
    const float x[4] = {1, 2, 3, 4};
    const int64_t y[2] = {3, 0};
    add_file(s, "x.npy", make_npy(s->buffer[0], "'<f4'", "(2, 2)", x, sizeof x));
    add_file(s, "y.npy", make_npy(s->buffer[1], "'<i8'", "(2,)", y, sizeof y));
}

static void begin_csv(sample_files *s) {
    static const char text[] = "a,b,kind\r\n1,\"2.5\",0\r\n-3e1, .5 ,2\r\n";
    *s = (sample_files){0};
    memcpy(s->buffer[0], text, sizeof text - 1);
    add_file(s, "t.csv", sizeof text - 1);
}

/* Opens; a set that opens is read to its last byte. Returns the status. */
static quern_status open_and_read(open_function *open, const quern_host *host) {
    quern_device device = device_of_host(host);
    quern_dataset *set = NULL;
    const quern_status status = open(&set, &device);
    CHECK((status == QUERN_OK) == (set != NULL));
    if (status != QUERN_OK) {
        CHECK(strlen(quern_error()) > 10);
        return status;
    }
    CHECK(set->length > 0);
    for (int32_t f = 0; f < set->field_count; f++) {
        const size_t bytes = (size_t)set->length * set->field_bytes[f];
        uint8_t *copy = malloc(bytes);
        CHECK(copy != NULL);
        if (copy != NULL) memcpy(copy, set->data[f], bytes);
        free(copy);
        CHECK_OK(field_check_values("again", &set->fields[f], set->data[f], 0, set->length));
    }
    quern_dataset_destroy(set);
    return status;
}

/* Truncations must fail, except where a shorter text is a whole table too. The parser holds the
 * file in a block of exactly its size, so that ASan sees any read beyond. */
static void damage(sample_files *s, open_function *open, bool shorter_may_be_valid) {
    for (int32_t file = 0; file < s->files.count; file++) {
        memory_file *f = &s->files.file[file];
        const memory_file whole = *f;
        const quern_host host = memory_files_host(&s->files);
        REQUIRE_OK(open_and_read(open, &host));
        for (size_t bytes = 0; bytes < whole.bytes; bytes++) {
            uint8_t *cut = malloc(bytes + 1);
            REQUIRE(cut != NULL);
            if (bytes > 0) memcpy(cut, whole.data, bytes);
            *f = (memory_file){whole.path, cut, bytes};
            const quern_status status = open_and_read(open, &host);
            if (!shorter_may_be_valid || status != QUERN_OK) CHECK_STATUS(status, QUERN_INPUT);
            free(cut);
        }
        *f = whole;
        for (size_t bit = 0; bit < whole.bytes * 8; bit++) {
            s->buffer[file][bit / 8] ^= (uint8_t)(1u << (bit % 8));
            const quern_status status = open_and_read(open, &host);
            if (status != QUERN_OK) CHECK_STATUS(status, QUERN_INPUT);
            s->buffer[file][bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
    }
}

TEST_CASE(Damage, idx) {
    static sample_files s;
    begin_idx(&s, false);
    damage(&s, open_idx, false);
}

TEST_CASE(Damage, gzipped_idx) {
    static sample_files s;
    begin_idx(&s, true);
    damage(&s, open_idx, false);
}

TEST_CASE(Damage, npy) {
    static sample_files s;
    begin_npy(&s);
    damage(&s, open_npy, false);
}

TEST_CASE(Damage, csv) {
    static sample_files s;
    begin_csv(&s);
    damage(&s, open_csv, true);
}

/* Fails the n-th operation of a kind for n = 1, 2, … until it is not reached any more. */
static void fail_each(open_function *open, const quern_host *inner, fault_kind kind,
                      quern_status expected) {
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        int64_t n = 1;
        for (;; n++) {
            static fault_host faults;
            fault_host_begin(&faults, inner);
            faults.fault[kind] = (fault){.at = n, .error = EIO, .for_ever = for_ever != 0};
            const quern_status status = open_and_read(open, &faults.host);
            REQUIRE(fault_host_live(&faults) == 0);
            if (!fault_host_fired(&faults, kind)) {
                REQUIRE_OK(status);
                break;
            }
            if (status != QUERN_OK || kind != FAULT_CLOSE) REQUIRE_STATUS(status, expected);
        }
        CHECK(n > 1);
    }
}

TEST_CASE(Damage, every_failing_allocation_and_file_operation_is_a_status) {
    static sample_files s;
    for (int format = 0; format < 4; format++) {
        open_function *open = format < 2 ? open_idx : format == 2 ? open_npy : open_csv;
        if (format < 2)
            begin_idx(&s, format == 1);
        else if (format == 2)
            begin_npy(&s);
        else
            begin_csv(&s);
        const quern_host host = memory_files_host(&s.files);
        fail_each(open, &host, FAULT_ALLOCATE, QUERN_HOST_MEMORY);
        fail_each(open, &host, FAULT_OPEN, QUERN_INPUT);
        fail_each(open, &host, FAULT_READ, QUERN_INPUT);
        fail_each(open, &host, FAULT_INFO, QUERN_INPUT);
        fail_each(open, &host, FAULT_CLOSE, QUERN_INPUT);
    }
    fail_each(open_synthetic, NULL, FAULT_ALLOCATE, QUERN_HOST_MEMORY);
}
