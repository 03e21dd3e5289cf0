/* bench_save - what a checkpoint in the background costs the training: 8.4 million parameters with
 * AdamW, 100 MB of state, saved every 10 updates below the directory given. Prints one JSON
 * object per run.
 *
 *   step_ms      an update while nothing is being written, the median
 *   trigger_ms   the update that is followed by a save, until the next one may begin, the median
 *   copy_ms      save_begin to save_snapshot, the median: what the trigger waits for
 *   memcpy_ms    the same bytes by one memcpy right before each copy, the median
 *   beside_ms    an update while a checkpoint is being written, the median
 *   write_ms     save_snapshot to save_durable as the loop sees it, the median
 *   least_copy_ms, least_memcpy_ms   the least of both: of a shared machine the best that it gives
 *
 * Exit code 1 when the least copy takes more than LIMIT times the least memcpy, in each of three
 * runs: on a machine that is shared, one may have been hit in all of its copies. */
#include <quern/quern.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FEATURES = 1024, HIDDEN = 2048, SAMPLES = 64, BATCH = 16, EVERY = 10, SAVES = 24 };
enum { STEPS = EVERY * SAVES, RUNS = 3 };
static const double LIMIT = 1.25;

typedef struct series {
    double values[STEPS + 1];
    int count;
} series;

typedef struct bench {
    series step, trigger, copy, memory, beside, write;
    double began, saved; /* save_begin, save_snapshot */
    double last;         /* the update before, or the end of its save */
    bool writing;
    size_t bytes;
    char *from, *to;
} bench;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void need(quern_status status) {
    if (status == QUERN_OK) return;
    fprintf(stderr, "bench_save: %s\n", quern_error());
    exit(1);
}

static void add(series *s, double value) {
    if (s->count < STEPS) s->values[s->count++] = value;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Both of a series that is not empty. */
static double median(series *s) {
    qsort(s->values, (size_t)s->count, sizeof s->values[0], ascending);
    return s->values[s->count / 2];
}

static double least(series *s) {
    qsort(s->values, (size_t)s->count, sizeof s->values[0], ascending);
    return s->values[0];
}

static quern_action on_step_end(void *self, const quern_event *event) {
    bench *b = self;
    const double t = now();
    if (event->step > 1 && event->step % EVERY != 0)
        add(b->writing ? &b->beside : &b->step, t - b->last);
    b->last = event->step % EVERY != 0 ? t : b->last; /* the trigger's time goes on */
    return QUERN_CONTINUE;
}

static quern_action on_save_begin(void *self, const quern_event *event) {
    bench *b = self;
    (void)event;
    const double begin = now();
    memcpy(b->to, b->from, b->bytes);
    b->began = now();
    add(&b->memory, b->began - begin);
    b->last += b->began - begin;
    return QUERN_CONTINUE;
}

static quern_action on_save_snapshot(void *self, const quern_event *event) {
    bench *b = self;
    (void)event;
    b->saved = now();
    add(&b->copy, b->saved - b->began);
    add(&b->trigger, b->saved - b->last);
    b->last = b->saved;
    b->writing = true;
    return QUERN_CONTINUE;
}

static quern_action on_save_durable(void *self, const quern_event *event) {
    bench *b = self;
    need(event->status);
    add(&b->write, now() - b->saved);
    b->writing = false;
    return QUERN_CONTINUE;
}

static quern_tensor *network(quern_graph *g) {
    const quern_input_desc input = {.name = "x", .rank = 2, .dim = {QUERN_B, FEATURES}};
    quern_input_desc target = input;
    target.name = "y";
    quern_tensor *h = quern_input(g, &input);
    h = quern_relu(g, quern_dense(g, h, &(quern_dense_desc){.units = HIDDEN}));
    h = quern_relu(g, quern_dense(g, h, &(quern_dense_desc){.units = HIDDEN}));
    h = quern_dense(g, h, &(quern_dense_desc){.units = FEATURES});
    return quern_mse(g, h, quern_input(g, &target));
}

static void run(bench *b, const char *directory) {
    static float x[SAMPLES][FEATURES];
    quern_device *device = NULL;
    quern_dataset *data = NULL;
    quern_graph *graph = NULL;
    quern_trainer *trainer = NULL;
    quern_memory memory;
    for (int i = 0; i < SAMPLES; i++)
        for (int j = 0; j < FEATURES; j++) x[i][j] = (float)((i * 31 + j * 7) % 13) / 13;
    need(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .seed = 1}));
    need(quern_dataset_arrays(
        &data, device,
        &(quern_arrays_desc){.length = SAMPLES,
                             .field_count = 2,
                             .fields = {{.name = "x", .rank = 1, .dim = {FEATURES}},
                                        {.name = "y", .rank = 1, .dim = {FEATURES}}},
                             .data = {x, x}}));
    need(quern_graph_create(&graph, device, NULL));
    const quern_callback callback = {.name = "bench",
                                     .self = b,
                                     .step_end = on_step_end,
                                     .save_begin = on_save_begin,
                                     .save_snapshot = on_save_snapshot,
                                     .save_durable = on_save_durable};
    const quern_trainer_desc desc = {.graph = graph,
                                     .loss = network(graph),
                                     .train = data,
                                     .batch_size = BATCH,
                                     .step_limit = STEPS,
                                     .run_ahead = 1,
                                     .save = {.directory = directory, .every = EVERY},
                                     .callbacks = &callback,
                                     .callback_count = 1};
    need(quern_trainer_memory(&memory, &desc));
    b->bytes = memory.parameter_bytes + memory.optimizer_bytes;
    b->from = calloc(b->bytes, 1);
    b->to = calloc(b->bytes, 1);
    if (!b->from || !b->to) exit(1);
    memset(b->from, 1, b->bytes); /* pages of its own, as a live state has them */
    memset(b->to, 1, b->bytes);
    need(quern_trainer_create(&trainer, &desc));
    need(quern_trainer_fit(trainer, NULL));
    quern_trainer_destroy(trainer);
    quern_graph_destroy(graph);
    quern_dataset_destroy(data);
    quern_device_destroy(device);
    free(b->from);
    free(b->to);
}

/* Prints a run; whether it kept the limit. */
static bool report(bench *b) {
    const double copy = least(&b->copy), memory = least(&b->memory);
    printf("{\"state_bytes\": %zu, \"step_ms\": %.2f, \"trigger_ms\": %.2f, \"copy_ms\": %.2f, "
           "\"memcpy_ms\": %.2f, \"beside_ms\": %.2f, \"write_ms\": %.2f, "
           "\"least_copy_ms\": %.2f, \"least_memcpy_ms\": %.2f}\n",
           b->bytes, median(&b->step), median(&b->trigger), median(&b->copy), median(&b->memory),
           median(&b->beside), median(&b->write), copy, memory);
    if (copy <= LIMIT * memory) return true;
    fprintf(stderr, "bench_save: the copy takes %.2f times a memcpy, at most %g is accepted\n",
            copy / memory, LIMIT);
    return false;
}

int main(int argument_count, char **arguments) {
    static bench b;
    if (argument_count != 2) {
        fprintf(stderr, "usage: bench_save DIRECTORY\n");
        return 2;
    }
    for (int i = 0; i < RUNS; i++) {
        char directory[4096];
        snprintf(directory, sizeof directory, "%s/%d", arguments[1], i);
        b = (bench){0};
        run(&b, directory);
        if (b.copy.count < SAVES || b.write.count == 0) {
            fprintf(stderr, "bench_save: %d saves, %d durable\n", b.copy.count, b.write.count);
            return 1;
        }
        if (report(&b)) return 0;
    }
    return 1;
}
