/* Where the vendor's libraries are looked for, in made-up trees; what is said when they are
 * nowhere; and the files of this machine, which have every function that is called. */
#include "quern_test.h"

#include "kernels/cuda/library/library_search.h"
#include "kernels/cuda/nccl/nccl_table.h"
#include "kernels/cuda/library/shared_library.h"
#include "support/temporary.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define VENDOR "libquern-vendor.so"
#define SIBLING "libquern-sibling.so"

static void forget_environment(void) {
    static const char *const names[] = {"QUERN_CUDA_LIBRARY_PATH",
                                        "VENDOR_ROOT",
                                        "CUDA_HOME",
                                        "VIRTUAL_ENV",
                                        "CONDA_PREFIX",
                                        "HOME"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) unsetenv(names[i]);
}

static void make_folders(temporary *t, const char *name) {
    char path[600];
    snprintf(path, sizeof path, "%s", temporary_join(t, name));
    for (char *at = path + strlen(t->path) + 1; *at != 0; at++)
        if (*at == '/') {
            *at = 0;
            (void)mkdir(path, 0755);
            *at = '/';
        }
    CHECK(mkdir(path, 0755) == 0);
}

/* A copy, not a link: the loader knows a file by its inode. */
static void copy_library(temporary *t, const char *from, const char *folder, const char *name) {
    static char bytes[1 << 20];
    char to[400];
    FILE *file = fopen(from, "rb");
    REQUIRE(file != NULL);
    const size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    REQUIRE(length > 0 && length < sizeof bytes);
    snprintf(to, sizeof to, "%s/%s", folder, name);
    CHECK(temporary_write(t, to, bytes, length));
}

static void set_below(temporary *t, const char *variable, const char *name) {
    setenv(variable, temporary_join(t, name), 1);
}

typedef struct visits {
    char folders[4000];
    const char *skip; /* this much of each is left out */
} visits;

static bool collect(void *context, const char *folder) {
    visits *v = context;
    const size_t length = strlen(v->folders), skip = strlen(v->skip);
    const bool own = strncmp(folder, v->skip, skip) == 0;
    snprintf(v->folders + length, sizeof v->folders - length, "%s\n",
             folder[0] == 0 ? "LOADER"
             : own          ? folder + skip
                            : folder);
    return false;
}

TEST_CASE(LibrarySearch, goes_from_what_was_named_to_the_loader_to_the_wheels) {
    static visits v;
    temporary t;
    REQUIRE(temporary_begin(&t));
    forget_environment();
    make_folders(&t, "venv/lib/python3.9/site-packages/nvidia/nccl/lib");
    make_folders(&t, "venv/lib/python3.11/site-packages/nvidia/nccl/lib");
    make_folders(&t, "venv/lib/python3.11/site-packages/nvidia/cu13/lib");
    make_folders(&t, "venv/lib/python3.11/site-packages/nvidia/other/lib");
    make_folders(&t, "venv/lib/perl/site-packages/nvidia/nccl/lib");
    make_folders(&t, "conda/lib/python3.12/dist-packages/nvidia/cudnn/lib");
    make_folders(&t, "home/.local/lib/python3/site-packages/nvidia/cublas/lib");
    setenv("QUERN_CUDA_LIBRARY_PATH", "/first::relative:/second", 1);
    setenv("VENDOR_ROOT", "/vendor", 1);
    setenv("CUDA_HOME", "/cuda", 1);
    set_below(&t, "VIRTUAL_ENV", "venv");
    set_below(&t, "CONDA_PREFIX", "conda");
    set_below(&t, "HOME", "home");
    v = (visits){.skip = t.path};
    CHECK(!library_search("VENDOR_ROOT", collect, &v));
    static const char expected[] = "/first\n/second\n"
                                   "/vendor/lib\n/vendor/lib64\n/cuda/lib\n/cuda/lib64\n"
                                   "/built/with\n"
                                   "LOADER\n"
                                   "/venv/lib\n"
                                   "/venv/lib/python3.11/site-packages/nvidia/cu13/lib\n"
                                   "/venv/lib/python3.11/site-packages/nvidia/nccl/lib\n"
                                   "/venv/lib/python3.9/site-packages/nvidia/nccl/lib\n"
                                   "/conda/lib\n"
                                   "/conda/lib/python3.12/dist-packages/nvidia/cudnn/lib\n"
                                   "/home/.local/lib/python3/site-packages/nvidia/cublas/lib\n";
    CHECK(strncmp(v.folders, expected, sizeof expected - 1) == 0);
    if (quern_test_failed()) CHECK_TEXT(v.folders, expected);
    /* behind them only the machine's own */
    for (const char *at = v.folders + sizeof expected - 1; *at != 0; at = strchr(at, '\n') + 1)
        CHECK(strncmp(at, "/usr/", 5) == 0);
    forget_environment();
    temporary_end(&t);
}

