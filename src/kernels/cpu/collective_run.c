/* collective_run.c - the collectives themselves, on the stream's thread.
 *
 * Each begins with a header from every rank to rank 0, which compares them: a rank that calls
 * something else is told from one that is gone. Then rank r > 0 sends and receives, rank 0 receives
 * and sends, always in the order of the ranks, so that nobody waits in a circle. */
#include "collective.h"

#include <stdio.h>
#include <string.h>

static const char *const names[COLLECTIVE_COUNT] = {
#define X(name) [COLLECTIVE_##name] = #name,
    COLLECTIVE_LIST(X)
#undef X
};

static const char *const reductions[COLLECTIVE_REDUCTION_COUNT] = {
#define X(name, text) [COLLECTIVE_##name] = text,
    COLLECTIVE_REDUCTION_LIST(X)
#undef X
};

typedef struct call {
    collective_group *group;
    message header;
    const char *in;
    char *out;
    int64_t in_bytes, out_bytes;
    char doing[160]; /* "rank 1 of 4, all_reduce 7 (1024 F32, sum)" */
} call;

/* "all_reduce 7 (1024 F32, sum)", also for what a peer says that it calls. */
static void describe(char *to, size_t bytes, const message *m) {
    char how[32] = "";
    const bool known = m->collective < COLLECTIVE_COUNT && m->dtype < QUERN_DTYPE_COUNT &&
                       m->reduction < COLLECTIVE_REDUCTION_COUNT;
    if (!known) {
        snprintf(to, bytes, "a collective that does not exist");
        return;
    }
    if (m->collective == COLLECTIVE_barrier) {
        snprintf(to, bytes, "barrier %llu", (unsigned long long)m->sequence);
        return;
    }
    if (m->collective == COLLECTIVE_broadcast)
        snprintf(how, sizeof how, ", from rank %u", (unsigned)m->size);
    else if (m->collective != COLLECTIVE_all_gather)
        snprintf(how, sizeof how, ", %s", reductions[m->reduction]);
    snprintf(to, bytes, "%s %llu (%llu %s%s)", names[m->collective],
             (unsigned long long)m->sequence, (unsigned long long)m->count,
             quern_dtype_name((quern_dtype)m->dtype), how);
}

static bool is_root(const call *c) { return c->group->rank == 0; }

/* Rank 0: the header of every other rank is its own. */
static quern_status compare_calls(const call *c) {
    const message *own = &c->header;
    for (int32_t r = 1; r < c->group->size; r++) {
        message m;
        char theirs[128];
        QUERN_TRY(message_receive(&c->group->peers[r], &m, 0, c->doing));
        if (m.kind == MESSAGE_LEAVING)
            return quern_fail(QUERN_PEER_LOST, "%s: rank %d has left the world", c->doing, (int)r);
        if (m.kind != MESSAGE_CALL)
            return quern_fail(QUERN_PEER_LOST, "%s: rank %d sends a message of kind %u", c->doing,
                              (int)r, (unsigned)m.kind);
        describe(theirs, sizeof theirs, &m);
        if (m.collective != own->collective || m.dtype != own->dtype || m.size != own->size ||
            m.reduction != own->reduction || m.count != own->count || m.sequence != own->sequence)
            return quern_fail(QUERN_INVALID, "%s: rank %d calls %s", c->doing, (int)r, theirs);
    }
    return QUERN_OK;
}

/* What all ranks must agree on is in the header. */
static void begin(call *c, const quern_kernel_args *args, collective what, int32_t i) {
    const collective_call *a = args->attributes;
    collective_group *g = a->group;
    *c = (call){.group = g};
    c->header = (message){.kind = MESSAGE_CALL,
                          .rank = (uint32_t)g->rank,
                          .collective = (uint8_t)what,
                          .sequence = ++g->sequence};
    if (what != COLLECTIVE_barrier) {
        const quern_view *in = &args->in[i], *out = &args->out[i];
        const size_t element = quern_dtype_bytes(out->dtype);
        c->in = in->data, c->out = out->data;
        c->in_bytes = in->count * (int64_t)element, c->out_bytes = out->count * (int64_t)element;
        c->header.dtype = (uint8_t)out->dtype;
        c->header.count = (uint64_t)(what == COLLECTIVE_all_gather ? in->count : out->count);
    }
    if (what == COLLECTIVE_all_reduce || what == COLLECTIVE_reduce_scatter)
        c->header.reduction = (uint8_t)a->reduction;
    if (what == COLLECTIVE_broadcast) c->header.size = (uint32_t)a->root;
    char text[128];
    describe(text, sizeof text, &c->header);
    snprintf(c->doing, sizeof c->doing, "rank %d of %d, %s", (int)g->rank, (int)g->size, text);
}

