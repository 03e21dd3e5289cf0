/* tensorboard.c - event files: each record is u64 length, masked crc32c of the length, a packed
 * Event, masked crc32c of it; all little-endian, each record one raw write.
 *
 * Messages are packed by protobuf-c into a buffer that init has made large enough, so nothing is
 * allocated while training. The schema stores scalars as float: a value is rounded once, NaN and
 * infinities stay what they are. */
#include "../../base/file.h"
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../device/device.h"
#include "tensorboard.pb-c.h"
#include <quern/callbacks.h>
#include <quern/train.h>

#include <inttypes.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    PATH_BYTES = 4096,
    HEAD_BYTES = 12,  /* length and its checksum */
    FRAME_BYTES = 16, /* and that of the message */
    EVENT_BYTES = 64, /* of a packed Event without its values; also one with a file version */
    VALUE_BYTES = 40, /* of a packed value beside its tag */
    NAME_TRIES = 1000,
};
static const char epoch_prefix[] = "epoch/";

struct quern_tensorboard {
    const quern_host *host;
    file_writer writer;
    bool restart_told;
    bool used;                                                /* something was logged */
    int64_t start;                                            /* to be told before; 0: nothing */
    int64_t last_step;                                        /* whose update was applied */
    int64_t record_bytes, tag_bytes, value_count, list_count; /* capacities */
    uint8_t *record;
    char *tags;
    Tensorboard__Summary__Value *values, **list;
    char path[PATH_BYTES];
};

/* Castagnoli's polynomial; the library's function leaves both inversions to its caller. The mask
 * keeps checksums of data that holds checksums apart (TFRecord). */
static uint32_t masked_checksum(uint8_t *data, size_t bytes) {
    const uint32_t crc = ~crc32_iscsi(data, (int)bytes, ~UINT32_C(0));
    return (crc >> 15 | crc << 17) + UINT32_C(0xA282EAD8);
}

static void store(uint8_t *to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> 8 * i);
}

static quern_status event_write(quern_tensorboard *t, Tensorboard__Event *event) {
    event->wall_time = 1e-9 * (double)t->host->clock.wall_ns(t->host->clock.self);
    const size_t bytes = tensorboard__event__get_packed_size(event);
    if (bytes + FRAME_BYTES > (size_t)t->record_bytes || bytes > INT_MAX)
        return quern_fail(QUERN_INTERNAL, "a record for %s is longer than planned", t->path);
    store(t->record, bytes, 8);
    store(t->record + 8, masked_checksum(t->record, 8), 4);
    tensorboard__event__pack(event, t->record + HEAD_BYTES);
    store(t->record + HEAD_BYTES + bytes, masked_checksum(t->record + HEAD_BYTES, bytes), 4);
    return file_writer_write(&t->writer, t->record, bytes + FRAME_BYTES);
}

/* The part of a file name that says on which machine; what is no letter or digit becomes _. */
static void host_name(char *out, size_t bytes) {
    if (gethostname(out, bytes) != 0 || !out[0]) snprintf(out, bytes, "localhost");
    out[bytes - 1] = '\0';
    for (char *c = out; *c; c++) {
        const bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                           (*c >= '0' && *c <= '9') || *c == '-' || *c == '.';
        if (!plain) *c = '_';
    }
}

/* A second file of the same process and second gets a number behind its name. */
static quern_status path_make(quern_tensorboard *t, const char *directory) {
    const quern_files *files = &t->host->files;
    const int64_t seconds = t->host->clock.wall_ns(t->host->clock.self) / 1000000000;
    char machine[128], suffix[16] = "";
    host_name(machine, sizeof machine);
    for (int i = 1; i <= NAME_TRIES; i++) {
        quern_file_info info;
        const int length =
            snprintf(t->path, sizeof t->path, "%s/events.out.tfevents.%" PRId64 ".%s.%ld%s",
                     directory, seconds, machine, (long)getpid(), suffix);
        if (length < 0 || (size_t)length >= sizeof t->path)
            return quern_fail(QUERN_INVALID, "TensorBoard: directory is longer than %d bytes",
                              PATH_BYTES);
        if (files->info(files->self, t->path, &info) != 0) return QUERN_OK;
        snprintf(suffix, sizeof suffix, ".%d", i);
    }
    return quern_fail(QUERN_IO, "%s: exists, as do the %d names after it", t->path, NAME_TRIES);
}

