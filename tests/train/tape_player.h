/* tape_player.h - runs in which one event is answered, and their tapes as text. */
#ifndef QUERN_TESTS_TRAIN_TAPE_PLAYER_H
#define QUERN_TESTS_TRAIN_TAPE_PLAYER_H

#include "world.h"

/* How the run is provoked that the answer falls into. */
typedef enum provocation { NOTHING, STOPPED, POISONED } provocation;

/* The nth event of `kind` is answered with `action`. COUNT: none is. */
typedef struct answer {
    quern_event_kind kind;
    int nth;
    quern_action action;
    provocation provoked;
    uint32_t again_at; /* events (1 << kind) that are answered so from then on, each time */
} answer;

/* "event step/attempts epoch.batch, …" */
typedef struct tape_text {
    char text[8192];
    size_t length;
} tape_text;

typedef struct player {
    answer answer;
    int fired;
    quern_tape *tape;
    int64_t answered_at; /* entry of the tape; -1: never */
    quern_status status; /* of create or fit */
    char sentence[256];
    quern_result result;
    tape_text before, from; /* the answered event */
} player;

/* Creates a trainer of `desc`, fits once and destroys it; what came of it is in *p. `inside`: the
 * tape holds the events inside the step. */
void play_fit(player *p, world *w, quern_trainer_desc desc, bool inside);
/* What is behind the second `name` of the text, or behind the only one, is left out. */
void tape_cut(tape_text *t, const char *name);

#endif
