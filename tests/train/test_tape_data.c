/* Golden tapes of what the data does: an epoch that is ended inside a window, with each tail; sets
 * that are endless, empty, short, or end without having said where. */
#include "quern_test.h"
#include "tape_player.h"

#include <stdio.h>
#include <string.h>

typedef struct window_row {
    quern_tail tail;
    quern_event_kind kind;
    int nth;
    int64_t updates;
    const char *tape;
} window_row;

#define ROW(tail, event, nth, updates) QUERN_TAIL_##tail, QUERN_EVENT_##event, nth, updates

/* 2 epochs of 5 batches in windows of two, the first of them ended early; up to where the second
 * one's first window begins. micro_end is not on the tape: those begin with the step_begin. */
static const window_row window_rows[] = {
    {ROW(FLUSH, fetch_begin, 2, 4),
     "fetch_begin 0/0 0.1, step_begin 0/0 0.0, update_end 1/1 0.0, step_end 1/1 0.0, "
     "log 1/1 0.0, epoch_end 1/1 0.1, epoch_begin 1/1 1.0, fetch_begin 1/1 1.0, "
     "fetch_end 1/1 1.0, fetch_begin 1/1 1.1, fetch_end 1/1 1.1, step_begin 1/1 1.0"},
    {ROW(CARRY, fetch_begin, 2, 3),
     "fetch_begin 0/0 0.1, epoch_end 0/0 0.1, epoch_begin 0/0 1.0, fetch_begin 0/0 1.0, "
     "fetch_end 0/0 1.0, step_begin 0/0 1.0"},
    {ROW(DROP, fetch_begin, 2, 2),
     "fetch_begin 0/0 0.1, epoch_end 0/0 0.1, epoch_begin 0/0 1.0, fetch_begin 0/0 1.0, "
     "fetch_end 0/0 1.0, fetch_begin 0/0 1.1, fetch_end 0/0 1.1, step_begin 0/0 1.0"},
    {ROW(FLUSH, fetch_end, 1, 4),
     "fetch_end 0/0 0.0, step_begin 0/0 0.0, update_end 1/1 0.0, step_end 1/1 0.0, "
     "log 1/1 0.0, epoch_end 1/1 0.1, epoch_begin 1/1 1.0, fetch_begin 1/1 1.0, "
     "fetch_end 1/1 1.0, fetch_begin 1/1 1.1, fetch_end 1/1 1.1, step_begin 1/1 1.0"},
    {ROW(CARRY, fetch_end, 1, 3),
     "fetch_end 0/0 0.0, epoch_end 0/0 0.1, epoch_begin 0/0 1.0, fetch_begin 0/0 1.0, "
     "fetch_end 0/0 1.0, step_begin 0/0 1.0"},
    {ROW(DROP, fetch_end, 1, 2),
     "fetch_end 0/0 0.0, epoch_end 0/0 0.1, epoch_begin 0/0 1.0, fetch_begin 0/0 1.0, "
     "fetch_end 0/0 1.0, fetch_begin 0/0 1.1, fetch_end 0/0 1.1, step_begin 0/0 1.0"},
    {ROW(FLUSH, fetch_end, 3, 5),
     "fetch_end 0/1 0.2, update_end 1/1 0.0, step_end 1/1 0.0, step_begin 1/1 0.2, "
     "update_end 2/2 0.2, step_end 2/2 0.2, log 2/2 0.2, epoch_end 2/2 0.3, "
     "epoch_begin 2/2 1.0, fetch_begin 2/2 1.0, fetch_end 2/2 1.0, fetch_begin 2/2 1.1, "
     "fetch_end 2/2 1.1, step_begin 2/2 1.0"},
    {ROW(CARRY, fetch_end, 3, 4),
     "fetch_end 0/1 0.2, update_end 1/1 0.0, step_end 1/1 0.0, log 1/1 0.0, "
     "epoch_end 1/1 0.3, epoch_begin 1/1 1.0, fetch_begin 1/1 1.0, fetch_end 1/1 1.0, "
     "step_begin 1/1 1.0"},
    {ROW(DROP, fetch_end, 3, 3),
     "fetch_end 0/1 0.2, update_end 1/1 0.0, step_end 1/1 0.0, log 1/1 0.0, "
     "epoch_end 1/1 0.3, epoch_begin 1/1 1.0, fetch_begin 1/1 1.0, fetch_end 1/1 1.0, "
     "fetch_begin 1/1 1.1, fetch_end 1/1 1.1, step_begin 1/1 1.0"},
    {ROW(FLUSH, micro_end, 1, 4),
     "step_begin 0/0 0.0, update_end 1/1 0.0, step_end 1/1 0.0, log 1/1 0.0, "
     "epoch_end 1/1 0.2, epoch_begin 1/1 1.0, fetch_begin 1/1 1.0, fetch_end 1/1 1.0, "
     "fetch_begin 1/1 1.1, fetch_end 1/1 1.1, step_begin 1/1 1.0"},
    {ROW(CARRY, micro_end, 1, 3),
     "step_begin 0/0 0.0, update_end 1/1 0.0, step_end 1/1 0.0, log 1/1 0.0, "
     "epoch_end 1/1 0.2, epoch_begin 1/1 1.0, fetch_begin 1/1 1.0, fetch_end 1/1 1.0, "
     "fetch_begin 1/1 1.1, fetch_end 1/1 1.1, step_begin 1/1 1.0"},
    {ROW(DROP, micro_end, 1, 3),
     "step_begin 0/0 0.0, update_end 1/1 0.0, step_end 1/1 0.0, log 1/1 0.0, "
     "epoch_end 1/1 0.2, epoch_begin 1/1 1.0, fetch_begin 1/1 1.0, fetch_end 1/1 1.0, "
     "fetch_begin 1/1 1.1, fetch_end 1/1 1.1, step_begin 1/1 1.0"},
};

