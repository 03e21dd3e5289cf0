/* A run's trace as a file in Chrome's format, read back as JSON. */
#include "quern_test.h"

#include "support/fault_host.h"
#include "support/temporary.h"
#include "train/world.h"
#include <quern/profile.h>

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <string.h>

typedef struct seen {
    int begins, ends, ops, steps, deepest;
    double op_bytes, op_time; /* sums */
} seen;

/* Each thread's ranges close in the order in which they nest. */
static void read_trace(const char *path, seen *out) {
    json_error_t error;
    json_t *events = json_load_file(path, 0, &error);
    memset(out, 0, sizeof *out);
    REQUIRE_SAY(json_is_array(events), "%s", error.text);
    double open[8][64] = {{0}};
    int depth[8] = {0};
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *e = json_array_get(events, i);
        const char *phase = json_string_value(json_object_get(e, "ph"));
        const double at = json_number_value(json_object_get(e, "ts"));
        const json_int_t thread = json_integer_value(json_object_get(e, "tid"));
        REQUIRE(phase != NULL && at >= 0 && thread >= 1 && thread < 8);
        if (*phase == 'B') {
            const char *category = json_string_value(json_object_get(e, "cat"));
            const char *name = json_string_value(json_object_get(e, "name"));
            REQUIRE(category != NULL && name != NULL && depth[thread] < 64);
            const bool op = strcmp(category, "forward") == 0 || strcmp(category, "backward") == 0;
            out->begins++;
            out->ops += op;
            out->steps += strcmp(name, "step") == 0;
            if (op)
                out->op_bytes += (double)json_integer_value(
                    json_object_get(json_object_get(e, "args"), "value"));
            open[thread][depth[thread]++] = op ? at : -1;
            if (depth[thread] > out->deepest) out->deepest = depth[thread];
        } else {
            REQUIRE(*phase == 'E' && depth[thread] > 0);
            out->ends++;
            const double since = open[thread][--depth[thread]];
            if (since >= 0) out->op_time += at - since;
        }
    }
    json_decref(events);
}

static quern_status train(quern_trace_file *file, bool trace_ops, float *weights) {
    world w;
    const world_desc desc = {
        .valid_length = -1, .trace_ops = trace_ops, .host = {.trace = quern_trace_file_sink(file)}};
    quern_status status = world_open(&w, &desc);
    if (status != QUERN_OK) return status;
    w.desc.step_limit = 3;
    quern_result result;
    status = quern_trainer_create(&w.trainer, &w.desc);
    if (status == QUERN_OK) status = quern_trainer_fit(w.trainer, &result);
    world_weights(&w, weights, 128);
    world_close(&w);
    return status;
}

TEST_CASE(Trace, of_ops_has_each_ops_time_and_bytes_and_changes_no_bit) {
    temporary folder;
    REQUIRE(temporary_begin(&folder));
    float traced[128] = {0}, plain[128] = {0};
    seen ops, steps;
    for (int trace_ops = 0; trace_ops < 2; trace_ops++) {
        quern_trace_file *file;
        const char *path = temporary_join(&folder, "trace.json");
        REQUIRE_OK(quern_trace_file_create(&file, path, NULL));
        CHECK_OK(train(file, trace_ops, trace_ops ? traced : plain));
        CHECK_OK(quern_trace_file_close(file));
        quern_trace_file_destroy(file);
        read_trace(path, trace_ops ? &ops : &steps);
    }
    CHECK(ops.begins == ops.ends && steps.begins == steps.ends);
    CHECK(ops.steps == 3 && steps.steps == 3);
    CHECK(ops.ops % 3 == 0 && ops.ops >= 3 * 6); /* of every step; a recorded one shows them once */
    CHECK(steps.ops > 0 && steps.ops < ops.ops);
    CHECK(ops.deepest >= 2);
    CHECK(ops.op_time > 0);
    CHECK(ops.op_bytes > 3 * 8 * 4 * 4);
    CHECK(memcmp(traced, plain, sizeof traced) == 0);
    temporary_end(&folder);
}

static void *name_things(void *sink) {
    quern_trace_sink *s = sink;
    for (int i = 0; i < 2000; i++) {
        s->begin(s->self, "data", "a \"quoted\" name\n", i);
        s->end(s->self);
    }
    return NULL;
}

TEST_CASE(Trace, several_threads_and_strange_names_make_a_file_that_reads_back) {
    temporary folder;
    REQUIRE(temporary_begin(&folder));
    const char *path = temporary_join(&folder, "trace.json");
    quern_trace_file *file;
    REQUIRE_OK(quern_trace_file_create(&file, path, NULL));
    quern_trace_sink sink = quern_trace_file_sink(file);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) REQUIRE(pthread_create(&threads[i], NULL, name_things, &sink) == 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    static char long_name[2000];
    memset(long_name, 'x', sizeof long_name - 1);
    sink.begin(sink.self, "data", long_name, 1);
    sink.end(sink.self);
    CHECK_OK(quern_trace_file_close(file));
    quern_trace_file_destroy(file);
    seen all;
    read_trace(path, &all);
    CHECK(all.begins == 6001 && all.ends == 6001);
    temporary_end(&folder);
}

TEST_CASE(Trace, a_file_that_cannot_be_made_or_written_is_said) {
    temporary folder;
    REQUIRE(temporary_begin(&folder));
    quern_trace_file *file;
    CHECK_STATUS(quern_trace_file_create(&file, "/no/such/folder/trace.json", NULL), QUERN_IO);
    CHECK_ERROR_HAS("/no/such/folder/trace.json");
    CHECK_STATUS(quern_trace_file_create(NULL, "x", NULL), QUERN_INVALID);
    fault_host faults;
    fault_host_begin(&faults, NULL);
    faults.fault[FAULT_WRITE] = (fault){.at = 1, .error = ENOSPC, .for_ever = true};
    const char *path = temporary_join(&folder, "trace.json");
    REQUIRE_OK(quern_trace_file_create(&file, path, &faults.host));
    quern_trace_sink sink = quern_trace_file_sink(file);
    (void)name_things(&sink);
    CHECK_STATUS(quern_trace_file_close(file), QUERN_IO);
    CHECK_ERROR_HAS("No space left");
    quern_trace_file_destroy(file);
    CHECK(fault_host_live(&faults) == 0);
    faults.fault[FAULT_ALLOCATE] = (fault){.at = 1 + atomic_load(&faults.count[FAULT_ALLOCATE])};
    CHECK_STATUS(quern_trace_file_create(&file, path, &faults.host), QUERN_HOST_MEMORY);
    temporary_end(&folder);
}
