/* Every allocation and file operation of a save and a load fails once, and from then on. */
#include "model.h"
#include "quern_test.h"
#include "support/fault_host.h"
#include "support/temporary.h"

#include <errno.h>
#include <string.h>

enum { LOOP_MAX = 500 };

static quern_status save_and_load(temporary *t, const quern_host *host) {
    small_model m;
    quern_safetensors *file = NULL;
    quern_status status = small_model_create(&m, host, 1, 3);
    if (status == QUERN_OK)
        status = quern_safetensors_save(temporary_join(t, "m"), m.graph, m.parameters,
                                        &(quern_safetensors_note){"a", "b"}, 1);
    if (status == QUERN_OK)
        status = quern_safetensors_open(&file, m.device, temporary_join(t, "m"));
    if (status == QUERN_OK) status = quern_safetensors_load(file, m.graph, m.parameters);
    quern_safetensors_destroy(file);
    small_model_destroy(&m);
    return status;
}

static bool is_there(temporary *t, const char *name) {
    char byte;
    return temporary_read(t, name, &byte, 1) >= 0;
}

static void fail_each(fault_kind kind, int error, bool for_ever) {
    static fault_host faults;
    temporary t;
    int64_t n = 1;
    REQUIRE(temporary_begin(&t));
    for (; n < LOOP_MAX; n++) {
        fault_host_begin(&faults, NULL);
        faults.fault[kind] = (fault){.at = n, .for_ever = for_ever, .error = error};
        const quern_status status = save_and_load(&t, &faults.host);
        REQUIRE(fault_host_live(&faults) == 0);
        if (error == EINTR && !for_ever) CHECK_OK(status); /* one interruption is no failure */
        if (!fault_host_fired(&faults, kind)) {
            CHECK_OK(status);
            break;
        }
        /* Memory of the CPU backend is device memory, even where it comes from the same heap. */
        const bool memory = status == QUERN_HOST_MEMORY || status == QUERN_DEVICE_MEMORY;
        const bool file = status == QUERN_IO || status == QUERN_INPUT;
        REQUIRE_SAY(kind == FAULT_ALLOCATE ? memory : file || status == QUERN_OK,
                    "operation %lld: %s: %s", (long long)n, quern_status_name(status),
                    quern_error());
        if (kind != FAULT_ALLOCATE && status != QUERN_OK) {
            CHECK_SAY(fault_is_named(kind, quern_error()), "%s", quern_error());
            CHECK_ERROR_HAS(strerror(error));
            CHECK_ERROR_HAS(t.path);
        }
        CHECK(status == QUERN_OK || quern_error()[0] != '\0');
        CHECK(!is_there(&t, "m.part"));
    }
    CHECK(n > 1 && n < LOOP_MAX);
    temporary_end(&t);
}

TEST_CASE(SafetensorsFaults, every_allocation_may_fail) {
    fail_each(FAULT_ALLOCATE, 0, false);
    fail_each(FAULT_ALLOCATE, 0, true);
}

TEST_CASE(SafetensorsFaults, every_file_operation_may_fail) {
    static const fault_kind kinds[] = {FAULT_OPEN, FAULT_READ,  FAULT_WRITE,
                                       FAULT_SYNC, FAULT_CLOSE, FAULT_RENAME};
    static const int errors[] = {ENOSPC, EINTR};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int e = 0; e < 2; e++) {
            fail_each(kinds[i], errors[e], false);
            fail_each(kinds[i], errors[e], true);
        }
}

TEST_CASE(SafetensorsFaults, a_failed_save_leaves_the_older_file_whole) {
    static fault_host faults;
    temporary t;
    small_model a, b;
    quern_safetensors *file = NULL;
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(small_model_create(&a, NULL, 1, 3));
    REQUIRE_OK(quern_safetensors_save(temporary_join(&t, "m"), a.graph, a.parameters, NULL, 0));
    fault_host_begin(&faults, NULL);
    REQUIRE_OK(small_model_create(&b, &faults.host, 2, 3));
    faults.fault[FAULT_WRITE] = (fault){.at = 4, .error = ENOSPC};
    CHECK_STATUS(quern_safetensors_save(temporary_join(&t, "m"), b.graph, b.parameters, NULL, 0),
                 QUERN_IO);
    CHECK_ERROR_HAS("m.part");
    REQUIRE_OK(quern_safetensors_open(&file, b.device, temporary_join(&t, "m")));
    CHECK_OK(quern_safetensors_load(file, b.graph, b.parameters));
    CHECK(small_model_equal(&a, &b));
    quern_safetensors_destroy(file);
    small_model_destroy(&b);
    small_model_destroy(&a);
    CHECK(fault_host_live(&faults) == 0);
    temporary_end(&t);
}

TEST_CASE(SafetensorsFaults, short_transfers_change_nothing) {
    static fault_host faults;
    temporary t;
    REQUIRE(temporary_begin(&t));
    fault_host_begin(&faults, NULL);
    faults.read_at_most = 7;
    faults.write_at_most = 3;
    CHECK_OK(save_and_load(&t, &faults.host));
    CHECK(fault_host_live(&faults) == 0);
    temporary_end(&t);
}
