/* The writing thread: outcomes in order, back-pressure, failures handed over, destruction at any
 * time, nothing allocated after create. */
#include "fixture.h"
#include "host/train/checkpoint/checkpoint.h"
#include "host/train/checkpoint/writer.h"
#include "quern_test.h"
#include "support/fault_host.h"
#include "support/temporary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static quern_status create_writer(checkpoint_writer **out, const quern_host *host,
                                  const char *directory, int32_t slots) {
    fixture f;
    return checkpoint_writer_create(
        out, &(checkpoint_writer_desc){.store = {.host = host,
                                                 .directory = directory,
                                                 .largest = fixture_content(&f, 0, 0),
                                                 .retention = {.keep_last = 2}},
                                       .slot_count = slots});
}

static void fill(checkpoint_snapshot *s, int64_t step, int64_t serial) {
    fixture f;
    const checkpoint_content *from = fixture_content(&f, step, serial);
    for (int64_t i = 0; i < from->model_count; i++)
        memcpy(s->model_data[i], from->model[i].data, from->model[i].bytes);
    for (int64_t i = 0; i < from->state_count; i++)
        if (from->state[i].bytes > 0)
            memcpy(s->state_data[i], from->state[i].data, from->state[i].bytes);
    memcpy(s->callback_data[0], from->callbacks[0].data, from->callbacks[0].bytes);
    s->content.counters = from->counters;
    s->content.metric_value = from->metric_value;
}

/* Reserves as the training thread does; outcomes that come meanwhile are counted and must be OK. */
static void save(checkpoint_writer *w, int64_t step, int64_t serial, int32_t *durable) {
    checkpoint_snapshot *snapshot = NULL;
    while (snapshot == NULL) {
        checkpoint_outcome o;
        while (checkpoint_writer_poll(w, &o)) {
            CHECK_OK(o.status);
            CHECK(o.write_ns >= 0);
            (*durable)++;
        }
        checkpoint_writer_reserve(w, &snapshot);
    }
    fill(snapshot, step, serial);
    checkpoint_writer_submit(w, snapshot);
}

static void save_twenty(int32_t slots) {
    static fault_host faults;
    temporary t;
    checkpoint_writer *w = NULL;
    checkpoint_outcome o;
    int32_t durable = 0;
    REQUIRE(temporary_begin(&t));
    fault_host_begin(&faults, NULL);
    REQUIRE_OK(create_writer(&w, &faults.host, temporary_join(&t, "c"), slots));
    const int64_t before = faults.count[FAULT_ALLOCATE];
    for (int64_t i = 1; i <= 20; i++) save(w, i, i, &durable);
    checkpoint_writer_wait(w);
    while (checkpoint_writer_poll(w, &o)) {
        CHECK_OK(o.status);
        durable++;
        if (durable == 20) {
            CHECK(o.step == 20);
            CHECK_HAS(o.path, "/c/step-20");
        }
    }
    CHECK(durable == 20);
    CHECK(faults.count[FAULT_ALLOCATE] == before);
    checkpoint_writer_destroy(w);
    CHECK(fixture_latest(&faults.host, temporary_join(&t, "c"), NULL) == 20);
    CHECK(fixture_leftovers(&faults.host, temporary_join(&t, "c")) == 0);
    CHECK(fault_host_live(&faults) == 0);
    temporary_end(&t);
}

TEST_CASE(CheckpointWriter, one_slot_saves_in_order) { save_twenty(1); }
TEST_CASE(CheckpointWriter, two_slots_save_in_order) { save_twenty(2); }

