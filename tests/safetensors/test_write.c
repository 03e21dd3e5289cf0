/* The writer of any tensors: what it accepts comes back bit for bit through the strict reader, what
 * no reader would take is refused, and no fault leaves half a file. */
#include "quern_test.h"
#include "support/fault_host.h"
#include "support/power_disk.h"
#include "support/temporary.h"

#include <quern/safetensors.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOP_MAX = 300, MANY = 5000 };

static const uint8_t bytes_of_all[64] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 0xFF, 0x80, 0x7F};

static quern_safetensors_entry entry(const char *name, quern_dtype dtype, int64_t count) {
    return (quern_safetensors_entry){.name = name,
                                     .dtype = dtype,
                                     .rank = 1,
                                     .dim = {count},
                                     .data = bytes_of_all,
                                     .bytes = (size_t)count * quern_dtype_bytes(dtype)};
}

static quern_device *cpu(const quern_host *host) {
    quern_device *device = NULL;
    quern_device_desc desc = {.kind = QUERN_DEVICE_CPU, .thread_count = 1};
    if (host != NULL) desc.host = *host;
    CHECK_OK(quern_device_create(&device, &desc));
    return device;
}

static void check_same(const quern_safetensors *file, const quern_safetensors_entry *e) {
    const quern_safetensors_entry *found = quern_safetensors_find(file, e->name);
    REQUIRE_SAY(found != NULL, "%s is missing", e->name);
    CHECK_SAY(found->dtype == e->dtype && found->rank == e->rank && found->bytes == e->bytes,
              "%s is another", e->name);
    CHECK(memcmp(found->dim, e->dim, (size_t)e->rank * sizeof e->dim[0]) == 0);
    CHECK(e->bytes == 0 || memcmp(found->data, e->data, e->bytes) == 0);
}

/* Every dtype, rank 0 to 8, empty ones, and names that have to be escaped. */
TEST_CASE(SafetensorsWrite, everything_it_takes_comes_back) {
    static const quern_safetensors_note notes[] = {
        {"format", "pt"}, {"", ""}, {"ü \"\\\n", "€\t"}, {"path", "/a\xFF"}};
    temporary t;
    quern_safetensors_entry entries[QUERN_DTYPE_COUNT + 6];
    char names[QUERN_DTYPE_COUNT][16];
    int64_t count = 0;
    quern_safetensors *file = NULL;
    REQUIRE(temporary_begin(&t));
    for (; count < QUERN_DTYPE_COUNT; count++) {
        snprintf(names[count], sizeof names[count], "dtype.%d", (int)count);
        entries[count] = entry(names[count], (quern_dtype)count, 3);
    }
    entries[count] = entry("scalar", QUERN_I64, 1);
    entries[count++].rank = 0;
    entries[count] = entry("empty", QUERN_F32, 0);
    entries[count++].data = NULL;
    entries[count++] = entry("a \"quoted\"\\\n\x01 name", QUERN_U8, 1);
    entries[count++] = entry("größe/\xF0\x9F\x98\x80", QUERN_U8, 5);
    entries[count++] = entry("", QUERN_U8, 1);
    entries[count] = entry("eight", QUERN_U8, 6);
    entries[count].rank = 8;
    for (int i = 0; i < 8; i++) entries[count].dim[i] = i == 2 ? 2 : i == 7 ? 3 : 1;
    count++;
    quern_device *device = cpu(NULL);
    REQUIRE_OK(quern_safetensors_write(temporary_join(&t, "m"), device, entries, count, notes, 4));
    REQUIRE_OK(quern_safetensors_open(&file, device, temporary_join(&t, "m")));
    const quern_safetensors_entry *found = NULL;
    CHECK(quern_safetensors_entries(file, &found) == count);
    for (int64_t i = 0; i < count; i++) check_same(file, &entries[i]);
    CHECK_TEXT(found[0].name, "dtype.0"); /* they lie in the order given */
    CHECK_TEXT(found[count - 1].name, "eight");
    for (int i = 0; i < 3; i++)
        CHECK_TEXT(quern_safetensors_note_find(file, notes[i].key), notes[i].value);
    CHECK_TEXT(quern_safetensors_note_find(file, "path"), "/a\xEF\xBF\xBD");
    quern_safetensors_destroy(file);
    quern_device_destroy(device);
    temporary_end(&t);
}

