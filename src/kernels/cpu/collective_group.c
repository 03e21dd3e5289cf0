/* collective_group.c - joining, leaving and failing a group of ranks on the CPU. */
#include "collective.h"

#include "../../host/base/memory.h"
#include "cpu.h"
#include "stream.h"

/* The peers are all there is to join. */
static quern_status cpu_identify(backend_device *device, collective_id *out) {
    (void)device;
    *out = (collective_id){{0}};
    return QUERN_OK;
}

static quern_status cpu_join(collective_group **out, backend_device *device,
                             const collective_join *desc) {
    collective_group *g;
    *out = NULL;
    QUERN_TRY(memory_allocate(device->host, &g, 1, sizeof *g, "a group of ranks"));
    *g = (collective_group){
        .host = device->host, .rank = desc->rank, .size = desc->size, .peers = desc->peers};
    if (desc->rank == 0) {
        const quern_status status =
            memory_allocate(g->host, &g->pieces, desc->size - 1, COLLECTIVE_PIECE_BYTES,
                            "the pieces of the other ranks");
        if (status != QUERN_OK) {
            memory_release(g->host, g, 1, sizeof *g);
            return status;
        }
    }
    *out = g;
    return QUERN_OK;
}

static void cpu_leave(collective_group *g) {
    if (g == NULL) return;
    const quern_host *host = g->host;
    memory_release(host, g->pieces, g->size - 1, COLLECTIVE_PIECE_BYTES);
    memory_release(host, g, 1, sizeof *g);
}

quern_status collective_group_status(collective_group *g) {
    const quern_status status = atomic_load(&g->status);
    if (status != QUERN_OK) error_restore(&g->error);
    return status;
}

/* Whoever waits for this rank, or for whom it waits, hears at once. */
static void hang_up(const collective_group *g) {
    for (int32_t r = 0; r < g->size; r++)
        if (r != g->rank && g->peers[r].handle >= 0)
            (void)g->peers[r].net->stop(g->peers[r].net->self, g->peers[r].handle);
}

quern_status collective_group_fail(collective_group *g, quern_status status) {
    if (atomic_load(&g->status) != QUERN_OK) return status;
    error_save(&g->error);
    for (int32_t r = 1; g->rank == 0 && r < g->size; r++)
        message_part(&g->peers[r], MESSAGE_FAILED, status, g->error.text);
    hang_up(g);
    atomic_store(&g->status, status);
    return status;
}

static void cpu_abort(collective_group *g) { hang_up(g); }

const collectives cpu_collectives = {
    .name = "sockets",
    .uses_peers = true,
    .identify = cpu_identify,
    .join = cpu_join,
    .leave = cpu_leave,
    .status = collective_group_status,
    .abort = cpu_abort,
    .run =
        {
#define X(name) [COLLECTIVE_##name] = cpu_##name,
            COLLECTIVE_LIST(X)
#undef X
        },
};