TEST_CASE(CheckpointWriter, a_failure_is_handed_over_with_its_sentence) {
    static fault_host faults;
    temporary t;
    checkpoint_writer *w = NULL;
    checkpoint_snapshot *snapshot = NULL, *none = NULL;
    checkpoint_outcome o;
    REQUIRE(temporary_begin(&t));
    fault_host_begin(&faults, NULL);
    REQUIRE_OK(create_writer(&w, &faults.host, temporary_join(&t, "c"), 1));
    faults.fault[FAULT_SYNC] = (fault){.at = faults.count[FAULT_SYNC] + 3, .error = EIO};
    checkpoint_writer_reserve(w, &snapshot);
    REQUIRE(snapshot != NULL);
    fill(snapshot, 10, 1);
    checkpoint_writer_submit(w, snapshot);
    checkpoint_writer_reserve(w, &none); /* waits, then says that an outcome is to be polled */
    CHECK(none == NULL);
    REQUIRE(checkpoint_writer_poll(w, &o));
    CHECK_STATUS(o.status, QUERN_IO);
    CHECK_HAS(o.reason.text, "syncing");
    CHECK_HAS(o.reason.text, "step-10.partial/manifest.json: Input/output error");
    CHECK(!checkpoint_writer_poll(w, &o));
    checkpoint_writer_reserve(w, &snapshot);
    REQUIRE(snapshot != NULL);
    checkpoint_writer_drop(w, snapshot);
    checkpoint_writer_destroy(w);
    CHECK(fault_host_live(&faults) == 0);
    temporary_end(&t);
}

TEST_CASE(CheckpointWriter, destroyed_at_any_time_it_writes_what_was_submitted) {
    static fault_host faults;
    for (int submitted = 0; submitted <= 2; submitted++) {
        temporary t;
        checkpoint_writer *w = NULL;
        checkpoint_snapshot *snapshot = NULL;
        REQUIRE(temporary_begin(&t));
        fault_host_begin(&faults, NULL);
        REQUIRE_OK(create_writer(&w, &faults.host, temporary_join(&t, "c"), 2));
        for (int i = 1; i <= submitted; i++) {
            checkpoint_writer_reserve(w, &snapshot);
            if (snapshot == NULL) break; /* the first is written already: to be polled */
            fill(snapshot, i, i);
            checkpoint_writer_submit(w, snapshot);
        }
        if (submitted == 0) checkpoint_writer_reserve(w, &snapshot); /* and never given back */
        checkpoint_writer_destroy(w);
        CHECK(fixture_latest(&faults.host, temporary_join(&t, "c"), NULL) == submitted);
        CHECK(fault_host_live(&faults) == 0);
        temporary_end(&t);
    }
}

TEST_CASE(CheckpointWriter, slots_are_apart) {
    temporary t;
    checkpoint_writer *w = NULL;
    checkpoint_snapshot *a = NULL, *b = NULL;
    const quern_host host = quern_host_default();
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(create_writer(&w, &host, temporary_join(&t, "c"), 2));
    checkpoint_writer_reserve(w, &a);
    checkpoint_writer_reserve(w, &b);
    REQUIRE(a != NULL && b != NULL && a != b);
    fill(a, 5, 5);
    fill(b, 6, 6);
    checkpoint_writer_submit(w, a);
    checkpoint_writer_submit(w, b);
    checkpoint_writer_destroy(w);
    CHECK(fixture_latest(&host, temporary_join(&t, "c"), NULL) == 6);
    CHECK(fixture_damaged(&host, temporary_join(&t, "c")) == 0);
    temporary_end(&t);
}

TEST_CASE(CheckpointWriter, smaller_contents_fit) {
    temporary t;
    checkpoint_writer *w = NULL;
    checkpoint_snapshot *snapshot = NULL;
    checkpoint_outcome o;
    quern_checkpoint *checkpoint = NULL;
    const quern_host host = quern_host_default();
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(create_writer(&w, &host, temporary_join(&t, "c"), 1));
    checkpoint_writer_reserve(w, &snapshot);
    REQUIRE(snapshot != NULL);
    fill(snapshot, 3, 3);
    snapshot->content.state_count = 2;
    snapshot->content.callback_count = 1;
    snapshot->callbacks[0].bytes = 2;
    snapshot->state[1].dim[0] = 1; /* of two */
    snapshot->state[1].bytes = 8;
    checkpoint_writer_submit(w, snapshot);
    checkpoint_writer_wait(w);
    REQUIRE(checkpoint_writer_poll(w, &o));
    REQUIRE_OK(o.status);
    REQUIRE_OK(checkpoint_open(&checkpoint, &host, o.path));
    CHECK(checkpoint->manifest.content.state_count == 2);
    CHECK(checkpoint->manifest.content.callback_count == 1);
    CHECK(checkpoint->manifest.content.callbacks[0].bytes == 2);
    quern_checkpoint_destroy(checkpoint);
    checkpoint_writer_destroy(w);
    temporary_end(&t);
}