TEST_CASE(LibrarySearch, takes_no_relative_and_no_endless_folder) {
    static visits v;
    static char endless[5000];
    temporary t;
    REQUIRE(temporary_begin(&t));
    forget_environment();
    memset(endless, 'x', sizeof endless - 1);
    endless[0] = '/';
    setenv("QUERN_CUDA_LIBRARY_PATH", endless, 1);
    setenv("CUDA_HOME", endless, 1);
    setenv("VIRTUAL_ENV", "venv", 1);
    setenv("CONDA_PREFIX", endless, 1);
    setenv("HOME", ".", 1);
    v = (visits){.skip = "#"};
    CHECK(!library_search("VENDOR_ROOT", collect, &v));
    CHECK(strncmp(v.folders, "/built/with\nLOADER\n", 19) == 0);
    CHECK(strstr(v.folders, "xxx") == NULL && strstr(v.folders, "venv") == NULL);
    forget_environment();
    temporary_end(&t);
}

static void check_found(temporary *t, const char *folder) {
    void *library;
    shared_function function;
    int (*number)(void);
    char path[600], expected[600];
    snprintf(expected, sizeof expected, "%s/" VENDOR, temporary_join(t, folder));
    REQUIRE_OK(shared_library_open(&library, VENDOR, "VENDOR_ROOT"));
    shared_library_path(library, path, sizeof path);
    CHECK_TEXT(path, expected);
    REQUIRE_OK(shared_library_find(&function, library, VENDOR, "quern_vendor_number"));
    memcpy(&number, &function, sizeof number);
    CHECK(number() == 42);
    CHECK_STATUS(shared_library_find(&function, library, VENDOR, "quern_vendor_nothing"),
                 QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS(VENDOR " has no function quern_vendor_nothing");
}

static void put_both(temporary *t, const char *folder) {
    make_folders(t, folder);
    copy_library(t, QUERN_TEST_VENDOR, folder, VENDOR);
    copy_library(t, QUERN_TEST_SIBLING, folder, SIBLING);
}

TEST_CASE(SharedLibrary, that_lacks_its_sibling_is_passed_over_and_a_wheels_is_taken) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    forget_environment();
    make_folders(&t, "broken");
    CHECK(temporary_write(&t, "broken/" VENDOR, "no library at all", 17));
    make_folders(&t, "alone/lib");
    copy_library(&t, QUERN_TEST_VENDOR, "alone/lib", VENDOR);
    set_below(&t, "QUERN_CUDA_LIBRARY_PATH", "broken");
    set_below(&t, "VENDOR_ROOT", "alone");
    void *library = &t;
    CHECK_STATUS(shared_library_open(&library, VENDOR, "VENDOR_ROOT"), QUERN_UNSUPPORTED);
    CHECK(library == NULL);
    CHECK_ERROR_HAS(VENDOR
                    " cannot be loaded; name its folder in QUERN_CUDA_LIBRARY_PATH (tried: ");
    CHECK_ERROR_HAS(temporary_join(&t, "broken: "));
    CHECK_ERROR_HAS("file too short");
    CHECK_ERROR_HAS(SIBLING ": cannot open shared object file");
    CHECK_ERROR_HAS(temporary_join(&t, "alone/lib64; "));
    /* in a wheel: the sibling is found by the library's own run path, $ORIGIN */
    put_both(&t, "venv/lib/python3.11/site-packages/nvidia/cudnn/lib");
    set_below(&t, "VIRTUAL_ENV", "venv");
    check_found(&t, "venv/lib/python3.11/site-packages/nvidia/cudnn/lib");
    forget_environment();
    temporary_end(&t);
}

TEST_CASE(SharedLibrary, that_is_nowhere_names_the_folders_and_the_loaders_words) {
    void *library;
    char list[3000] = "";
    forget_environment();
    setenv("CUDA_HOME", "/nowhere", 1);
    CHECK_STATUS(shared_library_open(&library, "libquern-no.so.1", "VENDOR_ROOT"),
                 QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("(tried: /nowhere/lib; /nowhere/lib64; /built/with; the loader: "
                    "libquern-no.so.1: cannot open shared object file");
    for (int i = 0; i < 100; i++) strcat(list, "/some/folder/of/many:");
    setenv("QUERN_CUDA_LIBRARY_PATH", list, 1);
    CHECK_STATUS(shared_library_open(&library, "libquern-no.so.1", "VENDOR_ROOT"),
                 QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("; /some/folder/of/many; and more)");
    forget_environment();
}

/* An id needs no driver. */
TEST_CASE(NcclFile, has_every_function_and_makes_ids) {
    nccl_table nccl;
    forget_environment();
    setenv("QUERN_CUDA_LIBRARY_PATH", QUERN_TEST_TOOLKIT, 1);
    if (nccl_open(&nccl) != QUERN_OK) {
        CHECK_ERROR_HAS("libnccl.so.2 cannot be loaded");
        quern_test_skip("NCCL is not on this machine", __FILE__, __LINE__);
        return;
    }
    int version = 0;
    ncclUniqueId one, two;
    CHECK(nccl.ncclGetVersion(&version) == ncclSuccess && version >= 21400);
    REQUIRE(nccl.ncclGetUniqueId(&one) == ncclSuccess);
    REQUIRE(nccl.ncclGetUniqueId(&two) == ncclSuccess);
    CHECK(memcmp(&one, &two, sizeof one) != 0);
    forget_environment();
}
