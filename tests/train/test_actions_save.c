/* Every action from the events of saving and loading: only CONTINUE is legal there, a callback that
 * fails ends the run, and what was durable before stays. */
#include "quern_test.h"
#include "saved_run.h"
#include "temporary.h"

#include <stdio.h>
#include <string.h>

static saved_run before, run;

static const quern_event_kind kinds[] = {QUERN_EVENT_load_begin, QUERN_EVENT_load_end,
                                         QUERN_EVENT_save_begin, QUERN_EVENT_save_snapshot,
                                         QUERN_EVENT_save_durable};

typedef struct answer {
    quern_event_kind kind;
    quern_action action;
    int fired[QUERN_EVENT_COUNT];
    int paths; /* events that name a checkpoint */
} answer;

static quern_action act(void *self, const quern_event *e) {
    answer *a = self;
    a->paths += e->checkpoint != NULL && strstr(e->checkpoint, "/step-") != NULL;
    return a->fired[e->kind]++ == 0 && e->kind == a->kind ? a->action : QUERN_CONTINUE;
}

/* One epoch that is saved, then two more of a resumed run in which the answer is given. */
static quern_status run_with(answer *a, temporary *t) {
    CHECK(temporary_begin(t));
    saved_run_desc d = {.directory = t->path, .epochs = 1};
    const quern_status s = saved_run_whole(&before, &d);
    if (s != QUERN_OK) return s;
    d.epochs = 3;
    d.resume = true;
    d.hook = act;
    d.hook_self = a;
    return saved_run_whole(&run, &d);
}

TEST_CASE(ActionsOfSaves, each_event_fires_and_names_its_checkpoint) {
    temporary t;
    answer a = {.kind = QUERN_EVENT_COUNT};
    REQUIRE_OK(run_with(&a, &t));
    CHECK(a.fired[QUERN_EVENT_load_begin] == 1 && a.fired[QUERN_EVENT_load_end] == 1);
    CHECK(a.fired[QUERN_EVENT_save_begin] == 2 && a.fired[QUERN_EVENT_save_snapshot] == 2);
    CHECK(a.fired[QUERN_EVENT_save_durable] == 2);
    CHECK(a.paths == 4);
    temporary_end(&t);
}

static void check_refused(quern_event_kind kind, quern_action action, const char *words) {
    temporary t;
    answer a = {.kind = kind, .action = action};
    char expected[96];
    const bool loading = kind == QUERN_EVENT_load_begin || kind == QUERN_EVENT_load_end;
    snprintf(expected, sizeof expected, words, quern_event_name(kind));
    CHECK_STATUS(run_with(&a, &t), QUERN_CALLBACK);
    CHECK_ERROR_HAS("callback recorder ");
    CHECK_ERROR_HAS(expected);
    CHECK(a.fired[QUERN_EVENT_close] == 1);
    CHECK(a.fired[QUERN_EVENT_fit_end] == (loading ? 0 : 1));
    CHECK(a.fired[QUERN_EVENT_exception] == (loading ? 0 : 1));
    const saved_run_desc d = {.directory = t.path, .epochs = 3, .resume = true};
    CHECK_OK(saved_run_whole(&run, &d)); /* and the next process goes on */
    CHECK(run.result.epochs == 3);
    temporary_end(&t);
}

TEST_CASE(ActionsOfSaves, nothing_but_going_on_is_legal) {
    static const quern_action actions[] = {QUERN_STOP, QUERN_END_EPOCH, QUERN_SKIP_STEP,
                                           QUERN_SKIP_BATCH, QUERN_END_EVAL};
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 5; k++)
            check_refused(kinds[i], actions[k], "at %s, where it is not legal");
}

TEST_CASE(ActionsOfSaves, a_callback_that_fails_ends_the_run) {
    for (int i = 0; i < 5; i++) check_refused(kinds[i], QUERN_FAIL, "failed at %s");
}
