/* What is remembered on disk: algorithms of products, plans of convolutions. They come back; a file
 * that is damaged, cut short or foreign is not used, said once, and written anew. */
#include "kernels/cuda/library/cache_file.h"
#include "library_world.h"
#include "support/fault_host.h"
#include "support/temporary.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct cache_world {
    temporary folder;
    quern_host host;
    int warnings;
} cache_world;

static void note(void *self, quern_log_level level, const char *sentence) {
    cache_world *c = self;
    (void)sentence;
    c->warnings += level == QUERN_LOG_WARNING;
}

static bool cache_begin(cache_world *c) {
    *c = (cache_world){.host = quern_host_default()};
    if (!temporary_begin(&c->folder)) return false;
    setenv("QUERN_CACHE", c->folder.path, 1);
    c->host.log = (quern_log_sink){note, c};
    return true;
}

static void cache_end(cache_world *c) {
    setenv("QUERN_CACHE", "", 1);
    temporary_end(&c->folder);
}

/* One process: the device opened, one kernel run, the device closed. */
static void run(cache_world *c, quern_op_id op, const op_case *which, bool tune) {
    library_world w;
    c->warnings = 0;
    library_begin(&(library_device_desc){.host = &c->host, .tune = tune});
    library_world_begin(&w, op, which, QUERN_F32);
    CHECK_OK(w.status);
    CHECK(library_world_is_right(&w));
    library_world_end(&w);
    library_end();
}

static void run_matmul(cache_world *c, bool tune) {
    run(c, QUERN_OP_ID_matmul, &library_matmul, tune);
}

static void run_conv2d(cache_world *c) { run(c, QUERN_OP_ID_conv2d, &library_conv2d, false); }

/* The number of files of that name, and the first one's path. */
static int find(const cache_world *c, const char *pattern, char *path, size_t bytes) {
    char whole[600];
    glob_t found;
    snprintf(whole, sizeof whole, "%s/%s", c->folder.path, pattern);
    const int count = glob(whole, 0, NULL, &found) == 0 ? (int)found.gl_pathc : 0;
    if (count > 0) snprintf(path, bytes, "%s", found.gl_pathv[0]);
    globfree(&found);
    return count;
}

typedef struct content {
    char *data;
    size_t bytes;
} content;

static content content_of(const cache_world *c, const char *path) {
    content out = {0};
    char why[CACHE_WHY_BYTES];
    out.data = cache_file_read(&c->host, path, (size_t)1 << 24, &out.bytes, why);
    if (out.data == NULL) abort();
    return out;
}

static void content_release(const cache_world *c, content *t) {
    c->host.allocator.release(c->host.allocator.self, t->data, t->bytes + 1);
}

/* Of a convolution: its passes, and that there is no engine for the first with its bias. */
enum { CONV2D_FILES = 6 };

/* A file that holds a plan. */
static bool find_plan(const cache_world *c, char *path, size_t bytes) {
    char pattern[64];
    for (int digit = 0; digit < 16; digit++) {
        snprintf(pattern, sizeof pattern, "plan-%x*.txt", (unsigned)digit);
        if (find(c, pattern, path, bytes) == 0) continue;
        content text = content_of(c, path);
        const bool is_none = strstr(text.data, "\nnone with driver ") != NULL;
        content_release(c, &text);
        if (!is_none) return true;
    }
    return false;
}

TEST_CASE(CudaCaches, without_tuning_the_first_proposal_is_used_and_nothing_is_written) {
    cache_world c;
    char path[600];
    REQUIRE(cache_begin(&c));
    run_matmul(&c, false);
    CHECK(fake_cublaslt.last_index == 0);
    CHECK(find(&c, "*", path, sizeof path) == 0);
    cache_end(&c);
}

TEST_CASE(CudaCaches, the_fastest_proposal_is_measured_remembered_and_used_again) {
    cache_world c;
    char path[600];
    REQUIRE(cache_begin(&c));
    run_matmul(&c, true);
    CHECK(fake_cublaslt.last_index == 1);
    CHECK(find(&c, "products-*.txt", path, sizeof path) == 1);
    CHECK(find(&c, "*", path, sizeof path) == 1); /* nothing is left beside it */
    run_matmul(&c, true);
    CHECK(fake_cublaslt.last_index == 1);
    CHECK(fake_cublaslt.heuristics == 0);
    CHECK(fake_cublaslt.products == 3); /* nothing is measured twice */
    CHECK(c.warnings == 0);
    cache_end(&c);
}