TEST_CASE(SafetensorsWrite, nothing_and_very_many_come_back_too) {
    temporary t;
    quern_safetensors *file = NULL;
    const quern_safetensors_entry *found = NULL;
    quern_safetensors_entry *many = calloc(MANY, sizeof *many);
    char(*names)[16] = calloc(MANY, sizeof *names);
    quern_device *device = cpu(NULL);
    REQUIRE(temporary_begin(&t) && many != NULL && names != NULL);
    REQUIRE_OK(quern_safetensors_write(temporary_join(&t, "m"), device, NULL, 0, NULL, 0));
    REQUIRE_OK(quern_safetensors_open(&file, device, temporary_join(&t, "m")));
    CHECK(quern_safetensors_entries(file, &found) == 0);
    quern_safetensors_destroy(file);
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "%d", (i * 7919) % MANY);
        many[i] = entry(names[i], QUERN_U8, i % 5);
    }
    REQUIRE_OK(quern_safetensors_write(temporary_join(&t, "m"), device, many, MANY, NULL, 0));
    REQUIRE_OK(quern_safetensors_open(&file, device, temporary_join(&t, "m")));
    CHECK(quern_safetensors_entries(file, &found) == MANY);
    for (int i = 0; i < MANY; i += 97) check_same(file, &many[i]);
    quern_safetensors_destroy(file);
    many[MANY - 1].name = names[0];
    CHECK_STATUS(quern_safetensors_write(temporary_join(&t, "m"), device, many, MANY, NULL, 0),
                 QUERN_INVALID);
    CHECK_ERROR_HAS("tensor \"0\" is there twice");
    free(names);
    free(many);
    quern_device_destroy(device);
    temporary_end(&t);
}

typedef struct refusal {
    quern_safetensors_entry entry; /* beside one that is fine, named "a" */
    const char *sentence;
} refusal;

static const refusal refusals[] = {
    {{.name = NULL}, "the name of tensor 1 is NULL"},
    {{.name = "\xC3"}, "the name of tensor 1 is not UTF-8"},
    {{.name = "\xED\xA0\x80"}, "the name of tensor 1 is not UTF-8"},
    {{.name = "a", .data = bytes_of_all, .bytes = 4}, "tensor \"a\" is there twice"},
    {{.name = "__metadata__", .data = bytes_of_all, .bytes = 4}, "can be named __metadata__"},
    {{.name = "b", .dtype = QUERN_DTYPE_COUNT}, "tensor b: dtype "},
    {{.name = "b", .dtype = (quern_dtype)-1}, "tensor b: dtype "},
    {{.name = "b", .rank = 9}, "tensor b: rank 9"},
    {{.name = "b", .rank = -1}, "tensor b: rank -1"},
    {{.name = "b", .rank = 2, .dim = {1, -2}}, "tensor b: dim 1 is -2"},
    {{.name = "b", .rank = 2, .dim = {INT64_MAX, 2}}, "tensor b: its size overflows"},
    {{.name = "b", .rank = 1, .dim = {INT64_MAX}}, "tensor b: its size overflows"},
    {{.name = "b", .rank = 1, .dim = {2}, .data = bytes_of_all, .bytes = 7},
     "tensor b: shape and dtype need 8 bytes, 7 are given"},
    {{.name = "b", .rank = 1, .dim = {2}, .bytes = 8}, "tensor 1 has no data"},
};

static bool is_there(temporary *t, const char *name) {
    char byte;
    return temporary_read(t, name, &byte, 1) >= 0;
}