TEST_CASE(CheckpointWriter, every_allocation_of_create_may_fail) {
    static fault_host faults;
    temporary t;
    REQUIRE(temporary_begin(&t));
    int64_t n = 1;
    for (; n < 200; n++) {
        checkpoint_writer *w = NULL;
        fault_host_begin(&faults, NULL);
        faults.fault[FAULT_ALLOCATE] = (fault){.at = n};
        const quern_status status = create_writer(&w, &faults.host, temporary_join(&t, "c"), 2);
        checkpoint_writer_destroy(w);
        REQUIRE(fault_host_live(&faults) == 0);
        if (!fault_host_fired(&faults, FAULT_ALLOCATE)) {
            CHECK_OK(status);
            break;
        }
        CHECK_STATUS(status, QUERN_HOST_MEMORY);
        CHECK(w == NULL);
    }
    CHECK(n > 5 && n < 200);
    temporary_end(&t);
}

TEST_CASE(CheckpointWriter, impossible_descriptions_are_refused) {
    temporary t;
    checkpoint_writer *w = NULL;
    const quern_host host = quern_host_default();
    REQUIRE(temporary_begin(&t));
    CHECK_STATUS(create_writer(&w, &host, temporary_join(&t, "c"), 0), QUERN_INVALID);
    CHECK_STATUS(create_writer(&w, &host, temporary_join(&t, "c"), 3), QUERN_INVALID);
    REQUIRE(temporary_write(&t, "file", "x", 1));
    CHECK_STATUS(create_writer(&w, &host, temporary_join(&t, "file"), 1), QUERN_INPUT);
    CHECK_STATUS(create_writer(&w, &host, temporary_join(&t, "file/c"), 1), QUERN_IO);
    CHECK_ERROR_HAS("file/c: Not a directory");
    temporary_end(&t);
}

/* A record of algorithms grows when a program is compiled later. */
TEST_CASE(CheckpointWriter, a_longer_text_is_written_once_there_is_room_for_it) {
    static char algorithms[4001];
    temporary t;
    checkpoint_writer *w = NULL;
    checkpoint_outcome o;
    int32_t durable = 0;
    REQUIRE(temporary_begin(&t));
    const quern_host host = quern_host_default();
    REQUIRE_OK(create_writer(&w, &host, t.path, 1));
    save(w, 1, 0, &durable); /* under way while room is made */
    memset(algorithms, '\n', sizeof algorithms - 1);
    fixture f;
    checkpoint_content larger = *fixture_content(&f, 0, 0);
    larger.algorithms = algorithms;
    REQUIRE_OK(checkpoint_writer_admit(w, &larger));
    checkpoint_snapshot *snapshot = NULL;
    CHECK(checkpoint_writer_poll(w, &o) && o.status == QUERN_OK);
    checkpoint_writer_reserve(w, &snapshot);
    REQUIRE(snapshot != NULL);
    fill(snapshot, 2, 0);
    snapshot->content.algorithms = algorithms;
    checkpoint_writer_submit(w, snapshot);
    checkpoint_writer_wait(w);
    CHECK(checkpoint_writer_poll(w, &o) && o.status == QUERN_OK);
    quern_checkpoint *c = NULL;
    REQUIRE_OK(checkpoint_latest(&c, &host, t.path, NULL, NULL));
    CHECK_TEXT(quern_checkpoint_info_get(c).algorithms, algorithms);
    quern_checkpoint_destroy(c);
    checkpoint_writer_destroy(w);
    temporary_end(&t);
}
