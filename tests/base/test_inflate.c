/* gzip files: whole, in members, cut at every byte, corrupted, and far longer than allowed. */
#include "quern_test.h"

#include "host/base/file.h"
#include "host/base/memory.h"
#include "support/fault_host.h"
#include "support/temporary.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Bytes of the gzip member written to `to`. */
static size_t pack(const uint8_t *from, size_t bytes, uint8_t *to, size_t capacity) {
    z_stream z = {0};
    if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return 0;
    z.next_in = (Bytef *)(uintptr_t)from;
    z.avail_in = (uInt)bytes;
    z.next_out = to;
    z.avail_out = (uInt)capacity;
    const int result = deflate(&z, Z_FINISH);
    const size_t packed = z.total_out;
    deflateEnd(&z);
    return result == Z_STREAM_END ? packed : 0;
}

typedef struct fixture {
    temporary folder;
    fault_host faults;
    uint8_t content[50000], packed[60000];
    size_t packed_bytes;
} fixture;

static bool fixture_begin(fixture *f) {
    uint32_t state = 1;
    fault_host_begin(&f->faults, NULL);
    for (size_t i = 0; i < sizeof f->content; i++) {
        state = state * 1664525u + 1013904223u;
        f->content[i] = (uint8_t)((state >> 24) & 15);
    }
    f->packed_bytes = pack(f->content, sizeof f->content, f->packed, sizeof f->packed);
    return f->packed_bytes > 0 && temporary_begin(&f->folder);
}

static void fixture_end(fixture *f) {
    CHECK(fault_host_live(&f->faults) == 0);
    temporary_end(&f->folder);
}

/* Reads `bytes` of `from` as a file; what came out is compared with `expected` when it is OK. */
static quern_status read_packed(fixture *f, const uint8_t *from, size_t bytes, size_t limit,
                                const uint8_t *expected, size_t expected_bytes) {
    uint8_t *data;
    size_t got;
    if (!temporary_write(&f->folder, "x.gz", from, bytes)) return QUERN_INTERNAL;
    const quern_status status =
        file_read_inflated(&f->faults.host, temporary_join(&f->folder, "x.gz"), limit, &data, &got);
    if (status == QUERN_OK) {
        CHECK(got == expected_bytes);
        CHECK(got != expected_bytes || got == 0 || memcmp(data, expected, got) == 0);
        memory_release(&f->faults.host, data, (int64_t)got, 1);
    } else {
        CHECK(data == NULL && got == 0);
    }
    return status;
}

TEST_CASE(Inflate, gives_the_content_and_leaves_plain_files_alone) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    CHECK_OK(read_packed(&f, f.packed, f.packed_bytes, 50000, f.content, 50000));
    CHECK_OK(read_packed(&f, f.packed, f.packed_bytes, 1 << 20, f.content, 50000));
    CHECK_OK(read_packed(&f, f.content, 50000, 50000, f.content, 50000));
    CHECK_OK(read_packed(&f, f.content, 0, 50000, NULL, 0));
    fixture_end(&f);
}

TEST_CASE(Inflate, an_empty_content_is_empty) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    const size_t bytes = pack(f.content, 0, f.packed, sizeof f.packed);
    CHECK_OK(read_packed(&f, f.packed, bytes, 100, NULL, 0));
    fixture_end(&f);
}

TEST_CASE(Inflate, members_one_after_another_are_one_content) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    size_t bytes = pack(f.content, 30000, f.packed, sizeof f.packed);
    bytes += pack(f.content + 30000, 0, f.packed + bytes, sizeof f.packed - bytes);
    bytes += pack(f.content + 30000, 20000, f.packed + bytes, sizeof f.packed - bytes);
    CHECK_OK(read_packed(&f, f.packed, bytes, 50000, f.content, 50000));
    CHECK_STATUS(read_packed(&f, f.packed, bytes, 49999, f.content, 50000), QUERN_INPUT);
    f.packed[bytes] = 'x';
    CHECK_STATUS(read_packed(&f, f.packed, bytes + 1, 50000, f.content, 50000), QUERN_INPUT);
    CHECK_ERROR_HAS("bytes after the end");
    fixture_end(&f);
}

TEST_CASE(Inflate, a_bomb_is_stopped_at_the_limit_and_memory_stays_bounded) {
    enum { BOMB = 64 << 20, LIMIT = 1 << 20 };
    fixture f;
    REQUIRE(fixture_begin(&f));
    uint8_t *zeros = calloc(BOMB, 1), *packed = malloc(1 << 20);
    REQUIRE(zeros != NULL && packed != NULL);
    const size_t bytes = pack(zeros, BOMB, packed, 1 << 20);
    CHECK(bytes > 0 && bytes < 100000);
    f.faults.fault[FAULT_ALLOCATE] = (fault){.at = 12, .for_ever = true}; /* no endless growth */
    CHECK_STATUS(read_packed(&f, packed, bytes, LIMIT, zeros, BOMB), QUERN_INPUT);
    CHECK_ERROR_HAS("longer than the 1048576 bytes");
    CHECK(!fault_host_fired(&f.faults, FAULT_ALLOCATE));
    free(zeros);
    free(packed);
    fixture_end(&f);
}

TEST_CASE(Inflate, a_size_field_that_lies_costs_no_more_memory_than_deflate_can_fill) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    size_t bytes = pack(f.content, 100, f.packed, sizeof f.packed);
    memset(f.packed + bytes - 4, 0x7F, 4); /* says 2 GiB */
    CHECK_STATUS(read_packed(&f, f.packed, bytes, SIZE_MAX, f.content, 100), QUERN_INPUT);
    CHECK_ERROR_HAS("damaged gzip data");
    fixture_end(&f);
}

TEST_CASE(Inflate, a_file_cut_anywhere_is_refused) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    const size_t bytes = pack(f.content, 300, f.packed, sizeof f.packed);
    for (size_t cut = 2; cut < bytes; cut++) {
        CHECK_STATUS(read_packed(&f, f.packed, cut, 300, f.content, 300), QUERN_INPUT);
        CHECK_STATUS(read_packed(&f, f.packed, cut, 10000, f.content, 300), QUERN_INPUT);
    }
    CHECK_OK(read_packed(&f, f.packed, bytes, 300, f.content, 300));
    fixture_end(&f);
}

TEST_CASE(Inflate, a_flipped_bit_in_content_or_check_never_passes_as_other_content) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    const size_t bytes = pack(f.content, 300, f.packed, sizeof f.packed);
    int refused = 0;
    for (size_t i = 10; i < bytes; i++) { /* behind the header, whose fields carry no content */
        f.packed[i] ^= 0x10;
        refused += read_packed(&f, f.packed, bytes, 10000, f.content, 300) != QUERN_OK;
        f.packed[i] ^= 0x10;
    }
    CHECK(refused >= (int)bytes - 11); /* a byte may hold padding bits, which say nothing */
    fixture_end(&f);
}

TEST_CASE(Inflate, every_failing_allocation_is_reported_and_leaks_nothing) {
    for (int64_t n = 1;; n++) {
        fixture f;
        REQUIRE(fixture_begin(&f));
        f.faults.fault[FAULT_ALLOCATE] = (fault){.at = n};
        const quern_status status =
            read_packed(&f, f.packed, f.packed_bytes, 50000, f.content, 50000);
        const bool fired = fault_host_fired(&f.faults, FAULT_ALLOCATE);
        CHECK_STATUS(status, fired ? QUERN_HOST_MEMORY : QUERN_OK);
        fixture_end(&f);
        if (!fired) {
            CHECK(n > 3);
            break;
        }
    }
}