static quern_status file_begin(quern_tensorboard *t, const char *directory) {
    char version[] = "brain.Event:2";
    Tensorboard__Event event = TENSORBOARD__EVENT__INIT;
    event.what_case = TENSORBOARD__EVENT__WHAT_FILE_VERSION;
    event.file_version = version;
    QUERN_TRY(memory_grow(t->host, &t->record, &t->record_bytes, 0, EVENT_BYTES + FRAME_BYTES, 1,
                          "a TensorBoard record"));
    QUERN_TRY(file_make_directories(t->host, directory));
    QUERN_TRY(path_make(t, directory));
    QUERN_TRY(file_writer_open(&t->writer, t->host, t->path, QUERN_FILE_CREATE_NEW));
    return event_write(t, &event);
}

quern_status quern_tensorboard_create(quern_tensorboard **out, quern_device *device,
                                      const char *directory) {
    quern_tensorboard *t = NULL;
    *out = NULL;
    if (!directory || !directory[0])
        return quern_fail(QUERN_INVALID, "TensorBoard: directory is missing");
    QUERN_TRY(memory_allocate(&device->host, &t, 1, sizeof *t, "TensorBoard"));
    t->host = &device->host;
    t->writer.file = -1;
    const quern_status status = file_begin(t, directory);
    if (status == QUERN_OK) {
        *out = t;
        return QUERN_OK;
    }
    error_text text;
    error_save(&text);
    quern_tensorboard_destroy(t);
    error_restore(&text);
    return status;
}

/* init names every scalar that will ever come. */
static quern_status reserve(quern_tensorboard *t, const quern_event *event) {
    const int32_t count = event->scalar_count;
    int64_t tag_bytes = 0;
    for (int32_t i = 0; i < count; i++)
        tag_bytes += (int64_t)(strlen(event->scalars[i].name) + sizeof epoch_prefix);
    const int64_t record_bytes = tag_bytes + EVENT_BYTES + FRAME_BYTES + VALUE_BYTES * count;
    QUERN_TRY(memory_grow(t->host, &t->record, &t->record_bytes, 0, record_bytes, 1,
                          "a TensorBoard record"));
    QUERN_TRY(memory_grow(t->host, &t->tags, &t->tag_bytes, 0, tag_bytes, 1, "tags"));
    QUERN_TRY(memory_grow(t->host, &t->values, &t->value_count, 0, count, sizeof *t->values,
                          "TensorBoard values"));
    return memory_grow(t->host, &t->list, &t->list_count, 0, count, sizeof *t->list,
                       "TensorBoard values");
}

static quern_action answer(const quern_event *event, quern_status status) {
    return status == QUERN_OK ? QUERN_CONTINUE : quern_event_fail(event, status);
}

static quern_action begin(void *self, const quern_event *event) {
    return answer(event, reserve(self, event));
}

/* A run that goes on from a checkpoint takes back what an earlier process had logged behind it:
 * TensorBoard drops every record from the step of a START on. */
static quern_status start_write(quern_tensorboard *t, int64_t step) {
    Tensorboard__SessionLog start = TENSORBOARD__SESSION_LOG__INIT;
    Tensorboard__Event event = TENSORBOARD__EVENT__INIT;
    start.status = TENSORBOARD__SESSION_LOG__SESSION_STATUS__START;
    event.step = step;
    event.what_case = TENSORBOARD__EVENT__WHAT_SESSION_LOG;
    event.session_log = &start;
    t->used = true;
    return event_write(t, &event);
}