TEST_CASE(TapeData, end_epoch_inside_a_window_meets_its_tail) {
    static player p;
    for (size_t i = 0; i < sizeof window_rows / sizeof *window_rows; i++) {
        const window_row *r = &window_rows[i];
        world w;
        p = (player){.answer = {r->kind, r->nth, QUERN_END_EPOCH, NOTHING, 0}};
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 20, .valid_length = -1}));
        w.desc.epoch_count = 2;
        w.desc.accumulate = 2;
        w.desc.tail = r->tail;
        play_fit(&p, &w, w.desc, false);
        CHECK_OK(p.status);
        CHECK(p.result.reason == QUERN_STOPPED_EPOCHS && p.result.epochs == 2);
        CHECK_SAY(p.result.step == r->updates && p.result.attempts == r->updates,
                  "row %d: %d updates", (int)i, (int)p.result.step);
        /* behind the epoch at hand, up to where the next one's first window begins */
        char *next = strstr(p.from.text, "epoch_begin");
        char *first = next ? strstr(next, "step_begin") : NULL;
        REQUIRE(first != NULL);
        if (strchr(first, ',')) *strchr(first, ',') = 0;
        CHECK_TEXT(p.from.text, r->tape);
        world_close(&w);
    }
}

/* Samples without an end, or as many as there are left. */
typedef struct stream {
    int64_t left, length;
} stream;

static int64_t stream_length(void *self) {
    (void)self;
    return -1;
}

static int32_t stream_fields(void *self, const quern_field **out) {
    static const quern_field fields[] = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                         {.name = "label", .dtype = QUERN_I32}};
    (void)self;
    *out = fields;
    return 2;
}

static quern_status stream_next(void *self, void *const *data, bool *end) {
    stream *s = self;
    *end = s->left-- == 0;
    if (*end) return QUERN_OK;
    memset(data[0], 0, WORLD_FEATURES * sizeof(float));
    *(int32_t *)data[1] = (int32_t)((uint64_t)s->left % WORLD_CLASSES);
    return QUERN_OK;
}

static quern_status stream_rewind(void *self) {
    stream *s = self;
    s->left = s->length;
    return QUERN_OK;
}

typedef struct data_row {
    int64_t length; /* of the stream; -1: endless */
    bool rewinds;
    int64_t epochs, steps, samples; /* limits */
    answer answer;
    quern_status status;
    const char *reason, *sentence;
    const char *tape;
} data_row;

#define UNANSWERED                                                                                 \
    { QUERN_EVENT_COUNT, 0, QUERN_CONTINUE, NOTHING, 0 }

#define AT_THIRD_BATCH                                                                             \
    { QUERN_EVENT_fetch_end, 3, QUERN_STOP, NOTHING, 0 }
#define BY_REQUEST                                                                                 \
    { QUERN_EVENT_COUNT, 0, QUERN_CONTINUE, STOPPED, 0 }

