/* Files: whole reads, writers, directories; interrupted, short, failing and lying operations. */
#include "quern_test.h"

#include "host/base/file.h"
#include "host/base/memory.h"
#include "support/fault_host.h"
#include "support/temporary.h"

#include <errno.h>
#include <string.h>

typedef struct fixture {
    temporary folder;
    fault_host faults;
    uint8_t content[10000];
} fixture;

static bool fixture_begin(fixture *f) {
    fault_host_begin(&f->faults, NULL);
    for (size_t i = 0; i < sizeof f->content; i++) f->content[i] = (uint8_t)(i * 7 + i / 256);
    return temporary_begin(&f->folder) &&
           temporary_write(&f->folder, "data", f->content, sizeof f->content);
}

static void fixture_end(fixture *f) {
    CHECK(fault_host_live(&f->faults) == 0);
    temporary_end(&f->folder);
}

static void check_reads_whole(fixture *f) {
    uint8_t *data;
    size_t bytes;
    REQUIRE_OK(file_read_all(&f->faults.host, temporary_join(&f->folder, "data"), sizeof f->content,
                             &data, &bytes));
    CHECK(bytes == sizeof f->content && memcmp(data, f->content, bytes) == 0);
    memory_release(&f->faults.host, data, (int64_t)bytes, 1);
}

TEST_CASE(File, is_read_whole_also_in_short_pieces_and_when_interrupted) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    check_reads_whole(&f);
    f.faults.read_at_most = 7;
    check_reads_whole(&f);
    f.faults.fault[FAULT_READ] = (fault){.at = 300, .error = EINTR};
    atomic_store(&f.faults.count[FAULT_READ], 0);
    check_reads_whole(&f);
    CHECK(fault_host_fired(&f.faults, FAULT_READ));
    fixture_end(&f);
}

TEST_CASE(File, an_empty_one_is_no_failure) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    REQUIRE(temporary_write(&f.folder, "empty", "", 0));
    uint8_t *data = f.content;
    size_t bytes = 1;
    CHECK_OK(file_read_all(&f.faults.host, temporary_join(&f.folder, "empty"), 0, &data, &bytes));
    CHECK(data == NULL && bytes == 0);
    fixture_end(&f);
}

/* info() that knows nothing, as for a file in /proc, or one that grew since. */
static int64_t info_says_10(void *self, const char *path, quern_file_info *out) {
    (void)self, (void)path;
    *out = (quern_file_info){.byte_count = 10};
    return 0;
}

TEST_CASE(File, a_size_that_lies_is_only_a_first_guess) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    f.faults.host.files.info = info_says_10;
    check_reads_whole(&f);
    uint8_t *data;
    size_t bytes;
    CHECK_STATUS(file_read_all(&f.faults.host, temporary_join(&f.folder, "data"),
                               sizeof f.content - 1, &data, &bytes),
                 QUERN_INPUT);
    CHECK_ERROR_HAS("longer than the 9999 bytes");
    REQUIRE(temporary_write(&f.folder, "data", f.content, 4)); /* it shrank */
    REQUIRE_OK(
        file_read_all(&f.faults.host, temporary_join(&f.folder, "data"), 100, &data, &bytes));
    CHECK(bytes == 4 && memcmp(data, f.content, 4) == 0);
    memory_release(&f.faults.host, data, 4, 1);
    fixture_end(&f);
}

static void check_read_fails(fixture *f, const char *name, size_t limit, const char *word) {
    uint8_t *data = f->content;
    size_t bytes = 1;
    CHECK_STATUS(
        file_read_all(&f->faults.host, temporary_join(&f->folder, name), limit, &data, &bytes),
        QUERN_INPUT);
    CHECK_ERROR_HAS(word);
    CHECK_ERROR_HAS(name);
    CHECK(data == NULL && bytes == 0);
}

TEST_CASE(File, reading_what_is_not_there_or_not_readable_says_so) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    check_read_fails(&f, "absent", 100, "No such file");
    check_read_fails(&f, "", 100, "is a directory");
    check_read_fails(&f, "data", 9999, "10000 bytes, longer than the 9999");
    f.faults.fault[FAULT_READ] = (fault){.at = 1};
    check_read_fails(&f, "data", 10000, "offset 0");
    f.faults.fault[FAULT_OPEN] =
        (fault){.at = 1 + atomic_load(&f.faults.count[FAULT_OPEN]), .error = EACCES};
    check_read_fails(&f, "data", 10000, "Permission denied");
    fixture_end(&f);
}

