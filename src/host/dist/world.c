#include "world_parts.h"

#include "../base/memory.h"
#include "rendezvous.h"

#include <math.h>

#define TIMEOUT_S 300.0
#define TIMEOUT_S_MAX 1e6

static quern_status resolve(world *w, const world_desc *desc) {
    const double seconds = desc->timeout_s == 0 ? TIMEOUT_S : desc->timeout_s;
    if (!(seconds > 0 && seconds <= TIMEOUT_S_MAX))
        return quern_fail(QUERN_INVALID, "timeout_s %g: up to %g, or 0 for %g", desc->timeout_s,
                          TIMEOUT_S_MAX, TIMEOUT_S);
    w->timeout_ns = (int64_t)ceil(seconds * 1e9);
    w->backend = desc->backend;
    w->device = desc->device;
    w->place = desc->place;
    if (w->place.size == 0) w->place.size = 1;
    w->net = desc->net != NULL ? *desc->net : sockets_posix();
    return world_place_check(&w->place);
}

static quern_status meet(world *w, collective_id *id) {
    const rendezvous r = {
        .place = &w->place,
        .host = &w->host,
        .net = &w->net,
        .backend = (uint8_t)w->backend->kind,
        .timeout_ns = w->timeout_ns,
    };
    if (w->place.rank == 0) QUERN_TRY(w->backend->collectives->identify(w->device, id));
    QUERN_TRY(
        memory_allocate(&w->host, &w->peers, w->place.size, sizeof *w->peers, "a world's peers"));
    return rendezvous_meet(&r, w->peers, id);
}

static quern_status join(world *w) {
    collective_join desc = {
        .rank = w->place.rank, .size = w->place.size, .timeout_ns = w->timeout_ns};
    QUERN_TRY(meet(w, &desc.id));
    desc.peers = w->peers;
    return w->backend->collectives->join(&w->group, w->device, &desc);
}

quern_status world_create(world **out, const world_desc *desc) {
    world *w;
    *out = NULL;
    QUERN_TRY(memory_allocate(desc->host, &w, 1, sizeof *w, "a world of ranks"));
    w->host = *desc->host;
    quern_status status = resolve(w, desc);
    if (status == QUERN_OK) status = join(w);
    if (status != QUERN_OK) {
        w->lost = true; /* there is nobody to say goodbye to */
        world_destroy(w);
        return status;
    }
    *out = w;
    return QUERN_OK;
}

/* Who reads this instead of what it waits for knows that nobody crashed. */
static void say_goodbye(const world *w) {
    for (int32_t i = 0; i < w->place.size; i++)
        if (w->peers[i].handle >= 0) message_part(&w->peers[i], MESSAGE_LEAVING, QUERN_OK, NULL);
}

void world_destroy(world *w) {
    if (w == NULL) return;
    if (w->group != NULL) w->backend->collectives->leave(w->group);
    if (w->peers != NULL && !w->lost && !atomic_load(&w->aborted)) say_goodbye(w);
    for (int32_t i = 0; w->peers != NULL && i < w->place.size; i++) peer_close(&w->peers[i]);
    const quern_host host = w->host;
    memory_release(&host, w->peers, w->place.size, sizeof *w->peers);
    memory_release(&host, w, 1, sizeof *w);
}

const world_place *world_place_of(const world *w) { return &w->place; }
collective_group *world_group(const world *w) { return w->group; }
const char *world_library(const world *w) { return w->backend->collectives->name; }

static const char *const names[COLLECTIVE_COUNT] = {
#define X(name) [COLLECTIVE_##name] = #name,
    COLLECTIVE_LIST(X)
#undef X
};

/* How many elements the larger side has for each of the smaller: all in one, or one part a rank. */
static bool counts_fit(const world *w, collective what, const quern_view *in,
                       const quern_view *out) {
    const int64_t size = w->place.size;
    switch (what) {
    case COLLECTIVE_reduce_scatter: return in->count % size == 0 && in->count / size == out->count;
    case COLLECTIVE_all_gather: return out->count % size == 0 && out->count / size == in->count;
    default: return in->count == out->count;
    }
}

static quern_status check_tensor(const world *w, collective what, const quern_kernel_args *args,
                                 int32_t i) {
    const collective_call *c = args->attributes;
    const quern_view *in = &args->in[i], *out = &args->out[i];
    const bool reduces = what == COLLECTIVE_all_reduce || what == COLLECTIVE_reduce_scatter;
    if (in->dtype != out->dtype || !counts_fit(w, what, in, out))
        return quern_fail(
            QUERN_SHAPE, "%s among %d ranks: tensor %d has %lld %s, its result %lld %s",
            names[what], (int)w->place.size, (int)i, (long long)in->count,
            quern_dtype_name(in->dtype), (long long)out->count, quern_dtype_name(out->dtype));
    const bool whole = in->dtype == QUERN_I32 || in->dtype == QUERN_I64 || in->dtype == QUERN_U8;
    if (reduces && c->reduction == COLLECTIVE_MEAN && whole)
        return quern_fail(QUERN_INVALID, "%s: there is no mean of %s", names[what],
                          quern_dtype_name(in->dtype));
    return QUERN_OK;
}

static quern_status check_call(const world *w, collective what, const quern_kernel_args *args) {
    const collective_call *c = args->attributes;
    if ((unsigned)what >= COLLECTIVE_COUNT || c->group != w->group)
        return quern_fail(QUERN_INVALID, "collective %d of a group that is not this world's",
                          (int)what);
    if ((unsigned)c->reduction >= COLLECTIVE_REDUCTION_COUNT)
        return quern_fail(QUERN_INVALID, "%s: reduction %d does not exist", names[what],
                          (int)c->reduction);
    if (what == COLLECTIVE_broadcast && (c->root < 0 || c->root >= w->place.size))
        return quern_fail(QUERN_INVALID, "broadcast from rank %d in a world of %d", (int)c->root,
                          (int)w->place.size);
    if (what == COLLECTIVE_barrier) return QUERN_OK;
    if (args->input_count < 1 || args->input_count != args->output_count)
        return quern_fail(QUERN_INVALID, "%s of %d tensors into %d", names[what],
                          (int)args->input_count, (int)args->output_count);
    for (int32_t i = 0; i < args->input_count; i++) QUERN_TRY(check_tensor(w, what, args, i));
    return QUERN_OK;
}

quern_status world_issue(world *w, quern_stream *stream, collective what,
                         const quern_kernel_args *args) {
    QUERN_TRY(check_call(w, what, args));
    w->last = names[what];
    w->issued++;
    return w->backend->call(stream, w->backend->collectives->run[what], args);
}