/* Batches of 4. */
static const data_row data_rows[] = {
    /* endless: a limit of updates, of samples, a callback's stop, a request */
    {-1, false, 0, 3, 0, UNANSWERED, QUERN_OK, "steps", "",
     "init 0/0 0.0, fit_begin 0/0 0.0, epoch_begin 0/0 0.0, fetch_begin 0/0 0.0, "
     "fetch_end 0/0 0.0, step_begin 0/0 0.0, fetch_begin 0/1 0.1, fetch_end 0/1 0.1, "
     "step_begin 0/1 0.1, fetch_begin 0/2 0.2, fetch_end 0/2 0.2, step_begin 0/2 0.2, "
     "update_end 1/1 0.0, step_end 1/1 0.0, update_end 2/2 0.1, step_end 2/2 0.1, "
     "update_end 3/3 0.2, step_end 3/3 0.2, log 3/3 0.2, fit_end 3/3 0.2, close 3/3 0.2"},
    {-1, true, 0, 0, 7, UNANSWERED, QUERN_OK, "samples", "",
     "init 0/0 0.0, fit_begin 0/0 0.0, epoch_begin 0/0 0.0, fetch_begin 0/0 0.0, "
     "fetch_end 0/0 0.0, step_begin 0/0 0.0, fetch_begin 0/1 0.1, fetch_end 0/1 0.1, "
     "step_begin 0/1 0.1, update_end 1/1 0.0, step_end 1/1 0.0, update_end 2/2 0.1, "
     "step_end 2/2 0.1, log 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {-1, false, 1, 0, 0, AT_THIRD_BATCH, QUERN_OK, "callback", "",
     "fetch_end 0/2 0.2, stop_requested 0/0 0.0, step_begin 0/2 0.2, update_end 1/1 0.0, "
     "step_end 1/1 0.0, update_end 2/2 0.1, step_end 2/2 0.1, update_end 3/3 0.2, "
     "step_end 3/3 0.2, log 3/3 0.2, fit_end 3/3 0.2, close 3/3 0.2"},
    {-1, false, 1, 0, 0, BY_REQUEST, QUERN_OK, "request", "",
     "init 0/0 0.0, fit_begin 0/0 0.0, epoch_begin 0/0 0.0, fetch_begin 0/0 0.0, "
     "fetch_end 0/0 0.0, step_begin 0/0 0.0, fetch_begin 0/1 0.1, fetch_end 0/1 0.1, "
     "step_begin 0/1 0.1, fetch_begin 0/2 0.2, fetch_end 0/2 0.2, step_begin 0/2 0.2, "
     "update_end 1/1 0.0, step_end 1/1 0.0, stop_requested 1/1 0.0, update_end 2/2 0.1, "
     "step_end 2/2 0.1, update_end 3/3 0.2, step_end 3/3 0.2, log 3/3 0.2, fit_end 3/3 0.2, "
     "close 3/3 0.2"},
    /* empty */
    {0, true, 2, 0, 0, UNANSWERED, QUERN_INPUT, "failure", "the training set has no samples",
     "init 0/0 0.0, fit_begin 0/0 0.0, epoch_begin 0/0 0.0, fetch_begin 0/0 0.0, "
     "exception 0/0 0.0, fit_end 0/0 0.0, close 0/0 0.0"},
    /* shorter than a batch */
    {2, true, 2, 0, 0, UNANSWERED, QUERN_OK, "epochs", "",
     "init 0/0 0.0, fit_begin 0/0 0.0, epoch_begin 0/0 0.0, fetch_begin 0/0 0.0, "
     "fetch_end 0/0 0.0, step_begin 0/0 0.0, fetch_begin 0/1 0.1, update_end 1/1 0.0, "
     "step_end 1/1 0.0, log 1/1 0.0, epoch_end 1/1 0.1, epoch_begin 1/1 1.0, "
     "fetch_begin 1/1 1.0, fetch_end 1/1 1.0, step_begin 1/1 1.0, fetch_begin 1/2 1.1, "
     "update_end 2/2 1.0, step_end 2/2 1.0, log 2/2 1.0, epoch_end 2/2 1.1, "
     "fit_end 2/2 2.0, close 2/2 2.0"},
    /* 10 samples that nobody had announced: once, and again and again */
    {10, false, 2, 0, 0, UNANSWERED, QUERN_OK, "data", "",
     "init 0/0 0.0, fit_begin 0/0 0.0, epoch_begin 0/0 0.0, fetch_begin 0/0 0.0, "
     "fetch_end 0/0 0.0, step_begin 0/0 0.0, fetch_begin 0/1 0.1, fetch_end 0/1 0.1, "
     "step_begin 0/1 0.1, fetch_begin 0/2 0.2, fetch_end 0/2 0.2, step_begin 0/2 0.2, "
     "update_end 1/1 0.0, step_end 1/1 0.0, fetch_begin 1/3 0.3, update_end 2/2 0.1, "
     "step_end 2/2 0.1, update_end 3/3 0.2, step_end 3/3 0.2, log 3/3 0.2, "
     "epoch_end 3/3 0.3, stop_requested 3/3 1.2, fit_end 3/3 1.2, close 3/3 1.2"},
    {10, true, 2, 0, 0, UNANSWERED, QUERN_OK, "epochs", "",
     "init 0/0 0.0, fit_begin 0/0 0.0, epoch_begin 0/0 0.0, fetch_begin 0/0 0.0, "
     "fetch_end 0/0 0.0, step_begin 0/0 0.0, fetch_begin 0/1 0.1, fetch_end 0/1 0.1, "
     "step_begin 0/1 0.1, fetch_begin 0/2 0.2, fetch_end 0/2 0.2, step_begin 0/2 0.2, "
     "update_end 1/1 0.0, step_end 1/1 0.0, fetch_begin 1/3 0.3, update_end 2/2 0.1, "
     "step_end 2/2 0.1, update_end 3/3 0.2, step_end 3/3 0.2, log 3/3 0.2, "
     "epoch_end 3/3 0.3, epoch_begin 3/3 1.0, fetch_begin 3/3 1.0, fetch_end 3/3 1.0, "
     "step_begin 3/3 1.0, fetch_begin 3/4 1.1, fetch_end 3/4 1.1, step_begin 3/4 1.1, "
     "fetch_begin 3/5 1.2, fetch_end 3/5 1.2, step_begin 3/5 1.2, update_end 4/4 1.0, "
     "step_end 4/4 1.0, fetch_begin 4/6 1.3, update_end 5/5 1.1, step_end 5/5 1.1, "
     "update_end 6/6 1.2, step_end 6/6 1.2, log 6/6 1.2, epoch_end 6/6 1.3, "
     "fit_end 6/6 2.2, close 6/6 2.2"},
};