/* A timing of an earlier run is one as well: which algorithm it chose is nobody's to know. */
TEST_CASE(CudaCaches, without_tuning_what_an_earlier_run_measured_is_not_used) {
    cache_world c;
    char path[600];
    REQUIRE(cache_begin(&c));
    run_matmul(&c, true);
    REQUIRE(find(&c, "products-*.txt", path, sizeof path) == 1);
    run_matmul(&c, false);
    CHECK(fake_cublaslt.last_index == 0);
    REQUIRE(cache_file_write(&c.host, path, "damaged", 7));
    run_matmul(&c, false);
    CHECK(fake_cublaslt.last_index == 0 && c.warnings == 0); /* it is not even read */
    cache_end(&c);
}

TEST_CASE(CudaCaches, algorithms_of_another_library_are_not_used) {
    cache_world c;
    char path[600];
    REQUIRE(cache_begin(&c));
    run_matmul(&c, true);
    library_world w;
    library_begin(&(library_device_desc){.host = &c.host, .tune = true});
    fake_cublaslt.version++;
    library_world_begin(&w, QUERN_OP_ID_matmul, &library_matmul, QUERN_F32);
    CHECK_OK(w.status);
    CHECK(fake_cublaslt.products > 3); /* it is measured anew */
    library_world_end(&w);
    library_end();
    CHECK(find(&c, "products-*.txt", path, sizeof path) == 2);
    CHECK(c.warnings == 0); /* the first is another file's */
    cache_end(&c);
}

/* Whatever the file holds, the run is right; returns whether the file was used: then nothing is
 * measured. */
static bool try_products(cache_world *c, const char *path, const char *data, size_t bytes) {
    CHECK(cache_file_write(&c->host, path, data, bytes));
    run_matmul(c, true);
    CHECK(fake_cublaslt.last_index == 1);
    return fake_cublaslt.products == 3;
}

TEST_CASE(CudaCaches, a_damaged_file_of_algorithms_is_ignored_and_said_once) {
    cache_world c;
    char path[600];
    REQUIRE(cache_begin(&c));
    run_matmul(&c, true);
    REQUIRE(find(&c, "products-*.txt", path, sizeof path) == 1);
    content whole = content_of(&c, path);
    CHECK(try_products(&c, path, whole.data, whole.bytes));
    for (size_t cut = 0; cut < whole.bytes && !quern_test_failed(); cut++) {
        CHECK(!try_products(&c, path, whole.data, cut));
        CHECK(c.warnings == 1);
    }
    for (size_t i = 0; i < whole.bytes && !quern_test_failed(); i++) {
        whole.data[i] ^= 1;
        CHECK(!try_products(&c, path, whole.data, whole.bytes));
        CHECK(c.warnings == 1);
        whole.data[i] ^= 1;
    }
    content again = content_of(&c, path); /* it was the last damaged one */
    CHECK(again.bytes == whole.bytes && memcmp(again.data, whole.data, whole.bytes) == 0);
    content_release(&c, &again);
    content_release(&c, &whole);
    cache_end(&c);
}

/* A file that is whole, but whose algorithm belongs to another product: the library refuses it. */
TEST_CASE(CudaCaches, an_algorithm_that_the_library_refuses_is_not_used) {
    cache_world c;
    char path[600];
    REQUIRE(cache_begin(&c));
    run_matmul(&c, true);
    REQUIRE(find(&c, "products-*.txt", path, sizeof path) == 1);
    content whole = content_of(&c, path);
    char *line = whole.data;
    for (int i = 0; i < 2; i++) line = strchr(line, '\n') + 1;
    for (; *line != 'e' || strncmp(line, "end ", 4) != 0; line = strchr(line, '\n') + 1)
        line[3 * 16] = line[3 * 16] == '0' ? '1' : '0'; /* a digit of what it was proposed for */
    snprintf(line, 22, "end %016llx\n",
             (unsigned long long)cache_hash(whole.data, (size_t)(line - whole.data)));
    CHECK(!try_products(&c, path, whole.data, whole.bytes));
    CHECK(c.warnings == 1);
    content_release(&c, &whole);
    cache_end(&c);
}

TEST_CASE(CudaCaches, plans_of_convolutions_come_back) {
    cache_world c;
    char path[600];
    REQUIRE(cache_begin(&c));
    run_conv2d(&c);
    const int64_t planned = fake_cudnn.planned;
    CHECK(planned == 5 && fake_cudnn.loaded == 0);
    CHECK(find(&c, "plan-*.txt", path, sizeof path) == CONV2D_FILES);
    run_conv2d(&c);
    CHECK(fake_cudnn.planned == 0 && fake_cudnn.loaded == 5);
    CHECK(c.warnings == 0);
    cache_end(&c);
}

