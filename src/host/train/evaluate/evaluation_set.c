/* evaluation_set.c - the sets that a fit evaluates: `valid` under the name "val", then the others.
 * Their names begin those of their scalars, so each must be told from all others. */
#include "../trainer.h"

#include <string.h>

enum { SETS_MAX = 1000, NAME_MAX_BYTES = 48 };

static quern_status check_name(const quern_trainer_desc *d, int32_t at) {
    static const char *const taken[] = {"train", "val", "epoch"};
    const char *name = d->evaluation_sets[at].name;
    if (!name || !name[0])
        return quern_fail(QUERN_INVALID, "trainer: evaluation set %d has no name", (int)at);
    if (strlen(name) > NAME_MAX_BYTES || strchr(name, '/'))
        return quern_fail(
            QUERN_INVALID,
            "trainer: the evaluation set's name %.60s has a '/' or more than %d bytes", name,
            NAME_MAX_BYTES);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (strcmp(name, taken[i]) == 0)
            return quern_fail(QUERN_INVALID, "trainer: an evaluation set cannot be named %s", name);
    for (int32_t i = 0; i < at; i++)
        if (strcmp(name, d->evaluation_sets[i].name) == 0)
            return quern_fail(QUERN_INVALID, "trainer: two evaluation sets are named %s", name);
    return QUERN_OK;
}

quern_status evaluation_sets_check(const quern_trainer_desc *d) {
    QUERN_TRY(desc_check_range("evaluation_set_count", d->evaluation_set_count, 0, SETS_MAX));
    if (d->evaluation_set_count > 0 && !d->evaluation_sets)
        return quern_fail(QUERN_INVALID, "trainer: evaluation_sets is NULL");
    for (int32_t i = 0; i < d->evaluation_set_count; i++) {
        QUERN_TRY(check_name(d, i));
        if (!d->evaluation_sets[i].dataset)
            return quern_fail(QUERN_INVALID, "trainer: the dataset of evaluation set %s is NULL",
                              d->evaluation_sets[i].name);
    }
    return QUERN_OK;
}

quern_status evaluation_sets_copy(quern_trainer *t) {
    const int32_t given = t->desc.evaluation_set_count;
    QUERN_TRY(arena_allocate(&t->memory, &t->sets, given + 1, sizeof *t->sets, "evaluation sets"));
    quern_evaluation_set *next = t->sets;
    if (t->desc.valid) *next++ = (quern_evaluation_set){"val", t->desc.valid};
    for (int32_t i = 0; i < given; i++) {
        next[i].dataset = t->desc.evaluation_sets[i].dataset;
        QUERN_TRY(arena_copy_string(&t->memory, &next[i].name, t->desc.evaluation_sets[i].name));
    }
    t->set_count = given + (t->desc.valid ? 1 : 0);
    t->desc.evaluation_sets = next;
    return QUERN_OK;
}
