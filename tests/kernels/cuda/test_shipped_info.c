/* What the shipped module says of this machine: no fake is in it. */
#include "quern_test.h"

#include <quern/device.h>
#include <stdlib.h>
#include <string.h>

TEST_CASE(ShippedModule, tells_its_versions_and_the_vendors_libraries) {
    quern_cuda_info info;
    setenv("QUERN_BACKEND_PATH", QUERN_TEST_MODULE_DIR, 1);
    REQUIRE_OK(quern_cuda_info_get(&info));
    CHECK(info.runtime_version >= 13000 && info.architectures[0] != 0);
    CHECK(info.driver_version > 0 || quern_device_count(QUERN_DEVICE_CUDA, NULL, 0) == 0);
    for (int i = 0; i < QUERN_CUDA_LIBRARY_COUNT; i++) {
        const quern_library_info *l = &info.libraries[i];
        CHECK(l->name[0] != 0);
        CHECK((l->version[0] != 0) == (l->reason[0] == 0));
        if (l->version[0] == 0) CHECK_HAS(l->reason, "QUERN_CUDA_LIBRARY_PATH");
        if (l->version[0] != 0) CHECK(l->path[0] == '/' && strstr(l->path, ".so.") != NULL);
    }
    CHECK_STATUS(quern_cuda_info_get(NULL), QUERN_INVALID);
}