/* Rank 0 to rank r. */
static quern_status give(const call *c, int32_t r, const char *from, size_t bytes) {
    const message m = {
        .kind = MESSAGE_PIECE, .bytes = (uint32_t)bytes, .sequence = c->header.sequence};
    return message_send(&c->group->peers[r], &m, from, c->doing);
}

static quern_status give_all(const call *c, const char *from, size_t bytes) {
    for (int32_t r = 1; r < c->group->size; r++) QUERN_TRY(give(c, r, from, bytes));
    return QUERN_OK;
}

/* What rank 0 says in the place of a result. */
static quern_status take_failure(const call *c, const message *m) {
    char words[MESSAGE_WORDS_MAX];
    if (m->kind == MESSAGE_LEAVING)
        return quern_fail(QUERN_PEER_LOST, "%s: rank 0 has left the world", c->doing);
    if (m->kind != MESSAGE_FAILED || m->code == QUERN_OK || m->code >= QUERN_STATUS_COUNT)
        return quern_fail(
            QUERN_PEER_LOST, "%s: rank 0 sends %u bytes of call %llu in a message of kind %u",
            c->doing, (unsigned)m->bytes, (unsigned long long)m->sequence, (unsigned)m->kind);
    QUERN_TRY(message_words(&c->group->peers[0], m, words, sizeof words, c->doing));
    return quern_fail((quern_status)m->code, "%s: rank 0 says: %s", c->doing, words);
}

/* Another rank, from rank 0: `bytes` of a result, or why there is none. */
static quern_status take(const call *c, char *to, size_t bytes) {
    const peer *root = &c->group->peers[0];
    message m;
    QUERN_TRY(message_receive(root, &m, COLLECTIVE_PIECE_BYTES, c->doing));
    if (m.kind == MESSAGE_PIECE && m.bytes == bytes && m.sequence == c->header.sequence)
        return peer_receive(root, to, bytes, c->doing);
    return take_failure(c, &m);
}

/* Another rank could not send to rank 0: which may have said why before it hung up. */
static quern_status hear_why(const call *c, quern_status status) {
    message m;
    bool there;
    error_text own;
    error_save(&own);
    if (message_look(&c->group->peers[0], &m, &there, MESSAGE_WORDS_MAX, c->doing) == QUERN_OK &&
        there)
        return take_failure(c, &m);
    error_restore(&own);
    return status;
}

static quern_status put(const call *c, const char *from, size_t bytes) {
    const quern_status status = peer_send(&c->group->peers[0], from, bytes, c->doing);
    return status == QUERN_OK ? QUERN_OK : hear_why(c, status);
}

static quern_status put_header(const call *c) {
    const quern_status status = message_send(&c->group->peers[0], &c->header, NULL, c->doing);
    return status == QUERN_OK ? QUERN_OK : hear_why(c, status);
}

static char *piece_of(const call *c, int32_t r) {
    return c->group->pieces + (size_t)(r - 1) * COLLECTIVE_PIECE_BYTES;
}

/* The length of the piece at `at` of `total` bytes. */
static size_t piece_at(int64_t at, int64_t total) {
    return total - at < COLLECTIVE_PIECE_BYTES ? (size_t)(total - at) : COLLECTIVE_PIECE_BYTES;
}

/* Rank 0: everybody's piece, reduced. */
static quern_status reduce_piece(const call *c, char *to, const char *own, size_t bytes) {
    const quern_dtype dtype = (quern_dtype)c->header.dtype;
    for (int32_t r = 1; r < c->group->size; r++)
        QUERN_TRY(peer_receive(&c->group->peers[r], piece_of(c, r), bytes, c->doing));
    collective_reduce(to, own, c->group->pieces, c->group->size - 1,
                      (int64_t)(bytes / quern_dtype_bytes(dtype)), dtype,
                      (collective_reduction)c->header.reduction);
    return QUERN_OK;
}

static quern_status all_reduce_piece(const call *c, int64_t at, size_t bytes) {
    if (is_root(c)) {
        QUERN_TRY(reduce_piece(c, c->out + at, c->in + at, bytes));
        return give_all(c, c->out + at, bytes);
    }
    QUERN_TRY(put(c, c->in + at, bytes));
    return take(c, c->out + at, bytes);
}

static quern_status all_reduce(const call *c) {
    for (int64_t at = 0; at < c->in_bytes; at += COLLECTIVE_PIECE_BYTES)
        QUERN_TRY(all_reduce_piece(c, at, piece_at(at, c->in_bytes)));
    return QUERN_OK;
}