TEST_CASE(File, an_operation_that_is_interrupted_for_ever_fails_instead_of_hanging) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    static const fault_kind kinds[] = {FAULT_INFO, FAULT_OPEN, FAULT_READ};
    for (int i = 0; i < 3; i++) {
        f.faults.fault[kinds[i]] = (fault){.at = 1, .error = EINTR, .for_ever = true};
        check_read_fails(&f, "data", 10000, "Interrupted");
        f.faults.fault[kinds[i]] = (fault){0};
    }
    fixture_end(&f);
}

static int64_t read_claims_too_much(void *self, int64_t file, void *to, size_t bytes,
                                    int64_t offset) {
    (void)self, (void)file, (void)to, (void)offset;
    return (int64_t)bytes + 1;
}

TEST_CASE(File, a_read_that_claims_more_than_it_was_asked_for_is_refused) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    f.faults.host.files.read = read_claims_too_much;
    check_read_fails(&f, "data", 10000, "claims 10001 bytes");
    fixture_end(&f);
}

static quern_status write_file(fixture *f, const char *name) {
    file_writer w;
    quern_status status =
        file_writer_open(&w, &f->faults.host, temporary_join(&f->folder, name), QUERN_FILE_CREATE);
    if (status == QUERN_OK) status = file_writer_write(&w, f->content, 6000);
    if (status == QUERN_OK) status = file_writer_write(&w, f->content + 6000, 4000);
    if (status == QUERN_OK) status = file_writer_sync(&w);
    const quern_status closed = file_writer_close(&w);
    CHECK_STATUS(closed, w.status); /* the first failure sticks */
    CHECK_STATUS(file_writer_close(&w), closed);
    return status != QUERN_OK ? status : closed;
}

static void check_written(fixture *f, const char *name) {
    uint8_t back[10001];
    CHECK(temporary_read(&f->folder, name, back, sizeof back) == 10000);
    CHECK(memcmp(back, f->content, 10000) == 0);
}

TEST_CASE(File, is_written_whole_also_in_short_pieces_and_when_interrupted) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    CHECK_OK(write_file(&f, "out"));
    check_written(&f, "out");
    f.faults.write_at_most = 13;
    f.faults.fault[FAULT_WRITE] = (fault){.at = 100, .error = EINTR};
    f.faults.fault[FAULT_SYNC] = (fault){.at = 2, .error = EINTR};
    CHECK_OK(write_file(&f, "out2"));
    CHECK(fault_host_fired(&f.faults, FAULT_WRITE) && fault_host_fired(&f.faults, FAULT_SYNC));
    check_written(&f, "out2");
    fixture_end(&f);
}

TEST_CASE(File, each_failing_write_operation_is_an_io_sentence_with_the_path) {
    static const struct {
        fault_kind kind;
        int error;
        const char *words;
    } rows[] = {
        {FAULT_OPEN, EROFS, "creating"},
        {FAULT_WRITE, ENOSPC, "No space left on device"},
        {FAULT_SYNC, EIO, "syncing"},
        {FAULT_CLOSE, EDQUOT, "closing"},
    };
    for (int i = 0; i < 4; i++) {
        for (int64_t n = 1; n <= (rows[i].kind == FAULT_WRITE ? 2 : 1); n++) {
            fixture f;
            REQUIRE(fixture_begin(&f));
            f.faults.fault[rows[i].kind] = (fault){.at = n, .error = rows[i].error};
            CHECK_STATUS(write_file(&f, "out"), QUERN_IO);
            CHECK_ERROR_HAS(rows[i].words);
            CHECK_ERROR_HAS("/out");
            fixture_end(&f);
        }
    }
}

static int64_t write_nothing(void *self, int64_t file, const void *from, size_t bytes) {
    (void)self, (void)file, (void)from, (void)bytes;
    return 0;
}

TEST_CASE(File, a_write_that_makes_no_progress_fails_instead_of_hanging) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    f.faults.host.files.write = write_nothing;
    CHECK_STATUS(write_file(&f, "out"), QUERN_IO);
    f.faults.host.files.write = f.faults.inner.files.write;
    fixture_end(&f);
}

