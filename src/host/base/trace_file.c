/* trace_file.c - a trace sink that writes Chrome's trace event format: an array of begin and end
 * events, times in microseconds, which chrome://tracing and Perfetto open. A viewer also takes a
 * file that a crash left without its last bracket.
 *
 * Lines gather in a buffer of fixed size under one lock; nothing is allocated after creation. The
 * first failure of the file sticks, and closing returns it. */
#include "file.h"
#include "host.h"
#include "memory.h"
#include "report.h"
#include "text.h"
#include <quern/profile.h>

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

enum { BUFFER_BYTES = 1 << 16, LINE_BYTES = 1024, THREADS_MAX = 256 };

struct quern_trace_file {
    quern_host host;
    pthread_mutex_t lock;
    file_writer writer;
    int64_t start_ns;
    pthread_t threads[THREADS_MAX]; /* number i + 1 in the file; the last stands for all others */
    int32_t thread_count;
    bool any;
    size_t length;
    char buffer[BUFFER_BYTES];
    char path[];
};

static void flush(quern_trace_file *f) {
    if (f->writer.status == QUERN_OK && f->length > 0)
        (void)!(file_writer_write(&f->writer, f->buffer, f->length) == QUERN_OK);
    f->length = 0;
}

static void append(quern_trace_file *f, const text *line) {
    if (f->length + line->length > BUFFER_BYTES) flush(f);
    memcpy(f->buffer + f->length, line->data, line->length);
    f->length += line->length;
}

static int32_t thread_number(quern_trace_file *f) {
    const pthread_t self = pthread_self();
    for (int32_t i = 0; i < f->thread_count; i++)
        if (pthread_equal(f->threads[i], self)) return i + 1;
    if (f->thread_count == THREADS_MAX) return THREADS_MAX;
    f->threads[f->thread_count++] = self;
    return f->thread_count;
}

/* Phase, time, process and thread of an event: what begin and end have in common. */
static void line_begin(quern_trace_file *f, text *line, char phase, int64_t ns) {
    text_add(line, "%s{\"ph\": \"%c\", \"ts\": %" PRId64 ".%03d, \"pid\": 1, \"tid\": %d",
             f->any ? ",\n" : "\n", phase, ns / 1000, (int)(ns % 1000), (int)thread_number(f));
    f->any = true;
}

static int64_t now(const quern_trace_file *f) {
    return f->host.clock.monotonic_ns(f->host.clock.self) - f->start_ns;
}

static void begin(void *self, const char *category, const char *name, int64_t value) {
    quern_trace_file *f = self;
    char words[LINE_BYTES], quoted[LINE_BYTES / 2];
    text line = text_over(words, sizeof words), string = text_over(quoted, sizeof quoted);
    text_add_json_string(&string, name);
    if (string.overflow) {
        string = text_over(quoted, sizeof quoted);
        text_add_json_string(&string, "a name that is too long");
    }
    pthread_mutex_lock(&f->lock);
    line_begin(f, &line, 'B', now(f));
    text_add(&line, ", \"cat\": \"%s\", \"name\": %s, \"args\": {\"value\": %" PRId64 "}}",
             category, quoted, value);
    append(f, &line);
    pthread_mutex_unlock(&f->lock);
}

static void end(void *self) {
    quern_trace_file *f = self;
    char words[LINE_BYTES];
    text line = text_over(words, sizeof words);
    pthread_mutex_lock(&f->lock);
    line_begin(f, &line, 'E', now(f));
    text_add(&line, "}");
    append(f, &line);
    pthread_mutex_unlock(&f->lock);
}

quern_status quern_trace_file_create(quern_trace_file **out, const char *path,
                                     const quern_host *host) {
    if (out == NULL || path == NULL)
        return quern_fail(QUERN_INVALID, "quern_trace_file_create: an argument is NULL");
    *out = NULL;
    quern_host resolved = host != NULL ? *host : (quern_host){0};
    QUERN_TRY(host_resolve(&resolved));
    const size_t path_bytes = strlen(path) + 1;
    const size_t bytes = sizeof(quern_trace_file) + path_bytes;
    quern_trace_file *f;
    QUERN_TRY(memory_allocate(&resolved, &f, 1, bytes, "a trace file"));
    f->host = resolved;
    memcpy(f->path, path, path_bytes);
    pthread_mutex_init(&f->lock, NULL);
    f->start_ns = resolved.clock.monotonic_ns(resolved.clock.self);
    const quern_status status = file_writer_open(&f->writer, &f->host, f->path, QUERN_FILE_CREATE);
    if (status != QUERN_OK) {
        quern_trace_file_destroy(f);
        return status;
    }
    f->buffer[f->length++] = '[';
    *out = f;
    return QUERN_OK;
}

quern_trace_sink quern_trace_file_sink(quern_trace_file *file) {
    return (quern_trace_sink){.begin = begin, .end = end, .self = file};
}

quern_status quern_trace_file_close(quern_trace_file *f) {
    text last = text_over((char[4]){0}, 4);
    text_add(&last, "\n]\n");
    append(f, &last);
    flush(f);
    return file_writer_close(&f->writer);
}

void quern_trace_file_destroy(quern_trace_file *f) {
    if (f == NULL) return;
    (void)!(file_writer_close(&f->writer) == QUERN_OK);
    pthread_mutex_destroy(&f->lock);
    const quern_host host = f->host;
    memory_release(&host, f, 1, sizeof *f + strlen(f->path) + 1);
}
