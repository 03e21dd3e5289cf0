/* bench_train - one configuration of Quern's side of the benchmark: a model, an optimizer, a thread
 * count or a GPU; quern_trainer_fit on data in memory.
 *
 *   bench_train --model mlp|lenet [--optimizer adamw|sgd] [--threads N] [--workers N]
 *               [--data fashion-mnist|memory] [--windows N] [--seconds T] [--serve]
 *               [--batch N] [--device cpu|cuda] [--precision f32|tf32|bf16|f16] [--tune]
 *               [--nondeterministic]
 *
 * Warms up, trains N windows of at least T seconds, measures the floor and prints one JSON object.
 * With --serve it prints {"ready": …} and then answers lines from standard input, one JSON object
 * each, so that run.py and tools/gpu/bench.py can take turns between processes:
 *   train T     trains for at least T seconds     parts T    forward, and forward with backward
 *   floor T     rates of products and memory      end        the summary, and ends
 * Fashion-MNIST goes through the whole input path (shuffle, gather, u8 to float, normalisation);
 * `memory` is 1024 float samples in arrays of this program. $QUERN_BENCH_START is the monotonic
 * time at which the process was started, for the start-up time. */
#include "floor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    PIXELS = 28 * 28,
    CLASSES = 10,
    MEMORY_SAMPLES = 1024,
    FIT_STEPS = 25, /* updates in one call of fit; a window is several */
    FIT_STEPS_CUDA = 1000,
    WINDOW_MAX = 64,
};

#define TRY(expression)                                                                            \
    do {                                                                                           \
        const quern_status status_ = (expression);                                                 \
        if (status_ != QUERN_OK) return status_;                                                   \
    } while (0)

typedef struct options {
    model_kind model;
    bool sgd, from_memory, serve, tune, nondeterministic;
    int32_t threads, workers, windows, batch;
    quern_device_kind device;
    quern_precision precision;
    double seconds;
} options;

typedef struct bench {
    options options;
    quern_device *device;
    quern_dataset *data;
    quern_graph *graph;
    quern_tensor *loss;
    quern_trainer *trainer;
    products *products;
    quern_memory memory;
    quern_result result; /* of the last fit */
    float *images;
    int32_t *labels;
    double start, first_update; /* monotonic */
    double rates[WINDOW_MAX];   /* updates per second */
    int32_t rate_count;
} bench;

static quern_action first_update(void *self, const quern_event *event) {
    bench *b = self;
    if (b->first_update == 0 && event->outcome == QUERN_OUTCOME_APPLIED)
        b->first_update = clock_seconds();
    return QUERN_CONTINUE;
}

/* A pixel tells a little about its label, so that there is something to learn. */
static quern_status memory_open(bench *b) {
    b->images = malloc(sizeof *b->images * MEMORY_SAMPLES * PIXELS);
    b->labels = malloc(sizeof *b->labels * MEMORY_SAMPLES);
    if (b->images == NULL || b->labels == NULL)
        return quern_fail(QUERN_HOST_MEMORY, "no memory for %d samples", MEMORY_SAMPLES);
    uint32_t bits = 1;
    for (int64_t n = 0; n < MEMORY_SAMPLES; n++) {
        b->labels[n] = (int32_t)(n % CLASSES);
        for (int64_t i = 0; i < PIXELS; i++) {
            bits = bits * 1664525u + 1013904223u;
            b->images[n * PIXELS + i] =
                (float)(bits >> 8) * 0x1p-24f + (i % CLASSES == n % CLASSES ? 0.25f : 0.0f);
        }
    }
    return quern_dataset_arrays(
        &b->data, b->device,
        &(quern_arrays_desc){.length = MEMORY_SAMPLES,
                             .field_count = 2,
                             .fields = {{"image", QUERN_F32, 3, {1, 28, 28}, 0},
                                        {"label", QUERN_I32, 0, {0}, CLASSES}},
                             .data = {b->images, b->labels}});
}

static quern_status data_open(bench *b) {
    const char *folder = getenv("QUERN_DATA_DIR");
    if (b->options.from_memory) return memory_open(b);
    return quern_dataset_mnist(&b->data, b->device,
                               folder ? folder : "/usr/share/datasets/fashion-mnist", false);
}

