/* Checked sizes, host allocations, arenas, host tables and element types. */
#include "quern_test.h"

#include "host/base/host.h"
#include "host/base/memory.h"
#include "host/base/report.h"
#include "host/base/size.h"
#include "support/fault_host.h"

#include <quern/kernel.h>

#include <string.h>

TEST_CASE(Size, sums_and_products_that_wrap_are_refused) {
    size_t bytes;
    int64_t count;
    CHECK(size_multiply(SIZE_MAX / 2, 2, &bytes) && bytes == SIZE_MAX - 1);
    CHECK(!size_multiply(SIZE_MAX / 2 + 1, 2, &bytes));
    CHECK(!size_add(SIZE_MAX, 1, &bytes));
    CHECK(!count_multiply(INT64_MAX / 2 + 1, 2, &count));
    CHECK(!count_add(INT64_MAX, 1, &count));
    CHECK(!count_bytes(-1, 4, &bytes));
    CHECK(!count_bytes(INT64_MAX, 4, &bytes));
    CHECK(count_bytes(0, 4, &bytes) && bytes == 0);
}

TEST_CASE(Size, alignment_rounds_up_to_64_and_refuses_to_wrap) {
    size_t bytes;
    CHECK(size_align(0, &bytes) && bytes == 0);
    CHECK(size_align(1, &bytes) && bytes == 64);
    CHECK(size_align(64, &bytes) && bytes == 64);
    CHECK(size_align(65, &bytes) && bytes == 128);
    CHECK(!size_align(SIZE_MAX - 10, &bytes));
    CHECK(count_divide_up(7, 3) == 3 && count_divide_up(6, 3) == 2 && count_divide_up(0, 3) == 0);
}

static bool all_zero(const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (((const unsigned char *)data)[i] != 0) return false;
    return true;
}

TEST_CASE(Memory, is_zeroed_and_aligned_and_goes_back_with_its_size) {
    fault_host faults;
    fault_host_begin(&faults, NULL); /* hands out 0xFF */
    int32_t *p;
    REQUIRE_OK(memory_allocate(&faults.host, &p, 1000, sizeof *p, "numbers"));
    CHECK((uintptr_t)p % 64 == 0);
    CHECK(all_zero(p, 1000 * sizeof *p));
    CHECK(atomic_load(&faults.live_bytes) == 4000);
    memory_release(&faults.host, p, 1000, sizeof *p);
    CHECK(fault_host_live(&faults) == 0);
}

TEST_CASE(Memory, nothing_of_something_is_null_and_no_failure) {
    const quern_host host = quern_host_default();
    int32_t *p = (int32_t *)&host;
    REQUIRE_OK(memory_allocate(&host, &p, 0, sizeof *p, "nothing"));
    CHECK(p == NULL);
    memory_release(&host, p, 0, sizeof *p);
}

TEST_CASE(Memory, failures_name_what_was_wanted_and_how_much) {
    fault_host faults;
    fault_host_begin(&faults, NULL);
    double *p = (double *)&faults;
    CHECK_STATUS(memory_allocate(&faults.host, &p, INT64_MAX, sizeof *p, "the moon"),
                 QUERN_HOST_MEMORY);
    CHECK(p == NULL);
    CHECK_ERROR_HAS("the moon");
    CHECK_ERROR_HAS("overflow");
    CHECK_STATUS(memory_allocate(&faults.host, &p, -1, sizeof *p, "less"), QUERN_HOST_MEMORY);
    faults.fault[FAULT_ALLOCATE] = (fault){.at = 1};
    CHECK_STATUS(memory_allocate(&faults.host, &p, 10, sizeof *p, "ten doubles"),
                 QUERN_HOST_MEMORY);
    CHECK_ERROR_HAS("ten doubles: 80 bytes");
    CHECK(fault_host_live(&faults) == 0);
}

TEST_CASE(Memory, growing_keeps_what_is_used_and_zeroes_the_rest) {
    fault_host faults;
    fault_host_begin(&faults, NULL);
    int64_t *a = NULL, capacity = 0;
    for (int64_t i = 0; i < 100; i++) {
        REQUIRE_OK(memory_grow(&faults.host, &a, &capacity, i, i + 1, sizeof *a, "an array"));
        a[i] = i * i;
    }
    CHECK(capacity == 128);
    for (int64_t i = 0; i < 128; i++) CHECK(a[i] == (i < 100 ? i * i : 0));
    CHECK(atomic_load(&faults.count[FAULT_ALLOCATE]) == 5); /* 8, 16, 32, 64, 128 */
    int64_t *before = a;
    faults.fault[FAULT_ALLOCATE] = (fault){.at = 6};
    CHECK_STATUS(memory_grow(&faults.host, &a, &capacity, 100, 1000, sizeof *a, "an array"),
                 QUERN_HOST_MEMORY);
    CHECK(a == before && capacity == 128 && a[99] == 9801);
    memory_release(&faults.host, a, capacity, sizeof *a);
    CHECK(fault_host_live(&faults) == 0);
}