/* Part `owner` at `at`: reduced by rank 0, for the owner alone. */
static quern_status reduce_scatter_piece(const call *c, int32_t owner, int64_t at, size_t bytes) {
    const char *in = c->in + owner * c->out_bytes + at;
    if (is_root(c)) {
        char *to = owner == 0 ? c->out + at : piece_of(c, 1);
        QUERN_TRY(reduce_piece(c, to, in, bytes));
        return owner == 0 ? QUERN_OK : give(c, owner, to, bytes);
    }
    QUERN_TRY(put(c, in, bytes));
    return owner == c->group->rank ? take(c, c->out + at, bytes) : QUERN_OK;
}

static quern_status reduce_scatter(const call *c) {
    for (int32_t owner = 0; owner < c->group->size; owner++)
        for (int64_t at = 0; at < c->out_bytes; at += COLLECTIVE_PIECE_BYTES)
            QUERN_TRY(reduce_scatter_piece(c, owner, at, piece_at(at, c->out_bytes)));
    return QUERN_OK;
}

/* Rank 0: the parts of all. */
static quern_status gather_parts(const call *c) {
    memmove(c->out, c->in, (size_t)c->in_bytes);
    for (int32_t r = 1; r < c->group->size; r++)
        for (int64_t at = 0; at < c->in_bytes; at += COLLECTIVE_PIECE_BYTES)
            QUERN_TRY(peer_receive(&c->group->peers[r], c->out + r * c->in_bytes + at,
                                   piece_at(at, c->in_bytes), c->doing));
    return QUERN_OK;
}

static quern_status put_all(const call *c) {
    for (int64_t at = 0; at < c->in_bytes; at += COLLECTIVE_PIECE_BYTES)
        QUERN_TRY(put(c, c->in + at, piece_at(at, c->in_bytes)));
    return QUERN_OK;
}

static quern_status all_gather(const call *c) {
    QUERN_TRY(is_root(c) ? gather_parts(c) : put_all(c));
    for (int64_t at = 0; at < c->out_bytes; at += COLLECTIVE_PIECE_BYTES) {
        const size_t bytes = piece_at(at, c->out_bytes);
        QUERN_TRY(is_root(c) ? give_all(c, c->out + at, bytes) : take(c, c->out + at, bytes));
    }
    return QUERN_OK;
}

/* Rank 0: has the piece or takes it from the root, and gives it to the rest. */
static quern_status pass_on(const call *c, int64_t at, size_t bytes) {
    const int32_t root = (int32_t)c->header.size;
    if (root == 0)
        memmove(c->out + at, c->in + at, bytes);
    else
        QUERN_TRY(peer_receive(&c->group->peers[root], c->out + at, bytes, c->doing));
    for (int32_t r = 1; r < c->group->size; r++)
        if (r != root) QUERN_TRY(give(c, r, c->out + at, bytes));
    return QUERN_OK;
}

/* The root hears from rank 0 that it is done, so that it learns of a failure as the others do. */
static quern_status broadcast(const call *c) {
    const int32_t root = (int32_t)c->header.size;
    const bool mine = root == c->group->rank;
    for (int64_t at = 0; at < c->out_bytes; at += COLLECTIVE_PIECE_BYTES) {
        const size_t bytes = piece_at(at, c->out_bytes);
        if (is_root(c))
            QUERN_TRY(pass_on(c, at, bytes));
        else
            QUERN_TRY(mine ? put(c, c->in + at, bytes) : take(c, c->out + at, bytes));
    }
    if (is_root(c)) return root != 0 ? give(c, root, NULL, 0) : QUERN_OK;
    if (!mine) return QUERN_OK;
    memmove(c->out, c->in, (size_t)c->out_bytes);
    return take(c, NULL, 0);
}

static quern_status barrier(const call *c) {
    return is_root(c) ? give_all(c, NULL, 0) : take(c, NULL, 0);
}

static quern_status run(const quern_kernel_args *args, collective what,
                        quern_status (*one)(const call *c)) {
    collective_group *g = ((const collective_call *)args->attributes)->group;
    const int32_t count = what == COLLECTIVE_barrier ? 1 : args->input_count;
    QUERN_TRY(collective_group_status(g));
    for (int32_t i = 0; i < count; i++) {
        call c;
        begin(&c, args, what, i);
        quern_status status = is_root(&c) ? compare_calls(&c) : put_header(&c);
        if (status == QUERN_OK) status = one(&c);
        if (status != QUERN_OK) return collective_group_fail(g, status);
    }
    return QUERN_OK;
}

#define X(name)                                                                                    \
    quern_status cpu_##name(const quern_kernel_args *args) {                                       \
        return run(args, COLLECTIVE_##name, name);                                                 \
    }
COLLECTIVE_LIST(X)
#undef X
