/* Windows over data of every kind: streams with and without an end that is known, sets shorter than
 * a window, and none at all. */
#include "quern_test.h"
#include "window_world.h"

#include <string.h>

typedef struct flow {
    const world *w;
    int64_t at, length; /* length -1: without end */
} flow;

static int64_t flow_length(void *self) {
    (void)self;
    return -1;
}

static int32_t flow_fields(void *self, const quern_field **out) {
    static const quern_field fields[] = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                         {.name = "label", .dtype = QUERN_I32}};
    (void)self;
    *out = fields;
    return 2;
}

static quern_status flow_next(void *self, void *const *data, bool *end) {
    flow *f = self;
    *end = f->at == f->length;
    if (*end) return QUERN_OK;
    const int64_t sample = f->at++ % WORLD_SAMPLES_MAX;
    memcpy(data[0], f->w->train_x[sample], sizeof f->w->train_x[sample]);
    memcpy(data[1], &f->w->train_label[sample], sizeof f->w->train_label[sample]);
    return QUERN_OK;
}

static quern_status flow_rewind(void *self) {
    ((flow *)self)->at = 0;
    return QUERN_OK;
}

static quern_action stop_at(void *self, const quern_event *event) {
    int64_t *left = self;
    (void)event;
    return --*left == 0 ? QUERN_STOP : QUERN_CONTINUE;
}

typedef struct flow_run {
    int64_t length, epochs, steps, stop_after; /* fetch_ends; 0: not */
    bool rewinds;
    quern_tail tail;
    int32_t workers;
    int fits;
    quern_result result;
    double state[WINDOW_STATE_MAX];
} flow_run;

/* Windows of 3 batches of 4. */
static quern_status flow_train(flow_run *r) {
    world w;
    memset(r->state, 0, sizeof r->state);
    const quern_dataset_type type = {.name = "flow",
                                     .length = flow_length,
                                     .fields = flow_fields,
                                     .next = flow_next,
                                     .rewind = r->rewinds ? flow_rewind : NULL};
    quern_dataset *dataset = NULL;
    int64_t left = r->stop_after;
    const quern_callback callback = {.name = "stop", .self = &left, .fetch_end = stop_at};
    quern_status s = world_open(&w, &(world_desc){.valid_length = -1});
    if (s != QUERN_OK) return s;
    flow f = {.w = &w, .length = r->length};
    s = quern_dataset_custom(&dataset, w.device, &type, &f);
    quern_trainer_desc desc = world_with(&w, &callback, r->stop_after > 0);
    desc.train = dataset;
    desc.accumulate = 3;
    desc.tail = r->tail;
    desc.epoch_count = r->epochs;
    desc.step_limit = r->steps;
    desc.worker_count = r->workers;
    if (s == QUERN_OK) s = quern_trainer_create(&w.trainer, &desc);
    for (int i = 0; s == QUERN_OK && i < (r->fits ? r->fits : 1); i++)
        s = quern_trainer_fit(w.trainer, &r->result);
    if (w.trainer) window_state(&w, r->state);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_dataset_destroy(dataset);
    world_close(&w);
    return s;
}

static void check_flow(flow_run r, int64_t steps, int64_t samples, quern_stop_reason reason) {
    for (r.workers = 0; r.workers <= 2; r.workers += 2) {
        CHECK_OK(flow_train(&r));
        CHECK_SAY(r.result.step == steps && r.result.samples == samples, "%d updates of %d samples",
                  (int)r.result.step, (int)r.result.samples);
        CHECK_TEXT(quern_stop_reason_name(r.result.reason), quern_stop_reason_name(reason));
    }
}

TEST_CASE(WindowData, streams_meet_the_tails_where_they_end) {
    check_flow((flow_run){.length = 30, .epochs = 1}, 3, 30, QUERN_STOPPED_EPOCHS);
    check_flow((flow_run){.length = 30, .epochs = 1, .tail = QUERN_TAIL_DROP}, 2, 24,
               QUERN_STOPPED_EPOCHS);
    check_flow((flow_run){.length = 30, .epochs = 1, .tail = QUERN_TAIL_CARRY}, 2, 24,
               QUERN_STOPPED_EPOCHS);
    check_flow((flow_run){.length = 30, .epochs = 3, .tail = QUERN_TAIL_CARRY, .rewinds = true}, 8,
               90, QUERN_STOPPED_EPOCHS);
    check_flow((flow_run){.length = 30, .epochs = 3}, 3, 30, QUERN_STOPPED_DATA);
    check_flow((flow_run){.length = -1, .steps = 7}, 7, 84, QUERN_STOPPED_STEPS);
}

/* What was fetched for a window that a stop left open is not lost to a stream. */
TEST_CASE(WindowData, a_stop_inside_a_window_loses_nothing_of_a_stream) {
    for (int64_t stop_after = 1; stop_after <= 6; stop_after++) {
        flow_run whole = {.length = 43, .epochs = 1};
        flow_run cut = {.length = 43, .epochs = 1, .stop_after = stop_after, .fits = 2};
        CHECK_OK(flow_train(&whole));
        CHECK_OK(flow_train(&cut));
        CHECK(whole.result.samples == 43 && cut.result.samples == 43);
        CHECK(whole.result.step == 4 && cut.result.step == 4);
        CHECK(memcmp(whole.state, cut.state, sizeof whole.state) == 0);
    }
}

TEST_CASE(WindowData, a_stream_too_short_for_a_window_and_one_without_samples) {
    flow_run r = {.length = 8, .steps = 2, .tail = QUERN_TAIL_DROP, .rewinds = true};
    CHECK_STATUS(flow_train(&r), QUERN_INPUT);
    CHECK_ERROR_HAS("gives 2 batches an epoch: less than a window of 3");
    r = (flow_run){.length = 0, .epochs = 2, .tail = QUERN_TAIL_CARRY, .rewinds = true};
    CHECK_STATUS(flow_train(&r), QUERN_INPUT);
    CHECK_ERROR_HAS("has no samples");
    check_flow((flow_run){.length = 3, .epochs = 4, .tail = QUERN_TAIL_CARRY, .rewinds = true}, 1,
               9, QUERN_STOPPED_EPOCHS);
    check_flow((flow_run){.length = 3, .epochs = 4, .rewinds = true}, 4, 12, QUERN_STOPPED_EPOCHS);
}
