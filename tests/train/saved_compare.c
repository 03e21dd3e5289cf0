/* saved_compare.c - what a resumed run did against the same part of the run that never stopped. */
#include "saved_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* save_durable comes when the disk is ready; the others frame a process. */
static bool is_left_out(quern_event_kind kind, bool ordered) {
    switch (kind) {
    case QUERN_EVENT_init:
    case QUERN_EVENT_load_begin:
    case QUERN_EVENT_load_end:
    case QUERN_EVENT_fit_begin:
    case QUERN_EVENT_save_durable: return true;
    case QUERN_EVENT_fetch_begin:
    case QUERN_EVENT_fetch_end:
    case QUERN_EVENT_step_begin: return !ordered;
    default: return false;
    }
}

static int64_t next_record(const saved_run *r, int64_t at, bool ordered) {
    while (at < r->record_count && is_left_out(r->records[at].kind, ordered)) at++;
    return at;
}

static bool same_record(const saved_record *a, const saved_record *b) {
    return a->kind == b->kind && a->step == b->step && a->attempts == b->attempts &&
           a->epoch == b->epoch && a->batch == b->batch && a->hash == b->hash;
}

/* Behind the last snapshot of that step and epoch: a step is saved again where its epoch ends. A
 * negative epoch is any. 0 for the run's beginning. */
static int64_t behind_save(const saved_run *r, int64_t step, int64_t epoch) {
    for (int64_t i = r->record_count; i-- > 0;)
        if (r->records[i].kind == QUERN_EVENT_save_snapshot && r->records[i].step == step &&
            (epoch < 0 || r->records[i].epoch == epoch))
            return i + 1;
    return 0;
}

static int64_t loaded_epoch(const saved_run *r) {
    for (int64_t i = 0; i < r->record_count; i++)
        if (r->records[i].kind == QUERN_EVENT_load_end) return r->records[i].epoch;
    return -1;
}

static const char *describe(char *to, size_t bytes, const saved_run *r, int64_t at) {
    const saved_record *e = &r->records[at];
    if (at >= r->record_count)
        snprintf(to, bytes, "nothing");
    else
        snprintf(to, bytes,
                 "%s of step %" PRId64 ", attempt %" PRId64 ", epoch %" PRId64 ", batch %" PRId64
                 ", values %016" PRIx64,
                 quern_event_name(e->kind), e->step, e->attempts, e->epoch, e->batch, e->hash);
    return to;
}

static const char *sample_difference(const saved_run *whole, const saved_run *resumed,
                                     int64_t from) {
    static char text[128];
    const int64_t count = (int64_t)atomic_load(&whole->samples_read) - from;
    if (whole->desc.workers > 0 || resumed->desc.workers > 0 || whole->desc.stream)
        return NULL; /* read in any order, or from the beginning again */
    if ((int64_t)atomic_load(&resumed->samples_read) != count) {
        snprintf(text, sizeof text, "%" PRId64 " samples were read, not %" PRId64,
                 (int64_t)atomic_load(&resumed->samples_read), count);
        return text;
    }
    for (int64_t i = 0; i < count; i++)
        if (whole->samples[from + i] != resumed->samples[i]) {
            snprintf(text, sizeof text, "sample %" PRId64 " is %d, not %d", i, resumed->samples[i],
                     whole->samples[from + i]);
            return text;
        }
    return NULL;
}

const char *saved_run_difference(const saved_run *whole, const saved_run *resumed, int64_t step,
                                 bool ordered) {
    static char text[640];
    const int64_t begin = behind_save(whole, step, loaded_epoch(resumed));
    int64_t a = begin, b = 0, count = 0;
    for (;; a++, b++, count++) {
        a = next_record(whole, a, ordered);
        b = next_record(resumed, b, ordered);
        if (a == whole->record_count && b == resumed->record_count) break;
        if (a < whole->record_count && b < resumed->record_count &&
            same_record(&whole->records[a], &resumed->records[b]))
            continue;
        char is[256], expected[256];
        snprintf(text, sizeof text, "event %" PRId64 " is %s, not %s", count,
                 describe(is, sizeof is, resumed, b),
                 describe(expected, sizeof expected, whole, a));
        return text;
    }
    if (strcmp(whole->digest, resumed->digest) != 0) {
        snprintf(text, sizeof text, "the digest is %s, not %s", resumed->digest, whole->digest);
        return text;
    }
    return sample_difference(whole, resumed,
                             begin > 0 ? whole->records[begin - 1].samples_read : 0);
}

const char *saved_digest(const saved_run *r) {
    static char text[33];
    quern_device *device = NULL;
    quern_checkpoint *checkpoint = NULL;
    text[0] = 0;
    quern_status s = quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU});
    if (s == QUERN_OK) s = quern_checkpoint_open(&checkpoint, device, r->checkpoint);
    if (s == QUERN_OK) s = quern_checkpoint_digest(checkpoint, text);
    quern_checkpoint_destroy(checkpoint);
    quern_device_destroy(device);
    return s == QUERN_OK ? text : "";
}

static bool copy_file(const char *from, const char *to) {
    static char buffer[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    bool good = in && out;
    for (size_t bytes = 1; good && bytes > 0;) {
        bytes = fread(buffer, 1, sizeof buffer, in);
        good = fwrite(buffer, 1, bytes, out) == bytes;
    }
    if (in) fclose(in);
    return out && fclose(out) == 0 && good;
}

bool saved_copy(const char *from, const char *to, int64_t step) {
    static const char *const names[] = {"model.safetensors", "state.safetensors", "manifest.json"};
    char source[600], target[600];
    snprintf(target, sizeof target, "%s/step-%" PRId64, to, step);
    bool good = mkdir(target, 0777) == 0;
    for (int i = 0; i < 3 && good; i++) {
        snprintf(source, sizeof source, "%s/step-%" PRId64 "/%s", from, step, names[i]);
        snprintf(target, sizeof target, "%s/step-%" PRId64 "/%s", to, step, names[i]);
        good = copy_file(source, target);
    }
    return good;
}