static quern_status model_build(bench *b) {
    TRY(quern_graph_create(&b->graph, b->device, NULL));
    quern_tensor *x = quern_input(
        b->graph, &(quern_input_desc){.name = "image", .rank = 4, .dim = {QUERN_B, 1, 28, 28}});
    quern_tensor *y = quern_labels(b->graph, "label");
    quern_tensor *logits = b->options.model == MODEL_MLP ? quern_mlp(b->graph, x, NULL)
                                                         : quern_lenet(b->graph, x, NULL);
    b->loss = quern_softmax_cross_entropy(b->graph, logits, y, NULL);
    return quern_graph_status(b->graph);
}

static quern_status trainer_build(bench *b) {
    const quern_callback callback = {.name = "bench", .self = b, .update_end = first_update};
    const quern_transform pixels = {.field = "image",
                                    .scale = 1.0f / 255.0f,
                                    .channel_count = 1,
                                    .mean = {0.2860f},
                                    .deviation = {0.3530f}};
    const quern_trainer_desc desc = {
        .graph = b->graph,
        .loss = b->loss,
        .train = b->data,
        .transforms = &pixels,
        .transform_count = b->options.from_memory ? 0 : 1,
        .batch_size = b->options.batch,
        .precision = b->options.precision,
        .drop_last = true,
        .worker_count = b->options.workers,
        .step_limit = b->options.device == QUERN_DEVICE_CUDA ? FIT_STEPS_CUDA : FIT_STEPS,
        .optimizer = {.kind = b->options.sgd ? QUERN_OPTIMIZER_SGD : QUERN_OPTIMIZER_ADAMW,
                      .learning_rate = b->options.sgd ? 0.01 : 1e-3},
        .callbacks = &callback,
        .callback_count = 1,
    };
    TRY(quern_trainer_memory(&b->memory, &desc));
    return quern_trainer_create(&b->trainer, &desc);
}

static quern_status bench_create(bench *b) {
    const options *o = &b->options;
    const bool cuda = o->device == QUERN_DEVICE_CUDA;
    TRY(quern_device_create(&b->device,
                            &(quern_device_desc){.kind = o->device,
                                                 .thread_count = cuda ? 0 : o->threads,
                                                 .seed = 1,
                                                 .tune = cuda && o->tune,
                                                 .allow_nondeterministic = o->nondeterministic}));
    TRY(data_open(b));
    TRY(model_build(b));
    TRY(trainer_build(b));
    return quern_trainer_fit(b->trainer, &b->result);
}

static void bench_release(bench *b) {
    products_destroy(b->products);
    quern_trainer_destroy(b->trainer);
    quern_graph_destroy(b->graph);
    quern_dataset_destroy(b->data);
    quern_device_destroy(b->device);
    free(b->images);
    free(b->labels);
}

static double processor_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* host_us: of processor time, an update, with what is spent on waiting for a GPU. */
static quern_status train_window(bench *b, double seconds, double *rate, double *host_us) {
    const int64_t from = b->result.step;
    const double begin = clock_seconds(), used = processor_seconds();
    double spent = 0;
    while (spent < seconds) {
        TRY(quern_trainer_fit(b->trainer, &b->result));
        spent = clock_seconds() - begin;
    }
    *rate = (double)(b->result.step - from) / spent;
    *host_us = 1e6 * (processor_seconds() - used) / (double)(b->result.step - from);
    return QUERN_OK;
}

static quern_status command_train(bench *b, double seconds) {
    double rate = 0, host_us = 0;
    TRY(train_window(b, seconds, &rate, &host_us));
    if (b->rate_count < WINDOW_MAX) b->rates[b->rate_count++] = rate;
    printf("{\"steps_per_second\": %.3f, \"host_us\": %.3f}\n", rate, host_us);
    return QUERN_OK;
}

/* Products come into being only when they are asked for: they are no part of the memory measured
 * of a run that only trains. */
static quern_status floor_measure(bench *b, double seconds, product_rates *rates, double *copy) {
    if (b->products == NULL)
        TRY(products_create(&b->products, b->device, b->options.model, b->options.batch));
    TRY(products_measure(b->products, seconds, rates));
    *copy = copy_rate(b->options.threads, seconds);
    return QUERN_OK;
}

static quern_status command_floor(bench *b, double seconds) {
    product_rates rates;
    double copy;
    TRY(floor_measure(b, seconds, &rates, &copy));
    printf("{\"own_flops_per_second\": %.4g, \"large_flops_per_second\": %.4g, "
           "\"copy_bytes_per_second\": %.4g}\n",
           rates.own, rates.large, copy);
    return QUERN_OK;
}

/* Seconds of a forward pass, or of forward and backward, by the public program API: what remains
 * of a training step is the update and the input. */
