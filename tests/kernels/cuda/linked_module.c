/* linked_module.c - the core's module loader with one module, linked in: the CUDA module on the
 * fake device. It takes the place of src/host/device/module.c. */
#include "host/device/module.h"

#include "fake_core.h"
#include "host/base/report.h"

__attribute__((constructor)) static void begin(void) { fake_begin(); }

bool module_is_there(void) { return true; }

quern_status module_open(const quern_backend **out) {
    *out = fake_core_open();
    return *out != NULL ? QUERN_OK : QUERN_UNSUPPORTED;
}

quern_status module_tools_open(const module_tools **out) {
    *out = NULL;
    return quern_fail(QUERN_UNSUPPORTED, "the fake device has no tools for profilers");
}
