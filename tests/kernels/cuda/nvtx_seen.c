#include "nvtx_seen.h"

#include "nvtx_injection.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

__attribute__((constructor)) static void attach(void) {
    setenv("NVTX_INJECTION64_PATH", QUERN_TEST_INJECTION, 1);
}

const char *nvtx_seen(void) {
    void *library = dlopen(QUERN_TEST_INJECTION, RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL) return "nobody has looked for a profiler";
    void *symbol = dlsym(library, NVTX_NOTES_ENTRY);
    nvtx_notes_entry entry;
    memcpy(&entry, &symbol, sizeof entry);
    dlclose(library);
    return entry();
}

int nvtx_seen_count(const char *part) {
    int n = 0;
    for (const char *at = strstr(nvtx_seen(), part); at != NULL; at = strstr(at + 1, part)) n++;
    return n;
}