TEST_CASE(File, appending_adds_and_a_new_file_must_be_new) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    file_writer w;
    const char *path = temporary_join(&f.folder, "data");
    REQUIRE_OK(file_writer_open(&w, &f.faults.host, path, QUERN_FILE_APPEND));
    CHECK_OK(file_writer_write(&w, "tail", 4));
    CHECK_OK(file_writer_close(&w));
    CHECK_STATUS(file_writer_open(&w, &f.faults.host, path, QUERN_FILE_CREATE_NEW), QUERN_IO);
    CHECK_ERROR_HAS("File exists");
    CHECK_STATUS(file_writer_write(&w, "x", 1), QUERN_IO); /* sticks */
    CHECK_STATUS(file_writer_close(&w), QUERN_IO);
    uint8_t back[10010];
    CHECK(temporary_read(&f.folder, "data", back, sizeof back) == 10004);
    CHECK(memcmp(back + 10000, "tail", 4) == 0);
    fixture_end(&f);
}

TEST_CASE(File, directories_are_made_with_their_parents_and_may_be_there_already) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    quern_file_info info;
    char path[600];
    strcpy(path, temporary_join(&f.folder, "a//b/c/"));
    CHECK_OK(file_make_directories(&f.faults.host, path));
    CHECK(f.faults.inner.files.info(NULL, path, &info) == 0 && info.is_directory);
    CHECK_OK(file_make_directories(&f.faults.host, path));
    CHECK_OK(file_make_directories(&f.faults.host, "/"));
    CHECK_STATUS(file_make_directories(&f.faults.host, temporary_join(&f.folder, "data/below")),
                 QUERN_IO);
    CHECK_ERROR_HAS("data");
    CHECK_STATUS(file_make_directories(&f.faults.host, temporary_join(&f.folder, "data")),
                 QUERN_IO);
    CHECK_ERROR_HAS("File exists");
    CHECK_STATUS(file_make_directories(&f.faults.host, ""), QUERN_IO);
    fixture_end(&f);
}

static void count_names(void *context, const char *name) {
    int *counts = context;
    counts[0]++;
    counts[1] += strcmp(name, "data") == 0;
}

TEST_CASE(File, the_posix_operations_list_rename_and_remove) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    const quern_files *files = &f.faults.host.files;
    int counts[2] = {0, 0};
    CHECK(files->make_directory(files->self, temporary_join(&f.folder, "below")) == 0);
    CHECK(files->list(files->self, f.folder.path, count_names, counts) == 0);
    CHECK(counts[0] == 2 && counts[1] == 1);
    char from[600];
    strcpy(from, temporary_join(&f.folder, "data"));
    CHECK(files->rename(files->self, from, temporary_join(&f.folder, "below/moved")) == 0);
    CHECK(files->unlink(files->self, from) == -ENOENT);
    CHECK(files->remove_directory(files->self, temporary_join(&f.folder, "below")) == -ENOTEMPTY);
    quern_file_info cut = {0};
    const char *moved = temporary_join(&f.folder, "below/moved");
    const int64_t open = files->open(files->self, moved, QUERN_FILE_APPEND);
    CHECK(files->truncate(files->self, open, 2) == 0);
    CHECK(files->write(files->self, open, "xyz", 3) == 3 && files->close(files->self, open) == 0);
    CHECK(files->info(files->self, moved, &cut) == 0 && cut.byte_count == 5);
    CHECK(files->truncate(files->self, -1, 0) == -EBADF);
    CHECK(files->unlink(files->self, temporary_join(&f.folder, "below/moved")) == 0);
    CHECK(files->remove_directory(files->self, temporary_join(&f.folder, "below")) == 0);
    const int64_t folder = files->open(files->self, f.folder.path, QUERN_FILE_DIRECTORY);
    CHECK(folder >= 0);
    CHECK(files->sync(files->self, folder) == 0);
    CHECK(files->close(files->self, folder) == 0);
    CHECK(files->list(files->self, "/nowhere", count_names, counts) == -ENOENT);
    fixture_end(&f);
}

TEST_CASE(File, every_failing_allocation_while_reading_is_reported_and_leaks_nothing) {
    for (int64_t n = 1;; n++) {
        fixture f;
        REQUIRE(fixture_begin(&f));
        f.faults.host.files.info = info_says_10;
        f.faults.fault[FAULT_ALLOCATE] = (fault){.at = n};
        uint8_t *data;
        size_t bytes;
        const quern_status status =
            file_read_all(&f.faults.host, temporary_join(&f.folder, "data"), 20000, &data, &bytes);
        const bool fired = fault_host_fired(&f.faults, FAULT_ALLOCATE);
        CHECK_STATUS(status, fired ? QUERN_HOST_MEMORY : QUERN_OK);
        memory_release(&f.faults.host, data, (int64_t)bytes, 1);
        fixture_end(&f);
        if (!fired) break;
    }
}
