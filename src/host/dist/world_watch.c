/* world_watch.c - waiting for work that other ranks take part in.
 *
 * A GPU's collective whose peer has died never ends, and the library that runs it may not notice.
 * So the host does not block: it looks at the event, at the library, and at the connections of the
 * rendezvous, which a dead process closes. Rank 0 sees every rank and tells the others which is
 * gone. On the CPU the data go over these connections, and the stream's thread notices itself. */
#include "world_parts.h"

#include <stdio.h>
#include <time.h>

/* The first look again is soon, the later ones are rarer: a microsecond to a millisecond. */
#define PAUSE_MIN_NS 1000L
#define PAUSE_MAX_NS 1000000L

static int64_t now_of(const world *w) { return w->host.clock.monotonic_ns(w->host.clock.self); }

/* The first failure is the one that is said from then on. */
static quern_status lose(world *w, quern_status status) {
    error_save(&w->why);
    w->lost = true;
    w->lost_status = status;
    w->backend->collectives->abort(w->group);
    for (int32_t i = 1; w->place.rank == 0 && i < w->place.size; i++)
        if (w->peers[i].handle >= 0)
            message_part(&w->peers[i], MESSAGE_FAILED, status, w->why.text);
    error_restore(&w->why);
    return status;
}

static void describe(const world *w, char *to, size_t bytes) {
    snprintf(to, bytes, "rank %d of %d, collective %lld (%s)", (int)w->place.rank,
             (int)w->place.size, (long long)w->issued, w->last != NULL ? w->last : "none yet");
}

/* What a peer whose connection is idle has said. One that left in order is not looked at again. */
static quern_status hear(peer *p, const char *doing) {
    message m;
    bool there;
    char words[MESSAGE_WORDS_MAX];
    QUERN_TRY(message_look(p, &m, &there, MESSAGE_WORDS_MAX, doing));
    if (!there) return QUERN_OK;
    if (m.kind == MESSAGE_LEAVING) {
        peer_close(p);
        return QUERN_OK;
    }
    if (m.kind != MESSAGE_FAILED || m.code == QUERN_OK || m.code >= QUERN_STATUS_COUNT)
        return quern_fail(QUERN_PEER_LOST, "%s: %s sends a message of kind %u", doing, p->name,
                          (unsigned)m.kind);
    QUERN_TRY(message_words(p, &m, words, sizeof words, doing));
    return quern_fail((quern_status)m.code, "%s: %s says: %s", doing, p->name, words);
}

static quern_status look_at_peers(world *w) {
    char doing[96];
    if (w->backend->collectives->uses_peers) return QUERN_OK;
    describe(w, doing, sizeof doing);
    for (int32_t i = 0; i < w->place.size; i++)
        if (w->peers[i].handle >= 0) QUERN_TRY(hear(&w->peers[i], doing));
    return QUERN_OK;
}

quern_status world_status(world *w) {
    if (w->lost) {
        error_restore(&w->why);
        return w->lost_status;
    }
    quern_status status = look_at_peers(w);
    if (status == QUERN_OK) status = w->backend->collectives->status(w->group);
    return status == QUERN_OK ? QUERN_OK : lose(w, status);
}

void world_abort(world *w) {
    atomic_store(&w->aborted, true);
    w->backend->collectives->abort(w->group);
}

static quern_status give_up(world *w) {
    char doing[96];
    describe(w, doing, sizeof doing);
    return lose(w, quern_fail(QUERN_PEER_LOST, "%s: nothing happened for %.3g s", doing,
                              (double)w->timeout_ns / 1e9));
}

static quern_status look(world *w, backend_event *event, int64_t deadline, bool *done) {
    QUERN_TRY(w->backend->event_query(event, done));
    if (*done) return QUERN_OK;
    QUERN_TRY(world_status(w));
    return now_of(w) < deadline ? QUERN_OK : give_up(w);
}

quern_status world_watch(world *w, backend_event *event) {
    const int64_t deadline = now_of(w) + w->timeout_ns;
    long pause = PAUSE_MIN_NS;
    bool done = w->place.size == 1 || w->backend->collectives->uses_peers;
    while (!done) {
        QUERN_TRY(look(w, event, deadline, &done));
        if (done) break;
        nanosleep(&(struct timespec){.tv_nsec = pause}, NULL);
        if (pause < PAUSE_MAX_NS) pause *= 2;
    }
    return QUERN_OK;
}
