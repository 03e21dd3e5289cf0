#include "environment.h"

#include "../base/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The value of the first variable that is set, and that variable. */
static const char *value_of(const char *const names[2], const char **out_name) {
    for (int i = 0; i < 2; i++) {
        const char *value = names[i] != NULL ? getenv(names[i]) : NULL;
        *out_name = names[i];
        if (value != NULL) return value;
    }
    *out_name = names[0];
    return NULL;
}

/* A whole number in [low, high]; *out stays when no variable is set and none is needed. */
static quern_status read_number(int32_t *out, const char *const names[2], bool needed, int32_t low,
                                int32_t high) {
    const char *name, *value = value_of(names, &name);
    if (value == NULL && !needed) return QUERN_OK;
    if (value == NULL)
        return quern_fail(QUERN_INVALID, "of several ranks, but %s is not set", name);
    char *end;
    errno = 0;
    const long number = strtol(value, &end, 10);
    const bool digits = value[0] >= '0' && value[0] <= '9';
    if (!digits || *end != 0 || errno != 0 || number < low || number > high)
        return quern_fail(QUERN_INVALID, "%s is \"%.40s\", not a number from %d to %d", name, value,
                          (int)low, (int)high);
    *out = (int32_t)number;
    return QUERN_OK;
}

static const char *const rank_names[2] = {"RANK", "OMPI_COMM_WORLD_RANK"};
static const char *const size_names[2] = {"WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"};
static const char *const local_names[2] = {"LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"};
static const char *const port_names[2] = {"MASTER_PORT", NULL};

quern_status world_place_read(world_place *out) {
    const char *name;
    *out = (world_place){.size = 1};
    const bool several = value_of(rank_names, &name) != NULL || value_of(size_names, &name) != NULL;
    if (!several) return QUERN_OK;
    QUERN_TRY(read_number(&out->size, size_names, true, 1, WORLD_SIZE_MAX));
    QUERN_TRY(read_number(&out->rank, rank_names, true, 0, out->size - 1));
    out->local_rank = out->rank;
    QUERN_TRY(read_number(&out->local_rank, local_names, false, 0, out->rank));
    if (out->size == 1) return QUERN_OK;
    const char *address = getenv("MASTER_ADDR");
    if (address == NULL)
        return quern_fail(QUERN_INVALID, "of several ranks, but MASTER_ADDR is not set");
    if ((size_t)snprintf(out->address, sizeof out->address, "%s", address) >= sizeof out->address)
        return quern_fail(QUERN_INVALID, "MASTER_ADDR has %zu characters, at most %zu",
                          strlen(address), sizeof out->address - 1);
    int32_t port = 0;
    QUERN_TRY(read_number(&port, port_names, true, 1, UINT16_MAX));
    out->port = (uint16_t)port;
    return world_place_check(out);
}

quern_status world_place_check(const world_place *p) {
    if (p->size < 1 || p->size > WORLD_SIZE_MAX)
        return quern_fail(QUERN_INVALID, "a world of %d ranks: 1 to %d", (int)p->size,
                          WORLD_SIZE_MAX);
    if (p->rank < 0 || p->rank >= p->size)
        return quern_fail(QUERN_INVALID, "rank %d in a world of %d", (int)p->rank, (int)p->size);
    if (p->size > 1 && (p->address[0] == 0 || p->port == 0))
        return quern_fail(QUERN_INVALID,
                          "a world of %d ranks needs the address and port of rank 0 (MASTER_ADDR, "
                          "MASTER_PORT)",
                          (int)p->size);
    return QUERN_OK;
}