TEST_CASE(CudaCaches, a_damaged_plan_is_ignored_said_once_and_written_anew) {
    cache_world c;
    char path[600];
    REQUIRE(cache_begin(&c));
    run_conv2d(&c);
    REQUIRE(find_plan(&c, path, sizeof path));
    content whole = content_of(&c, path);
    for (size_t cut = 0; cut < whole.bytes && !quern_test_failed(); cut += 1 + whole.bytes / 64) {
        REQUIRE(cache_file_write(&c.host, path, whole.data, cut));
        run_conv2d(&c);
        CHECK(c.warnings == 1 && fake_cudnn.planned == 1 && fake_cudnn.loaded == 4);
        run_conv2d(&c);
        CHECK(c.warnings == 0 && fake_cudnn.planned == 0);
    }
    for (size_t i = 0; i < whole.bytes && !quern_test_failed(); i += 1 + whole.bytes / 64) {
        whole.data[i] ^= 1;
        REQUIRE(cache_file_write(&c.host, path, whole.data, whole.bytes));
        whole.data[i] ^= 1;
        run_conv2d(&c);
        CHECK(c.warnings == 1 && fake_cudnn.planned == 1 && fake_cudnn.loaded == 4);
    }
    content_release(&c, &whole);
    cache_end(&c);
}

TEST_CASE(CudaCaches, a_plan_that_the_library_refuses_is_made_anew) {
    cache_world c;
    REQUIRE(cache_begin(&c));
    run_conv2d(&c);
    library_world w;
    library_begin(&(library_device_desc){.host = &c.host});
    fake_cudnn.refused = UINT32_MAX; /* the remembered ones too */
    c.warnings = 0;
    library_world_begin(&w, QUERN_OP_ID_conv2d, &library_conv2d, QUERN_F32);
    CHECK_OK(w.status);
    CHECK(library_world_is_right(&w) && fake_cudnn.executed == 0);
    CHECK(c.warnings == 1 + 1); /* the file, once; then each pass computed directly */
    library_world_end(&w);
    library_end();
    cache_end(&c);
}

/* A convolution computed without cuDNN; how many plans were tried. */
static int64_t run_refused(cache_world *c, cudnnStatus_t refusal, int driver, size_t version) {
    library_world w;
    library_begin(&(library_device_desc){.host = &c->host});
    library_device_driver(driver);
    fake_cudnn.refused = UINT32_MAX;
    fake_cudnn.refusal = refusal;
    fake_cudnn.version += version;
    library_world_begin(&w, QUERN_OP_ID_conv2d, &library_conv2d, QUERN_F32);
    CHECK_OK(w.status);
    CHECK(library_world_is_right(&w) && fake_cudnn.executed == 0);
    library_world_end(&w);
    library_end();
    return fake_cudnn.planned;
}

/* But by another library, with another driver, or where it was not the graph that was refused. */
TEST_CASE(CudaCaches, that_there_is_no_engine_is_not_looked_for_twice) {
    const cudnnStatus_t lacks = CUDNN_STATUS_NOT_SUPPORTED_RUNTIME_PREREQUISITE_MISSING;
    const cudnnStatus_t refuses = CUDNN_STATUS_NOT_SUPPORTED_SHAPE;
    cache_world c;
    REQUIRE(cache_begin(&c));
    CHECK(run_refused(&c, CUDNN_STATUS_EXECUTION_FAILED, 13000, 0) == 5);
    CHECK(run_refused(&c, lacks, 13000, 0) == 5);
    CHECK(run_refused(&c, refuses, 13000, 0) == 5);
    CHECK(run_refused(&c, refuses, 13000, 0) == 0);
    CHECK(run_refused(&c, refuses, 13010, 0) == 5);
    CHECK(run_refused(&c, refuses, 13010, 0) == 0);
    CHECK(run_refused(&c, refuses, 13010, 1) == 5);
    run(&c, QUERN_OP_ID_conv2d, &library_conv2d, true); /* what tuning has not looked for yet */
    CHECK(c.warnings == 0 && fake_cudnn.executed > 5);
    cache_end(&c);
}

/* A convolution computed directly because of what may pass: nothing is written, and the next run
 * has cuDNN's engines. */
static void check_forgotten(const fake_cudnn_state *state) {
    cache_world c;
    library_world w;
    char path[600];
    REQUIRE(cache_begin(&c));
    library_begin(&(library_device_desc){.host = &c.host});
    fake_cudnn.unread = state->unread;
    fake_cudnn.refusal = state->refusal;
    fake_cudnn.silent = state->silent;
    library_world_begin(&w, QUERN_OP_ID_conv2d, &library_conv2d, QUERN_F32);
    CHECK_OK(w.status);
    CHECK(library_world_is_right(&w) && fake_cudnn.executed == 0);
    library_world_end(&w);
    library_end();
    CHECK_SAY(find(&c, "plan-*.txt", path, sizeof path) == 0, "attribute %d, code %d",
              (int)state->unread, (int)state->refusal);
    run_conv2d(&c);
    CHECK(fake_cudnn.planned == 5 && fake_cudnn.executed > 0 && c.warnings == 0);
    cache_end(&c);
}