/* Told in front of the first scalars: a run that was over already logs nothing. */
static quern_action fit_begin(void *self, const quern_event *at) {
    quern_tensorboard *t = self;
    const bool goes_on = at->step > 0 || quern_trainer_resumed(at->trainer) != NULL;
    if (!t->restart_told && goes_on) t->start = at->step + 1;
    t->restart_told = true;
    return QUERN_CONTINUE;
}

/* So does one that has rolled back: an update comes a second time. */
static quern_action update_end(void *self, const quern_event *at) {
    quern_tensorboard *t = self;
    if (at->outcome != QUERN_OUTCOME_APPLIED) return QUERN_CONTINUE;
    const bool again = at->step <= t->last_step;
    t->last_step = at->step;
    return again ? answer(at, start_write(t, at->step)) : QUERN_CONTINUE;
}

static quern_status scalars_write(quern_tensorboard *t, const quern_event *at) {
    QUERN_ENSURE(at->scalar_count <= t->value_count && at->scalar_count <= t->list_count);
    const char *prefix = at->kind == QUERN_EVENT_epoch_end ? epoch_prefix : "";
    Tensorboard__Summary summary = TENSORBOARD__SUMMARY__INIT;
    Tensorboard__Event event = TENSORBOARD__EVENT__INIT;
    size_t used = 0;
    for (int32_t i = 0; i < at->scalar_count; i++) {
        char *tag = t->tags + used;
        const size_t room = (size_t)t->tag_bytes - used;
        const int length = snprintf(tag, room, "%s%s", prefix, at->scalars[i].name);
        QUERN_ENSURE(length >= 0 && (size_t)length < room);
        used += (size_t)length + 1;
        Tensorboard__Summary__Value *value = t->list[i] = &t->values[i];
        tensorboard__summary__value__init(value);
        value->tag = tag;
        value->value_case = TENSORBOARD__SUMMARY__VALUE__VALUE_SIMPLE_VALUE;
        value->simple_value = (float)at->scalars[i].value;
    }
    summary.n_value = (size_t)at->scalar_count;
    summary.value = t->list;
    event.step = at->step;
    event.what_case = TENSORBOARD__EVENT__WHAT_SUMMARY;
    event.summary = &summary;
    return event_write(t, &event);
}

static quern_action write_scalars(void *self, const quern_event *event) {
    quern_tensorboard *t = self;
    quern_status status = t->start > 0 ? start_write(t, t->start) : QUERN_OK;
    t->start = 0;
    t->used = true;
    if (status == QUERN_OK) status = scalars_write(t, event);
    return answer(event, status);
}

quern_callback quern_tensorboard_callback(quern_tensorboard *tensorboard) {
    return (quern_callback){.name = "tensorboard",
                            .band = QUERN_BAND_LOGGER,
                            .self = tensorboard,
                            .init = begin,
                            .fit_begin = fit_begin,
                            .update_end = update_end,
                            .log = write_scalars,
                            .eval_end = write_scalars,
                            .epoch_end = write_scalars};
}

const char *quern_tensorboard_path(const quern_tensorboard *tensorboard) {
    return tensorboard->path;
}

void quern_tensorboard_destroy(quern_tensorboard *t) {
    if (!t) return;
    /* every write has been checked; there is nobody left to tell */
    const bool empty = t->writer.file >= 0 && !t->used;
    const quern_status closed = file_writer_close(&t->writer);
    const quern_status removed = empty ? file_remove(t->host, t->path) : QUERN_OK;
    (void)closed, (void)removed;
    memory_release(t->host, t->list, t->list_count, sizeof *t->list);
    memory_release(t->host, t->values, t->value_count, sizeof *t->values);
    memory_release(t->host, t->tags, t->tag_bytes, 1);
    memory_release(t->host, t->record, t->record_bytes, 1);
    memory_release(t->host, t, 1, sizeof *t);
}