TEST_CASE(SafetensorsWrite, what_no_reader_takes_is_refused_before_anything_is_written) {
    static const quern_safetensors_note wrong[][2] = {{{"k", "v"}, {"k", "w"}},
                                                      {{"k", NULL}, {"l", "v"}},
                                                      {{NULL, "v"}, {"l", "v"}},
                                                      {{"k\x80", "v"}, {"l", "v"}}};
    static const char *const sentences[] = {"note \"k\" is there twice", "text of note 0 is NULL",
                                            "key of note 0 is NULL", "key of note 0 is not UTF-8"};
    temporary t;
    char path[600];
    quern_safetensors_entry two[2] = {entry("a", QUERN_F32, 1)};
    quern_device *device = cpu(NULL);
    REQUIRE(temporary_begin(&t));
    snprintf(path, sizeof path, "%s", temporary_join(&t, "m"));
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        two[1] = refusals[i].entry;
        CHECK_STATUS(quern_safetensors_write(path, device, two, 2, NULL, 0), QUERN_INVALID);
        CHECK_ERROR_HAS(refusals[i].sentence);
        CHECK_ERROR_HAS(path);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_STATUS(quern_safetensors_write(path, device, two, 1, wrong[i], 2), QUERN_INVALID);
        CHECK_ERROR_HAS(sentences[i]);
    }
    CHECK_STATUS(quern_safetensors_write(path, device, NULL, 1, NULL, 0), QUERN_INVALID);
    CHECK_STATUS(quern_safetensors_write(path, device, two, -1, NULL, 0), QUERN_INVALID);
    CHECK_STATUS(quern_safetensors_write(path, device, two, 1, NULL, 1), QUERN_INVALID);
    CHECK_STATUS(quern_safetensors_write(NULL, device, two, 1, NULL, 0), QUERN_INVALID);
    CHECK_STATUS(quern_safetensors_write(path, NULL, two, 1, NULL, 0), QUERN_INVALID);
    CHECK(!is_there(&t, "m") && !is_there(&t, "m.part"));
    quern_device_destroy(device);
    temporary_end(&t);
}

/* The limit is the readers'. */
TEST_CASE(SafetensorsWrite, a_header_that_no_reader_takes_is_refused) {
    temporary t;
    const size_t length = 100000001;
    char *text = malloc(length + 1);
    quern_device *device = cpu(NULL);
    REQUIRE(temporary_begin(&t) && text != NULL);
    memset(text, 'x', length);
    text[length] = '\0';
    const quern_safetensors_note note = {"k", text};
    CHECK_STATUS(quern_safetensors_write(temporary_join(&t, "m"), device, NULL, 0, &note, 1),
                 QUERN_INVALID);
    CHECK_ERROR_HAS("no reader takes more than 100000000");
    CHECK(!is_there(&t, "m") && !is_there(&t, "m.part"));
    free(text);
    quern_device_destroy(device);
    temporary_end(&t);
}

/* Writes three tensors whose bytes follow from `value`. */
static quern_status write_value(const char *path, quern_device *device, float value) {
    const float data[3] = {value, value + 1, value + 2};
    quern_safetensors_entry entries[3] = {entry("a", QUERN_F32, 1), entry("b", QUERN_F32, 1),
                                          entry("c", QUERN_F32, 1)};
    for (int i = 0; i < 3; i++) entries[i].data = &data[i];
    return quern_safetensors_write(path, device, entries, 3,
                                   &(quern_safetensors_note){"kind", "value"}, 1);
}

/* The value that the file holds as a whole; -1: it is none, or mixed. */
static float read_value(const char *path, quern_device *device) {
    quern_safetensors *file = NULL;
    float found[3] = {-1, -1, -1};
    if (quern_safetensors_open(&file, device, path) != QUERN_OK) return -1;
    for (int i = 0; i < 3; i++) {
        const char name[2] = {(char)('a' + i)};
        const quern_safetensors_entry *e = quern_safetensors_find(file, name);
        if (e != NULL && e->bytes == 4) memcpy(&found[i], e->data, 4);
    }
    quern_safetensors_destroy(file);
    return found[1] - found[0] == 1 && found[2] - found[0] == 2 ? found[0] : -1;
}

