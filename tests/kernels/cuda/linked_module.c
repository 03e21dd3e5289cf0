/* linked_module.c - the core's module loader with one module, linked in: the CUDA module on the
 * fake device. It takes the place of src/host/device/module.c. */
#include "host/device/module.h"

#include "fake_core.h"
#include "host/base/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Work runs as late as CUDA allows, or as QUERN_FAKE_SCHEDULE says (a fake_schedule's number).
 * Nothing is remembered on this machine. */
__attribute__((constructor)) static void begin(void) {
    const char *schedule = getenv("QUERN_FAKE_SCHEDULE");
    setenv("QUERN_CACHE", "", 1);
    fake_begin();
    fake.schedule = schedule != NULL ? (fake_schedule)atoi(schedule) : FAKE_LATE;
}

/* What no caller of CUDA may do fails the whole executable, whatever its tests have seen. */
__attribute__((destructor)) static void end(void) {
    if (fake.misuse[0] == 0 && fake_live() == 0) return;
    fprintf(stderr, "Failure: the fake device: %s, %lld objects alive\n", fake.misuse,
            (long long)fake_live());
    _exit(1);
}

bool module_is_there(void) { return true; }

quern_status module_open(const quern_backend **out) {
    *out = fake_core_open();
    return *out != NULL ? QUERN_OK : QUERN_UNSUPPORTED;
}

quern_status module_tools_open(const module_tools **out) {
    *out = NULL;
    return quern_fail(QUERN_UNSUPPORTED, "the fake device has no tools for profilers");
}
