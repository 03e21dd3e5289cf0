#include "tape_player.h"

#include "quern_test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void print(tape_text *out, const quern_tape *tape, int64_t first, int64_t end) {
    const quern_tape_entry *entries = NULL;
    const int64_t count = quern_tape_entries(tape, &entries);
    out->length = 0;
    out->text[0] = 0;
    for (int64_t i = first; i < count && i < end && out->length < sizeof out->text - 64; i++)
        out->length += (size_t)snprintf(
            out->text + out->length, sizeof out->text - out->length, "%s%s %d/%d %d.%d",
            i > first ? ", " : "", quern_event_name(entries[i].kind), (int)entries[i].step,
            (int)entries[i].attempts, (int)entries[i].epoch, (int)entries[i].batch);
}

static quern_action play(void *self, const quern_event *event) {
    player *p = self;
    const quern_tape_entry *entries = NULL;
    if (p->answer.provoked == STOPPED && event->kind == QUERN_EVENT_step_end && event->step == 1)
        quern_trainer_stop(event->trainer);
    if (p->answered_at >= 0 && (p->answer.again_at & UINT32_C(1) << event->kind))
        return p->answer.action;
    if (event->kind != p->answer.kind || ++p->fired != p->answer.nth) return QUERN_CONTINUE;
    p->answered_at = quern_tape_entries(p->tape, &entries) - 1;
    return p->answer.action;
}

/* Behind the tape, which so records what is answered too. */
static quern_callback player_callback(player *p) {
#define X(name, actions, text) .name = play,
    quern_callback callback = {
        .name = "player", .band = QUERN_BAND_CHECKPOINTER, .self = p, QUERN_EVENT_LIST(X)};
#undef X
    return callback;
}

void play_fit(player *p, world *w, quern_trainer_desc desc, bool inside) {
    REQUIRE_OK(quern_tape_create(&p->tape, w->device, 400, inside));
    p->answered_at = -1;
    const quern_callback callbacks[] = {quern_tape_callback(p->tape), player_callback(p)};
    desc.callbacks = callbacks;
    desc.callback_count = 2;
    if (p->answer.provoked == POISONED) w->train_x[5][0] = (float)NAN;
    p->status = quern_trainer_create(&w->trainer, &desc);
    if (p->status == QUERN_OK) p->status = quern_trainer_fit(w->trainer, &p->result);
    snprintf(p->sentence, sizeof p->sentence, "%s", quern_error());
    quern_trainer_destroy(w->trainer);
    w->trainer = NULL;
    print(&p->before, p->tape, 0, p->answered_at);
    print(&p->from, p->tape, p->answered_at < 0 ? 0 : p->answered_at, INT64_MAX);
    quern_tape_destroy(p->tape);
}

void tape_cut(tape_text *t, const char *name) {
    char *at = strstr(t->text, name);
    char *next = at ? strstr(at + 1, name) : NULL;
    char *end = at ? strchr(next ? next : at, ',') : NULL;
    if (end) *end = 0;
}