/* `faults` wraps the disk; the older file holds 10, the new one 20. */
static void fail_at(fault_kind kind, int error, bool for_ever, int64_t n, bool *fired) {
    static fault_host faults;
    power_disk disk = {0};
    power_disk_begin(&disk);
    const quern_host inner = power_disk_host(&disk);
    quern_device *plain = cpu(&inner);
    REQUIRE_OK(write_value("/m", plain, 10));
    fault_host_begin(&faults, &inner);
    quern_device *device = cpu(&faults.host);
    faults.fault[kind] =
        (fault){.at = (int64_t)faults.count[kind] + n, .error = error, .for_ever = for_ever};
    const quern_status status = write_value("/m", device, 20);
    *fired = fault_host_fired(&faults, kind);
    const bool excused = error == EINTR && (!for_ever || kind == FAULT_CLOSE);
    if (kind == FAULT_ALLOCATE)
        CHECK_STATUS(status, *fired ? QUERN_HOST_MEMORY : QUERN_OK);
    else if (*fired && !excused)
        CHECK_SAY(status == QUERN_IO && fault_is_named(kind, quern_error()) &&
                      strstr(quern_error(), strerror(error)) != NULL,
                  "kind %d, %s: %s", (int)kind, strerror(error), quern_error());
    else
        CHECK_OK(status);
    const float held = read_value("/m", plain);
    CHECK_SAY(held == 20 || (status != QUERN_OK && held == 10), "kind %d, %s: %g", (int)kind,
              strerror(error), (double)held);
    CHECK(power_disk_find(&disk, "/m.part") == NULL);
    quern_device_destroy(device);
    CHECK(fault_host_live(&faults) == 0);
    quern_device_destroy(plain);
    power_disk_end(&disk);
}

TEST_CASE(SafetensorsWrite, whatever_fails_the_older_file_or_the_new_one_is_whole) {
    static const fault_kind kinds[] = {FAULT_ALLOCATE, FAULT_OPEN,  FAULT_WRITE,
                                       FAULT_SYNC,     FAULT_CLOSE, FAULT_RENAME};
    static const int errors[] = {ENOSPC, EIO, EDQUOT, EROFS, EACCES, EMFILE, EINTR};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t e = 0; e < sizeof errors / sizeof *errors; e++)
            for (int for_ever = 0; for_ever <= 1; for_ever++) {
                bool fired = true;
                int64_t n = 1;
                for (; fired && n < LOOP_MAX && !quern_test_failed(); n++)
                    fail_at(kinds[k], errors[e], for_ever != 0, n, &fired);
                CHECK(n > 2 && n < LOOP_MAX);
            }
}

/* What is half written goes even when the first try to remove it is interrupted. */
TEST_CASE(SafetensorsWrite, half_a_file_is_removed) {
    static fault_host faults;
    temporary t;
    REQUIRE(temporary_begin(&t));
    fault_host_begin(&faults, NULL);
    quern_device *device = cpu(&faults.host);
    faults.fault[FAULT_WRITE] = (fault){.at = 3, .error = ENOSPC};
    faults.fault[FAULT_UNLINK] = (fault){.at = 1, .error = EINTR};
    CHECK_STATUS(write_value(temporary_join(&t, "m"), device, 1), QUERN_IO);
    CHECK_ERROR_HAS("writing ");
    CHECK(!is_there(&t, "m.part") && !is_there(&t, "m"));
    quern_device_destroy(device);
    temporary_end(&t);
}

/* Cut at every operation: the older file or the new one, and the new one once that was promised.
 * Without one of the syncs that is not so. */
static int64_t lost_by_cuts(int64_t ignored_sync) {
    power_disk disk = {0}, left = {0};
    int64_t lost = 0;
    power_disk_begin(&disk);
    const quern_host host = power_disk_host(&disk);
    quern_device *device = cpu(&host);
    CHECK_OK(write_value("/m", device, 10));
    power_disk_settle(&disk);
    const int64_t begin = disk.log_count;
    if (ignored_sync > 0) disk.ignore_sync = disk.sync_count + ignored_sync;
    CHECK_OK(write_value("/m", device, 20));
    for (int64_t at = begin; at <= disk.log_count; at++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            power_disk_cut(&disk, at, seed, &left);
            const quern_host after = power_disk_host(&left);
            quern_device *reader = cpu(&after);
            const float held = read_value("/m", reader);
            lost += held != 20 && (at == disk.log_count || held != 10);
            quern_device_destroy(reader);
        }
    quern_device_destroy(device);
    power_disk_end(&left);
    power_disk_end(&disk);
    return lost;
}

TEST_CASE(SafetensorsWrite, a_power_cut_leaves_one_of_the_two_and_each_sync_is_needed) {
    CHECK(lost_by_cuts(0) == 0);
    CHECK(lost_by_cuts(1) > 0);
    CHECK(lost_by_cuts(2) > 0);
}
