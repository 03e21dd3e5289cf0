/* state.h - what the state of a trainer is, for the files that save it and bring it back. */
#ifndef QUERN_TRAIN_STATE_H
#define QUERN_TRAIN_STATE_H

#include "../checkpoint/checkpoint.h"
#include "../checkpoint/writer.h"
#include "../trainer.h"

/* Where a tensor of the state lies while the run goes on. */
typedef struct saved_place {
    void *live;
    bool on_device;
} saved_place;

/* Every tensor of the state, as large as it gets, and every callback's bytes. The lists of
 * `content` are the ones below; no data is in them. */
typedef struct saved_state {
    checkpoint_content content;
    quern_safetensors_entry *model, *state;
    saved_place *model_places, *state_places;
    int64_t capacity;    /* of state */
    int64_t fixed_count; /* in front of the held batches' tensors, which come and go */
    checkpoint_callback *callbacks;
    void **callback_data;
} saved_state;

struct trainer_save {
    saved_state table;
    checkpoint_writer *writer; /* NULL: nothing is saved */
    void *blocks[CHECKPOINT_SLOT_MAX];
    size_t block_bytes;
    const char *configuration; /* "" where nothing is saved */
    const char *algorithms;    /* the record as of the last unit; NULL: not yet */
    int64_t saved_activity;    /* save_activity when the last snapshot was taken; -1: never */
    bool durable;              /* the last outcome */
    error_text failure;        /* why it is not */
    const char *path;          /* of the last durable one; NULL: none */
    const char *resumed;       /* NULL: the run began anew */
};

/* state.c: the table; once, when everything that it points to is where it stays. */
QUERN_MUST_CHECK quern_status state_create(quern_trainer *t);
/* Copies all of it off. No attempt is in flight. */
QUERN_MUST_CHECK quern_status state_copy(quern_trainer *t, checkpoint_snapshot *to);
/* INPUT names the tensor that a checkpoint lacks, or holds in another shape. */
QUERN_MUST_CHECK quern_status state_check(const quern_trainer *t, const quern_checkpoint *from);
/* The tensors whose names begin with `prefix`, of a checkpoint that was checked. */
QUERN_MUST_CHECK quern_status state_load(quern_trainer *t, const quern_checkpoint *from,
                                         const char *prefix);
/* What the host has counted, as it may be: INPUT names what no run can have come to. */
QUERN_MUST_CHECK quern_status state_check_counters(const quern_trainer *t);
QUERN_MUST_CHECK quern_status state_check_entry(const quern_checkpoint *from,
                                                const quern_safetensors_entry *mine);
/* What a checkpoint keeps of a callback; NULL: it had none of that name. */
const checkpoint_callback *state_find_callback(const quern_checkpoint *from, const char *name);
QUERN_MUST_CHECK quern_status state_add(saved_state *s, const quern_safetensors_entry *entry,
                                        const saved_place *place);

/* state_held.c: what they take in the table at most; into it; into a snapshot as there are now; the
 * ones that a checkpoint holds wait again. */
int64_t state_held_tensors(const quern_trainer *t);
QUERN_MUST_CHECK quern_status state_add_held(quern_trainer *t);
void state_fit_held(const quern_trainer *t, checkpoint_snapshot *to);
QUERN_MUST_CHECK quern_status state_load_held(quern_trainer *t, const quern_checkpoint *from);

#define STATE_OPTIMIZER "optimizer."
#define STATE_AVERAGE "average."
#define STATE_TRAINER "trainer."
#define STATE_CALLBACK "callback."
#define STATE_LOSS_SCALE "trainer.last.scale"
#define STATE_SCALE "trainer.learning_rate_scale"

/* data_digest.c: of some samples; of all samples of a field. False where there is none. */
bool data_digest(const quern_dataset *set, char out[DIGEST_TEXT]);
bool field_digest(const quern_dataset *set, int32_t field, char out[DIGEST_TEXT]);

/* model_digest.c */
QUERN_MUST_CHECK quern_status model_digest(const quern_trainer *t, char out[DIGEST_TEXT]);

/* configuration_text.c: whether what callbacks decide by can stand in it; it, into memory of the
 * trainer's. */
QUERN_MUST_CHECK quern_status configuration_check_settings(const quern_trainer *t);
QUERN_MUST_CHECK quern_status configuration_write(quern_trainer *t, const char **out);

/* algorithms.c: what a resumed run does otherwise than its checkpoint's record says. */
void algorithms_tell(const quern_trainer *t, const quern_checkpoint *from);

/* resume.c */
QUERN_MUST_CHECK quern_status resume_run(quern_trainer *t);

#endif