static quern_status program_time(bench *b, quern_program *p, bool backward, double seconds,
                                 double *out) {
    const double begin = clock_seconds();
    double spent = 0;
    int64_t runs = 0;
    while (spent < seconds) {
        float loss;
        for (int i = 0; i < FIT_STEPS; i++, runs++) {
            TRY(quern_program_forward(p, runs));
            if (backward) TRY(quern_program_backward(p, false));
        }
        TRY(quern_program_read(p, b->loss, &loss, sizeof loss));
        spent = clock_seconds() - begin;
    }
    *out = spent / (double)runs;
    return QUERN_OK;
}

static quern_status parts_run(bench *b, quern_parameters *values, quern_program **program,
                              double seconds) {
    double forward, both;
    TRY(quern_program_create(program, &(quern_program_desc){.graph = b->graph,
                                                            .parameters = values,
                                                            .batch_size = b->options.batch,
                                                            .training = true,
                                                            .loss = b->loss,
                                                            .outputs = &b->loss,
                                                            .output_count = 1}));
    TRY(program_time(b, *program, false, seconds, &forward));
    TRY(program_time(b, *program, true, seconds, &both));
    printf("{\"forward_seconds\": %.4g, \"forward_backward_seconds\": %.4g}\n", forward, both);
    return QUERN_OK;
}

static quern_status command_parts(bench *b, double seconds) {
    quern_parameters *values = NULL;
    quern_program *program = NULL;
    quern_status s =
        quern_parameters_create(&values, b->graph, &(quern_parameters_desc){.gradients = true});
    if (s == QUERN_OK) s = parts_run(b, values, &program, seconds);
    quern_program_destroy(program);
    quern_parameters_destroy(values);
    return s;
}

/* The largest resident size of this program's own memory map; 0 where the system does not say. */
static long peak_resident_bytes(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kilobytes = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0) kilobytes = strtol(line + 6, NULL, 10);
    if (file != NULL) fclose(file);
    return kilobytes * 1024;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_summary(bench *b) {
    const options *o = &b->options;
    double *r = b->rates, median = 0, spread = 0;
    const int32_t n = b->rate_count;
    if (n > 0) {
        qsort(r, (size_t)n, sizeof *r, compare_doubles);
        median = (r[(n - 1) / 2] + r[n / 2]) / 2;
        spread = (r[n - 1] - r[0]) / median;
    }
    const int64_t parameters = quern_graph_parameter_elements(b->graph);
    printf("{\"side\": \"quern\", \"version\": \"%s\", \"model\": \"%s\", \"optimizer\": \"%s\", "
           "\"threads\": %d, \"workers\": %d, \"batch\": %d, \"data\": \"%s\", ",
           quern_version(), o->model == MODEL_MLP ? "mlp" : "lenet", o->sgd ? "sgd" : "adamw",
           (int)o->threads, (int)o->workers, (int)o->batch,
           o->from_memory ? "memory" : "fashion-mnist");
    printf("\"steps_per_second\": %.3f, \"spread\": %.4f, \"samples_per_second\": %.1f, "
           "\"windows\": %d, \"steps\": %lld, \"loss\": %.5f, ",
           median, spread, median * o->batch, (int)n, (long long)b->result.step,
           b->result.train_loss);
    printf("\"startup_seconds\": %.4f, \"peak_rss_bytes\": %ld, \"planned_bytes\": %zu, "
           "\"parameters\": %lld, \"step_flops\": %.6g, \"step_bytes\": %.6g",
           b->first_update - b->start, peak_resident_bytes(), b->memory.peak_bytes,
           (long long)parameters, model_flops(o->model, o->batch),
           model_bytes(parameters, sizeof(float) * PIXELS, o->batch, o->sgd ? 0 : 2));
}

static quern_status run_alone(bench *b) {
    double host_us;
    for (int32_t i = 0; i < b->options.windows; i++)
        TRY(train_window(b, b->options.seconds, &b->rates[b->rate_count++], &host_us));
    print_summary(b); /* before the floor's own memory is touched */
    product_rates rates;
    double copy;
    TRY(floor_measure(b, b->options.seconds, &rates, &copy));
    printf(", \"own_flops_per_second\": %.4g, \"large_flops_per_second\": %.4g, "
           "\"copy_bytes_per_second\": %.4g}\n",
           rates.own, rates.large, copy);
    return QUERN_OK;
}