TEST_CASE(CudaCaches, a_failure_that_may_pass_is_not_remembered_as_no_engine) {
    static const int32_t unread[] = {CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_ATTR_ENGINECFG_ENGINE,
                                     CUDNN_ATTR_ENGINE_NUMERICAL_NOTE};
    static const cudnnStatus_t codes[] = {
        CUDNN_STATUS_NOT_INITIALIZED, CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDA_DRIVER,
        CUDNN_STATUS_NOT_SUPPORTED_SUBLIBRARY_UNAVAILABLE, CUDNN_STATUS_INTERNAL_ERROR,
        CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER};
    for (size_t i = 0; i < sizeof unread / sizeof *unread; i++)
        for (size_t k = 0; k < sizeof codes / sizeof *codes; k++)
            check_forgotten(&(fake_cudnn_state){.unread = unread[i], .refusal = codes[k]});
    check_forgotten(&(fake_cudnn_state){.silent = true}); /* an environment that is broken */
}

/* Of the first file that is read: what happens to it. */
static const struct {
    fault_kind kind;
    int error, warnings;
} unread[] = {
    {FAULT_INFO, ENOENT, 0}, {FAULT_INFO, EACCES, 1}, {FAULT_INFO, EIO, 1},
    {FAULT_OPEN, ENOENT, 0}, {FAULT_OPEN, EACCES, 1}, {FAULT_READ, EIO, 1},
};

static void check_unread(cache_world *c, size_t i) {
    for (int conv2d = 0; conv2d < 2; conv2d++) {
        fault_host faults;
        library_world w;
        fault_host_begin(&faults, NULL);
        faults.host.log = (quern_log_sink){note, c};
        faults.fault[unread[i].kind] =
            (fault){.at = 1, .error = unread[i].error, .for_ever = conv2d != 0};
        c->warnings = 0;
        library_begin(&(library_device_desc){.host = &faults.host, .tune = conv2d == 0});
        library_world_begin(&w, conv2d ? QUERN_OP_ID_conv2d : QUERN_OP_ID_matmul,
                            conv2d ? &library_conv2d : &library_matmul, QUERN_F32);
        CHECK_OK(w.status);
        CHECK(fault_host_fired(&faults, unread[i].kind));
        const bool cannot_write = conv2d && unread[i].kind == FAULT_OPEN;
        CHECK_SAY(c->warnings == unread[i].warnings + (cannot_write ? CONV2D_FILES : 0),
                  "case %d, %s: %d", (int)i, conv2d ? "conv2d" : "matmul", c->warnings);
        library_world_end(&w);
        library_end();
    }
}

TEST_CASE(CudaCaches, a_file_that_is_there_but_not_read_is_said_once) {
    cache_world c;
    char path[600];
    REQUIRE(cache_begin(&c));
    run_matmul(&c, true);
    run_conv2d(&c);
    CHECK(c.warnings == 0); /* none was there */
    for (size_t i = 0; i < sizeof unread / sizeof *unread; i++) check_unread(&c, i);
    REQUIRE(find(&c, "products-*.txt", path, sizeof path) == 1);
    REQUIRE(truncate(path, ((off_t)32 << 20) + 1) == 0);
    run_matmul(&c, true);
    CHECK(c.warnings == 1 && fake_cublaslt.products > 3);
    run_matmul(&c, true);
    CHECK(c.warnings == 0 && fake_cublaslt.products == 3);
    REQUIRE(unlink(path) == 0 && mkdir(path, 0700) == 0);
    run_matmul(&c, true);
    CHECK(c.warnings >= 2); /* it cannot be written either */
    cache_end(&c);
}

TEST_CASE(CudaCaches, any_file_operation_may_fail) {
    cache_world c;
    REQUIRE(cache_begin(&c));
    for (int kind = FAULT_OPEN; kind < FAULT_KIND_COUNT; kind++)
        for (int64_t n = 1; n < 40; n++) {
            fault_host faults;
            library_world w;
            fault_host_begin(&faults, NULL);
            faults.fault[kind] = (fault){.at = n};
            faults.read_at_most = faults.write_at_most = 100;
            library_begin(&(library_device_desc){.host = &faults.host, .tune = true});
            library_world_begin(&w, QUERN_OP_ID_matmul, &library_matmul, QUERN_F32);
            CHECK_OK(w.status);
            library_world_end(&w);
            library_world_begin(&w, QUERN_OP_ID_conv2d, &library_conv2d, QUERN_F32);
            CHECK_OK(w.status);
            library_world_end(&w);
            library_end();
            CHECK(fault_host_live(&faults) == 0);
            if (!fault_host_fired(&faults, (fault_kind)kind)) break;
        }
    cache_end(&c);
}
