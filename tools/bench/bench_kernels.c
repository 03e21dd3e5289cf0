/* bench_kernels - Quern's side of a kernel benchmark: one subject at one shape, its kernels issued
 * to the backend as a program would issue them, recorded once and replayed.
 *
 *   bench_kernels SUBJECT DIM,DIM,… [--dtype F32|BF16|F16] [--device cuda|cpu] [--tune]
 *                 [--nondeterministic]
 *
 * Subjects and their dims: the table at the end. Prints {"ready": …} and then answers lines from
 * standard input, one JSON object each, so that tools/gpu/bench.py can take turns:
 *   turns N    N turns, one after another     sample    what they computed, for the numerical gate
 *   run T      replays for T seconds or more: seconds a turn. A turn is forward and backward.
 *   end        ends
 * Inputs are a function of (position, salt) that bench.py repeats bit for bit. A window is closed
 * by one wait, whose microseconds are in it; it is never shorter than a launch. */
#include "kernel_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAMPLES = 4096, RECORDED_TURNS = 10 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static quern_status record_turns(bench *b) {
    QUERN_TRY(b->backend->capture_begin(b->stream));
    for (int i = 0; i < RECORDED_TURNS; i++) QUERN_TRY(bench_turn(b));
    return b->backend->capture_end(b->stream, &b->turns);
}

static quern_status launch_and_wait(bench *b, int64_t launches, double *seconds) {
    const double begin = now();
    for (int64_t i = 0; i < launches; i++)
        QUERN_TRY(b->backend->capture_launch(b->turns, b->stream));
    QUERN_TRY(b->backend->stream_wait(b->stream));
    *seconds = now() - begin;
    return QUERN_OK;
}

static quern_status command_run(bench *b, double wanted) {
    double seconds = 0;
    if (b->turns == NULL) {
        QUERN_TRY(record_turns(b));
        QUERN_TRY(launch_and_wait(b, 1, &seconds)); /* the first uploads it */
    }
    QUERN_TRY(launch_and_wait(b, 1, &seconds));
    const int64_t launches = seconds < wanted ? (int64_t)(wanted / seconds) + 1 : 1;
    QUERN_TRY(launch_and_wait(b, launches, &seconds));
    printf("{\"seconds\": %.9g, \"turns\": %lld}\n", seconds / (double)(launches * RECORDED_TURNS),
           (long long)(launches * RECORDED_TURNS));
    return QUERN_OK;
}

static quern_status command_turns(bench *b, double count) {
    for (int64_t i = 0; i < (int64_t)count; i++) QUERN_TRY(bench_turn(b));
    QUERN_TRY(b->backend->stream_wait(b->stream));
    printf("{\"turns\": %lld}\n", (long long)count);
    return QUERN_OK;
}

/* Elements spread evenly over the tensor, as F32. */
static quern_status print_samples(bench *b, const tensor *t) {
    static float values[SAMPLES];
    const int64_t count = t->view.count < SAMPLES ? t->view.count : SAMPLES;
    const size_t bytes = quern_dtype_bytes(t->view.dtype);
    tensor picked, real;
    QUERN_TRY(tensor_make(b, &picked, t->view.dtype, 1, &count));
    QUERN_TRY(tensor_make(b, &real, QUERN_F32, 1, &count));
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = i * (t->view.count / count);
        QUERN_TRY(b->backend->copy(b->stream, (char *)picked.view.data + (size_t)i * bytes,
                                   (const char *)t->view.data + (size_t)at * bytes, bytes));
    }
    QUERN_TRY(bench_cast(b, &picked.view, &real.view));
    QUERN_TRY(b->backend->copy(b->stream, values, real.view.data, (size_t)count * sizeof *values));
    QUERN_TRY(b->backend->stream_wait(b->stream));
    printf("\"%s\": [", t->name);
    for (int64_t i = 0; i < count; i++) printf("%s%.9g", i == 0 ? "" : ", ", (double)values[i]);
    printf("]");
    return QUERN_OK;
}

static quern_status command_sample(bench *b) {
    const char *before = "";
    printf("{");
    for (int32_t i = 0; i < b->tensor_count; i++) {
        if (b->tensors[i].name == NULL) continue;
        printf("%s", before);
        QUERN_TRY(print_samples(b, &b->tensors[i]));
        before = ", ";
    }
    printf("}\n");
    return QUERN_OK;
}

static quern_status answer(bench *b, char *line, bool *ends) {
    char *number = strchr(line, ' ');
    const double value = number != NULL ? strtod(number, NULL) : 0;
    if (strncmp(line, "turns", 5) == 0) return command_turns(b, value);
    if (strncmp(line, "run", 3) == 0) return command_run(b, value);
    if (strncmp(line, "sample", 6) == 0) return command_sample(b);
    *ends = true;
    printf("{\"ended\": true}\n");
    return QUERN_OK;
}

static quern_status serve(bench *b, const options *o) {
    char line[256];
    bool ends = false;
    QUERN_TRY(bench_open(b, o));
    printf("{\"ready\": true, \"device\": \"%s\"}\n", b->device->info.name);
    while (!ends && fflush(stdout) == 0 && fgets(line, sizeof line, stdin) != NULL)
        QUERN_TRY(answer(b, line, &ends));
    return QUERN_OK;
}

static bool read_dims(options *o, const char *text) {
    char *end = NULL;
    for (o->rank = 0; o->rank < BENCH_DIMS; text = end + 1) {
        o->dim[o->rank++] = strtoll(text, &end, 10);
        if (end == text || o->dim[o->rank - 1] < 1) return false;
        if (*end == '\0') return true;
        if (*end != ',') return false;
    }
    return false;
}

static bool read_options(options *o, int argc, char **argv) {
    *o = (options){.dtype = QUERN_F32, .kind = QUERN_DEVICE_CUDA};
    if (argc < 3 || !read_dims(o, argv[2])) return false;
    o->subject = argv[1];
    for (int i = 3; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--tune") == 0) {
            o->tune = true;
        } else if (strcmp(argv[i], "--nondeterministic") == 0) {
            o->nondeterministic = true;
        } else if (strcmp(argv[i], "--device") == 0) {
            o->kind = strcmp(next, "cpu") == 0 ? QUERN_DEVICE_CPU : QUERN_DEVICE_CUDA;
            i++;
        } else if (strcmp(argv[i], "--dtype") == 0) {
            o->dtype = strcmp(next, "BF16") == 0  ? QUERN_BF16
                       : strcmp(next, "F16") == 0 ? QUERN_F16
                                                  : QUERN_F32;
            i++;
        } else {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv) {
    options o;
    bench b = {0};
    if (!read_options(&o, argc, argv)) {
        fprintf(stderr, "usage: bench_kernels SUBJECT DIM,DIM,... [--dtype F32|BF16|F16] "
                        "[--device cuda|cpu] [--tune] [--nondeterministic]\n");
        return 2;
    }
    const quern_status status = serve(&b, &o);
    if (status != QUERN_OK) printf("{\"error\": \"%s\"}\n", quern_error());
    bench_close(&b);
    return status == QUERN_OK ? 0 : 1;
}
