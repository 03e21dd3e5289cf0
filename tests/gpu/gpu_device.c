#include "gpu_device.h"

#include "quern_test.h"

#include <quern/device.h>
#include <stdlib.h>
#include <string.h>

void gpu_leave_out(const char *reason) {
    const char *required = getenv("QUERN_REQUIRE_GPU");
    if (required != NULL && strcmp(required, "1") == 0)
        CHECK_SAY(false, "QUERN_REQUIRE_GPU is set, but %s", reason);
    else
        quern_test_skip(reason, __FILE__, __LINE__);
}

bool gpu_has_device(void) {
    static char reason[400];
    if (quern_device_count(QUERN_DEVICE_CUDA, reason, sizeof reason) > 0) return true;
    gpu_leave_out(reason);
    return false;
}
