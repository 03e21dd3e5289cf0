#include "architecture.h"

#include <stdlib.h>
#include <string.h>

typedef struct target {
    int capability;
    bool machine_code, ptx, exact;
} target;

static target read_target(const char *word, size_t length) {
    char *end;
    target t = {.capability = (int)strtol(word, &end, 10), .machine_code = true, .ptx = true};
    t.exact = end < word + length && (*end == 'a' || *end == 'f');
    end += t.exact ? 1 : 0;
    if (strncmp(end, "-real", 5) == 0 || t.exact) t.ptx = false;
    if (strncmp(end, "-virtual", 8) == 0) t.machine_code = false;
    return t;
}

static bool runs_on(const target *t, int capability) {
    if (!t->machine_code) return false;
    if (t->exact) return t->capability == capability;
    return t->capability / 10 == capability / 10 && t->capability <= capability;
}

bool architecture_covers(const char *built, int capability, bool *from_ptx) {
    bool by_ptx = false;
    *from_ptx = false;
    while (*built != 0) {
        const size_t length = strcspn(built, ",");
        const target t = read_target(built, length);
        if (t.capability == 0 || runs_on(&t, capability)) return true;
        by_ptx = by_ptx || (t.ptx && t.capability <= capability);
        built += length + (built[length] == ',');
    }
    *from_ptx = by_ptx;
    return by_ptx;
}