TEST_CASE(Arena, objects_are_zeroed_aligned_apart_and_freed_together) {
    fault_host faults;
    fault_host_begin(&faults, NULL);
    arena a = {.host = &faults.host};
    unsigned char *objects[300];
    for (int i = 0; i < 300; i++) {
        const int64_t bytes = i == 150 ? 100000 : 1 + i;
        REQUIRE_OK(arena_allocate(&a, &objects[i], bytes, 1, "an object"));
        CHECK((uintptr_t)objects[i] % _Alignof(max_align_t) == 0);
        REQUIRE(all_zero(objects[i], (size_t)bytes));
        memset(objects[i], i & 0xFF, (size_t)bytes);
    }
    for (int i = 0; i < 300; i++) {
        CHECK(objects[i][0] == (i & 0xFF) && objects[i][i] == (i & 0xFF));
    }
    CHECK(atomic_load(&faults.count[FAULT_ALLOCATE]) < 8); /* blocks, not objects */
    arena_release(&a);
    CHECK(a.last == NULL);
    CHECK(fault_host_live(&faults) == 0);
}

TEST_CASE(Arena, copies_strings_and_refuses_what_cannot_be) {
    fault_host faults;
    fault_host_begin(&faults, NULL);
    arena a = {.host = &faults.host};
    const char *copy;
    REQUIRE_OK(arena_copy_string(&a, &copy, "conv1.weight"));
    CHECK_TEXT(copy, "conv1.weight");
    REQUIRE_OK(arena_copy_string(&a, &copy, ""));
    CHECK_TEXT(copy, "");
    void *p;
    CHECK_STATUS(arena_allocate(&a, &p, INT64_MAX, 8, "too much"), QUERN_HOST_MEMORY);
    CHECK_ERROR_HAS("too much");
    CHECK_STATUS(arena_allocate(&a, &p, -1, 8, "negative"), QUERN_HOST_MEMORY);
    faults.fault[FAULT_ALLOCATE] = (fault){.at = 2};
    CHECK_STATUS(arena_allocate(&a, &p, 20000, 1, "a large object"), QUERN_HOST_MEMORY);
    CHECK(p == NULL);
    REQUIRE_OK(arena_allocate(&a, &p, 20000, 1, "a large object"));
    arena_release(&a);
    CHECK(fault_host_live(&faults) == 0);
}

TEST_CASE(Host, zero_tables_become_the_defaults_and_full_ones_stay) {
    fault_host faults;
    fault_host_begin(&faults, NULL);
    quern_host host = {.allocator = faults.host.allocator};
    REQUIRE_OK(host_resolve(&host));
    CHECK(host.allocator.self == &faults);
    CHECK(host.clock.monotonic_ns(NULL) > 0);
    CHECK(host.clock.wall_ns(NULL) > INT64_C(1600000000) * 1000000000);
    log_write(&host, QUERN_LOG_ERROR, "nobody hears %d", 1);
    trace_begin(&host, "phase", "nothing", 0);
    trace_end(&host);
    quern_file_info info;
    CHECK(host.files.info(NULL, "/", &info) == 0 && info.is_directory);
}

TEST_CASE(Host, a_half_filled_table_is_refused_by_name) {
    const quern_host whole = quern_host_default();
    quern_host host = {.allocator = {.allocate = whole.allocator.allocate}};
    CHECK_STATUS(host_resolve(&host), QUERN_INVALID);
    CHECK_ERROR_HAS("host.allocator");
    host = (quern_host){.files = whole.files};
    host.files.rename = NULL;
    CHECK_STATUS(host_resolve(&host), QUERN_INVALID);
    CHECK_ERROR_HAS("host.files");
    host = (quern_host){.log = {.self = &host}};
    CHECK_STATUS(host_resolve(&host), QUERN_INVALID);
    CHECK_ERROR_HAS("host.log");
}

static void keep_line(void *self, quern_log_level level, const char *sentence) {
    char *line = self;
    line[0] = (char)('0' + (int)level);
    strncpy(line + 1, sentence, 98);
}

TEST_CASE(Host, log_lines_reach_the_sink_with_their_level) {
    char line[100] = "";
    quern_host host = {.log = {keep_line, line}};
    REQUIRE_OK(host_resolve(&host));
    log_write(&host, QUERN_LOG_WARNING, "step %d of %d", 3, 9);
    CHECK_TEXT(line, "2step 3 of 9");
}

TEST_CASE(Dtype, bytes_and_names_come_from_the_table) {
    CHECK(quern_dtype_bytes(QUERN_F32) == 4 && quern_dtype_bytes(QUERN_F64) == 8);
    CHECK(quern_dtype_bytes(QUERN_BF16) == 2 && quern_dtype_bytes(QUERN_U8) == 1);
    CHECK(quern_dtype_bytes(QUERN_DTYPE_COUNT) == 0);
    CHECK_TEXT(quern_dtype_name(QUERN_BF16), "BF16");
    CHECK_TEXT(quern_dtype_name(QUERN_I64), "I64");
    CHECK_TEXT(quern_dtype_name((quern_dtype)99), "?");
}
