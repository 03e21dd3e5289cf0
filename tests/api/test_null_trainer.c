/* The trainer's side of the rule in quern.h: NULL is INVALID, or nothing, never a crash. */
#include "quern_test.h"

#include <quern/quern.h>

#include <math.h>
#include <string.h>

TEST_CASE(NullTrainer, gives_a_status_from_every_function) {
    double counts[4];
    int32_t count = 0;
    quern_trainer *t = NULL;
    quern_memory memory;
    quern_result result;
    const quern_status found[] = {
        quern_trainer_create(NULL, NULL),
        quern_trainer_create(&t, NULL),
        quern_trainer_create(&t, &(quern_trainer_desc){0}),
        quern_trainer_memory(NULL, NULL),
        quern_trainer_memory(&memory, NULL),
        quern_trainer_fit(NULL, &result),
        quern_trainer_step(NULL, NULL),
        quern_trainer_wait(NULL, &result),
        quern_trainer_evaluate(NULL, NULL, NULL, 0, &count),
        quern_trainer_predict(NULL, NULL, NULL, NULL, 0),
        quern_trainer_confusion(NULL, "confusion", counts, 4),
        quern_trainer_read(NULL, NULL, NULL, 0),
        quern_trainer_reset(NULL),
        quern_event_request(NULL, QUERN_REQUEST_EVALUATION),
    };
    for (size_t i = 0; i < sizeof found / sizeof found[0]; i++)
        CHECK_SAY(found[i] == QUERN_INVALID, "call %zu gives %s", i, quern_status_name(found[i]));
    CHECK(t == NULL);
}

TEST_CASE(NullTrainer, gives_nothing_where_there_is_no_status) {
    CHECK(quern_trainer_input(NULL, "x") == NULL);
    CHECK(quern_trainer_resolved(NULL) == NULL);
    CHECK(quern_trainer_parameters(NULL) == NULL);
    CHECK_TEXT(quern_trainer_device_name(NULL), "");
    CHECK(quern_trainer_planned_steps(NULL) == 0);
    int64_t step = 7, epoch = 7;
    quern_trainer_begun(NULL, NULL, NULL);
    quern_trainer_begun(NULL, &step, &epoch);
    CHECK(step == 0 && epoch == 0);
    quern_trainer_stop(NULL);
    quern_trainer_destroy(NULL);
    CHECK(isnan(quern_event_scalar(NULL, "train/loss")));
    CHECK(quern_event_fail(NULL, QUERN_IO) == QUERN_FAIL);
    const quern_metric metric = quern_metric_top_k(NULL, NULL, NULL, 3);
    CHECK(metric.value == NULL && metric.name == NULL);
}

TEST_CASE(Names, of_events_outcomes_and_reasons_are_those_of_the_tables) {
    CHECK_TEXT(quern_event_name(QUERN_EVENT_init), "init");
    CHECK_TEXT(quern_event_name(QUERN_EVENT_step_end), "step_end");
    CHECK_TEXT(quern_event_name(QUERN_EVENT_close), "close");
    for (int i = 0; i < QUERN_EVENT_COUNT; i++)
        for (int k = 0; k < i; k++)
            CHECK(strcmp(quern_event_name((quern_event_kind)i),
                         quern_event_name((quern_event_kind)k)) != 0);
    CHECK_TEXT(quern_outcome_name(QUERN_OUTCOME_APPLIED), "applied");
    for (int i = 0; i <= QUERN_OUTCOME_OVERFLOW; i++)
        for (int k = 0; k < i; k++)
            CHECK(strcmp(quern_outcome_name((quern_outcome)i),
                         quern_outcome_name((quern_outcome)k)) != 0);
    CHECK_TEXT(quern_stop_reason_name(QUERN_STOPPED_EPOCHS), "epochs");
}