static void check_data(const data_row *r, int32_t workers) {
    static player p;
    world w;
    stream s = {r->length, r->length};
    quern_dataset *set = NULL;
    const quern_dataset_type type = {.name = "stream",
                                     .length = stream_length,
                                     .fields = stream_fields,
                                     .next = stream_next,
                                     .rewind = r->rewinds ? stream_rewind : NULL};
    p = (player){.answer = r->answer};
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    REQUIRE_OK(quern_dataset_custom(&set, w.device, &type, &s));
    w.desc.train = set;
    w.desc.epoch_count = r->epochs;
    w.desc.step_limit = r->steps;
    w.desc.sample_limit = r->samples;
    w.desc.worker_count = workers;
    play_fit(&p, &w, w.desc, false);
    CHECK_STATUS(p.status, r->status);
    CHECK_TEXT(quern_stop_reason_name(p.result.reason), r->reason);
    if (r->status != QUERN_OK) CHECK_TEXT(p.sentence, r->sentence);
    CHECK_TEXT(p.from.text, r->tape);
    quern_dataset_destroy(set);
    world_close(&w);
}

TEST_CASE(TapeData, streams_that_are_endless_empty_short_or_of_no_known_length) {
    for (size_t i = 0; i < sizeof data_rows / sizeof *data_rows; i++) {
        check_data(&data_rows[i], 0);
        check_data(&data_rows[i], 1);
    }
}

/* Sets that know their length: 2 samples, with batches of 4. */
TEST_CASE(TapeData, a_short_set_is_one_batch_and_none_at_all_is_refused) {
    static player p;
    for (int drop = 0; drop < 2; drop++) {
        world w;
        p = (player){.answer = UNANSWERED};
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 2, .valid_length = -1}));
        w.desc.drop_last = drop;
        play_fit(&p, &w, w.desc, false);
        CHECK_STATUS(p.status, drop ? QUERN_INPUT : QUERN_OK);
        CHECK_TEXT(
            p.from.text,
            drop ? ""
                 : "init 0/0 0.0, fit_begin 0/0 0.0, epoch_begin 0/0 0.0, fetch_begin 0/0 0.0, "
                   "fetch_end 0/0 0.0, step_begin 0/0 0.0, update_end 1/1 0.0, step_end 1/1 0.0, "
                   "log 1/1 0.0, epoch_end 1/1 0.1, fit_end 1/1 1.0, close 1/1 1.0");
        if (drop) CHECK_HAS(p.sentence, "2 samples");
        world_close(&w);
    }
}