static quern_status serve(bench *b) {
    char line[64];
    printf("{\"ready\": true}\n");
    for (;;) {
        fflush(stdout);
        if (fgets(line, sizeof line, stdin) == NULL || strncmp(line, "end", 3) == 0) break;
        char *rest = strchr(line, ' ');
        const double seconds = rest != NULL ? strtod(rest, NULL) : b->options.seconds;
        if (strncmp(line, "train", 5) == 0)
            TRY(command_train(b, seconds));
        else if (strncmp(line, "floor", 5) == 0)
            TRY(command_floor(b, seconds));
        else if (strncmp(line, "parts", 5) == 0)
            TRY(command_parts(b, seconds));
        else
            return quern_fail(QUERN_INVALID, "no such command: %s", line);
    }
    print_summary(b);
    printf("}\n");
    return QUERN_OK;
}

static bool precision_read(quern_precision *out, const char *name) {
    for (int i = 0; i < QUERN_PRECISION_COUNT; i++)
        if (strcmp(quern_precision_name((quern_precision)i), name) == 0) {
            *out = (quern_precision)i;
            return true;
        }
    return false;
}

static bool option_read(options *o, const char *name, const char *value) {
    if (strcmp(name, "--model") == 0) {
        o->model = strcmp(value, "lenet") == 0 ? MODEL_LENET : MODEL_MLP;
        return strcmp(value, "mlp") == 0 || strcmp(value, "lenet") == 0;
    }
    if (strcmp(name, "--optimizer") == 0) {
        o->sgd = strcmp(value, "sgd") == 0;
        return o->sgd || strcmp(value, "adamw") == 0;
    }
    if (strcmp(name, "--data") == 0) {
        o->from_memory = strcmp(value, "memory") == 0;
        return o->from_memory || strcmp(value, "fashion-mnist") == 0;
    }
    if (strcmp(name, "--device") == 0) {
        o->device = strcmp(value, "cuda") == 0 ? QUERN_DEVICE_CUDA : QUERN_DEVICE_CPU;
        return o->device == QUERN_DEVICE_CUDA || strcmp(value, "cpu") == 0;
    }
    if (strcmp(name, "--precision") == 0) return precision_read(&o->precision, value);
    const double number = strtod(value, NULL);
    if (strcmp(name, "--batch") == 0 && number >= 1 && number <= 60000) {
        o->batch = (int32_t)number;
        return true;
    }
    if (!(number >= 0 && number <= 60)) return false;
    if (strcmp(name, "--threads") == 0) return (o->threads = (int32_t)number) > 0;
    if (strcmp(name, "--windows") == 0) return (o->windows = (int32_t)number) > 0;
    if (strcmp(name, "--workers") == 0) return (o->workers = (int32_t)number) >= 0;
    if (strcmp(name, "--seconds") == 0) return (o->seconds = number) > 0;
    return false;
}

static bool options_read(options *o, int argc, char **argv) {
    *o = (options){
        .threads = 1, .windows = 5, .seconds = 1, .batch = 128, .device = QUERN_DEVICE_CPU};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--serve") == 0)
            o->serve = true;
        else if (strcmp(argv[i], "--tune") == 0)
            o->tune = true;
        else if (strcmp(argv[i], "--nondeterministic") == 0)
            o->nondeterministic = true;
        else if (i + 1 >= argc || !option_read(o, argv[i], argv[i + 1]))
            return false;
        else
            i++;
    }
    return true;
}

int main(int argc, char **argv) {
    const char *start = getenv("QUERN_BENCH_START");
    bench b = {.start = start != NULL ? strtod(start, NULL) : clock_seconds()};
    if (!options_read(&b.options, argc, argv)) {
        fprintf(stderr, "usage: bench_train [--model mlp|lenet] [--optimizer adamw|sgd] "
                        "[--threads N] [--data fashion-mnist|memory] [--windows N] "
                        "[--seconds T] [--workers N] [--serve] [--batch N] "
                        "[--device cpu|cuda] [--precision f32|tf32|bf16|f16] [--tune] "
                        "[--nondeterministic]\n");
        return 2;
    }
    quern_status s = bench_create(&b);
    if (s == QUERN_OK) s = b.options.serve ? serve(&b) : run_alone(&b);
    if (s == QUERN_OK && !isfinite(b.result.train_loss))
        s = quern_fail(QUERN_NOT_FINITE, "the loss is not finite");
    if (s != QUERN_OK) fprintf(stderr, "bench_train: %s\n", quern_error());
    bench_release(&b);
    return quern_status_exit_code(s);
}
