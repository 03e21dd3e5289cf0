#include "fixture.h"
#include "quern_test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* Standard streams as a careless parent leaves them. */
static void spoil_streams(const run_setup *s) {
    int ends[2];
    for (int stream = 0; stream <= STDERR_FILENO; stream++) {
        if (s->deaf & 1u << stream) {
            if (pipe(ends) != 0 || dup2(ends[1], stream) < 0) _exit(126);
            close(ends[0]);
            close(ends[1]);
        }
        if (s->closed & 1u << stream) close(stream);
    }
}

static void become(const run_setup *s, const char *directory, const char *const *arguments,
                   const int *out, const int *error) {
    if (chdir(directory) != 0) _exit(126);
    int target = out[1];
    if (s->stdout_path) target = open(s->stdout_path, O_WRONLY);
    if (target < 0 || dup2(target, STDOUT_FILENO) < 0 || dup2(error[1], STDERR_FILENO) < 0)
        _exit(126);
    close(out[0]);
    close(error[0]);
    if (s->file_limit > 0) {
        const struct rlimit limit = {(rlim_t)s->file_limit, (rlim_t)s->file_limit};
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(126);
        /* Coverage counters cut off by the limit would spoil the files of every other run. */
        if (setenv("GCOV_PREFIX", directory, 1) != 0) _exit(126);
    }
    for (int i = 0; i < 2 && s->environment[i]; i++) {
        char name[64];
        const char *equals = strchr(s->environment[i], '=');
        snprintf(name, sizeof name, "%.*s", (int)(equals - s->environment[i]), s->environment[i]);
        if (setenv(name, equals + 1, 1) != 0) _exit(126);
    }
    spoil_streams(s);
    execv(arguments[0], (char *const *)arguments);
    _exit(127);
}

/* Reads what is there; false at the end of the stream. */
static bool drain(int file, char *to, size_t *used) {
    char ignored[4096];
    const size_t room = OUTPUT_MAX - 1 - *used;
    const ssize_t bytes = room > 0 ? read(file, to + *used, room) : read(file, ignored, 4096);
    if (bytes < 0) return errno == EINTR;
    if (room > 0) *used += (size_t)bytes;
    to[*used] = '\0';
    return bytes > 0;
}

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Whether what the signal waits for has come. */
static bool is_ready(const run_setup *s, const run_result *r) {
    if (s->until) return access(s->until, F_OK) == 0;
    if (s->ready) return s->ready(r);
    return s->delay_us > 0 || strstr(r->error, " step ");
}

/* What is sent then comes all at once when it goes on. */
static void stop(pid_t child) {
    siginfo_t info;
    kill(child, SIGSTOP);
    while (waitid(P_PID, (id_t)child, &info, WSTOPPED | WEXITED | WNOWAIT) < 0 && errno == EINTR)
        continue;
}

/* Sends it when it is due; true when that is done. */
static bool send_signal(const run_setup *s, const run_result *r, pid_t child, int64_t *due_us) {
    if (*due_us == 0 && is_ready(s, r)) *due_us = now_us() + s->delay_us;
    if (*due_us == 0 || now_us() < *due_us) return false;
    if (s->twice) stop(child);
    kill(child, s->signal);
    if (s->twice) kill(child, s->twice);
    if (s->twice) kill(child, SIGCONT);
    return true;
}

/* The reader that waits gets the text out of the pipe; who opens the path again, out of a file. */
static void become_file(const char *path, const char *text, int pipe_end) {
    const size_t bytes = strlen(text);
    CHECK(bytes <= PIPE_BUF && unlink(path) == 0);
    const int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    CHECK(file >= 0 && write(file, text, bytes) == (ssize_t)bytes && close(file) == 0);
    CHECK(write(pipe_end, text, bytes) == (ssize_t)bytes);
}

/* Opening for writing succeeds once a reader is there. The end to be closed, or -1. */
static int meet_reader(const run_setup *s, pid_t child) {
    const int end = open(s->pipe, O_WRONLY | O_NONBLOCK);
    if (end < 0) return end;
    kill(child, s->pipe_text ? s->signal : SIGINT);
    if (!s->pipe_text) kill(child, SIGTERM);
    if (s->pipe_text) become_file(s->pipe, s->pipe_text, end);
    return end;
}

static void watch(const run_setup *s, run_result *r, pid_t child, int out, int error) {
    size_t out_used = 0, error_used = 0;
    bool sent = s->signal == 0 || s->pipe, met = !s->pipe;
    int64_t due_us = 0;
    const bool by_clock = s->until || s->delay_us > 0;
    int pipe_end = -1;
    struct pollfd files[2] = {{.fd = out, .events = POLLIN}, {.fd = error, .events = POLLIN}};
    while (files[0].fd >= 0 || files[1].fd >= 0) {
        if (!met) met = (pipe_end = meet_reader(s, child)) >= 0;
        if (pipe_end >= 0 && s->pipe_text) pipe_end = (close(pipe_end), -1);
        if (!sent) sent = send_signal(s, r, child, &due_us);
        files[0].events = s->held_output && !sent ? 0 : POLLIN;
        const int wait_ms = !sent && by_clock ? 1 : !met ? 5 : -1;
        if (poll(files, 2, wait_ms) <= 0) continue;
        if (files[0].revents && !drain(out, r->out, &out_used)) files[0].fd = -1;
        if (files[1].revents && !drain(error, r->error, &error_used)) files[1].fd = -1;
    }
    if (pipe_end >= 0) close(pipe_end);
}

/* Full, so that nothing is written before something is read. */
static bool fill(int end) {
    char lines[4096];
    memset(lines, '\n', sizeof lines);
    if (fcntl(end, F_SETFL, O_NONBLOCK) != 0) return false;
    while (write(end, lines, sizeof lines) > 0) continue;
    return errno == EAGAIN && fcntl(end, F_SETFL, 0) == 0;
}

/* ends[0] is read by the test, ends[1] the program's. The terminal changes no byte. */
static bool open_error(const run_setup *s, int ends[2]) {
    if (s->terminal_columns == 0) return pipe(ends) == 0;
    const struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)s->terminal_columns};
    struct termios mode;
    if (openpty(&ends[0], &ends[1], NULL, NULL, &size) != 0) return false;
    if (tcgetattr(ends[1], &mode) != 0) return false;
    mode.c_oflag &= ~(tcflag_t)OPOST;
    return tcsetattr(ends[1], TCSANOW, &mode) == 0;
}

run_result *run_program(temporary *t, const run_setup *setup, const char *const *arguments) {
    static run_result result;
    int out[2], error[2], state = 0;
    memset(&result, 0, sizeof result);
    result.exit_code = -1;
    if (pipe(out) != 0 || !open_error(setup, error)) return &result;
    if (setup->held_output && !fill(out[1])) return &result;
    fflush(NULL);
    const int64_t begin_us = now_us();
    const pid_t child = fork();
    if (child == 0)
        become(setup, setup->directory ? setup->directory : t->path, arguments, out, error);
    close(out[1]);
    close(error[1]);
    if (child > 0) watch(setup, &result, child, out[0], error[0]);
    close(out[0]);
    close(error[0]);
    result.elapsed_us = now_us() - begin_us;
    while (child > 0 && waitpid(child, &state, 0) < 0 && errno == EINTR) continue;
    if (child > 0 && WIFEXITED(state)) result.exit_code = WEXITSTATUS(state);
    if (child > 0 && WIFSIGNALED(state)) result.killed_by = WTERMSIG(state);
    return &result;
}

static void put_count(unsigned char *to, int value) {
    to[0] = 0;
    to[1] = 0;
    to[2] = (unsigned char)(value >> 8);
    to[3] = (unsigned char)value;
}

static bool write_pair(temporary *t, const char *folder, const char *part, int count) {
    char name[128];
    const size_t image_bytes = 16 + (size_t)count * 784, label_bytes = 8 + (size_t)count;
    unsigned char *images = calloc(image_bytes, 1), *labels = calloc(label_bytes, 1);
    bool written = images && labels;
    if (written) {
        images[2] = labels[2] = 8;
        images[3] = 3;
        labels[3] = 1;
        put_count(images + 4, count);
        put_count(images + 8, 28);
        put_count(images + 12, 28);
        put_count(labels + 4, count);
        for (int i = 0; i < count; i++) {
            labels[8 + i] = (unsigned char)(i % 10);
            for (int p = 0; p < 784; p++)
                images[16 + i * 784 + p] =
                    (unsigned char)(p / 56 == i % 10 ? 200 + (i + p) % 50 : (i * 7 + p) % 60);
        }
        snprintf(name, sizeof name, "%s/%s-images-idx3-ubyte", folder, part);
        written = temporary_write(t, name, images, image_bytes);
        snprintf(name, sizeof name, "%s/%s-labels-idx1-ubyte", folder, part);
        written = written && temporary_write(t, name, labels, label_bytes);
    }
    free(images);
    free(labels);
    return written;
}

bool fixture_mnist(temporary *t, const char *name, int train_count, int test_count) {
    if (mkdir(temporary_join(t, name), 0777) != 0) return false;
    return write_pair(t, name, "train", train_count) && write_pair(t, name, "t10k", test_count);
}

bool fixture_csv(temporary *t, const char *name, int rows) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    if (!to) return false;
    fputs("width,height,label\n", to);
    for (int i = 0; i < rows; i++)
        fprintf(to, "%d.%d,%d,%d\n", (i % 3) * 4, i % 10, (i % 3) * -3, i % 3);
    const bool closed = fclose(to) == 0;
    const bool written = closed && temporary_write(t, name, text, bytes);
    free(text);
    return written;
}

static bool was_cut_short(json_t *object) {
    const char *event = json_string_value(json_object_get(object, "event"));
    return event && strcmp(event, "eval_end") == 0 && json_object_get(object, "nonfinite");
}

static void remove_times(json_t *object) {
    json_object_del(object, "seconds");
    json_object_del(object, "samples_per_second");
}

char *fixture_metrics(temporary *t, const char *folder) {
    static char text[1 << 18];
    char name[128], *kept = NULL;
    size_t bytes = 0;
    snprintf(name, sizeof name, "%s/metrics.jsonl", folder);
    const long length = temporary_read(t, name, text, sizeof text - 1);
    text[length > 0 ? length : 0] = '\0';
    FILE *to = open_memstream(&kept, &bytes);
    if (!to) return NULL;
    strtok(text, "\n");
    for (char *line = strtok(NULL, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        CHECK_SAY(object != NULL, "no JSON: %s", line);
        remove_times(object);
        char *plain = json_dumps(object, JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
        if (!was_cut_short(object)) fprintf(to, "%s\n", plain ? plain : "");
        free(plain);
        json_decref(object);
    }
    fclose(to);
    return kept;
}

char *fixture_content(temporary *t, const char *folder) {
    char command[1024];
    char *text = calloc(1, OUTPUT_MAX);
    snprintf(command, sizeof command,
             "cd '%s' && find . -printf '%%y %%s %%p\\n' | grep -v '^d' | sort && "
             "find . -type f -print0 | sort -z | xargs -0 sha256sum",
             temporary_join(t, folder));
    FILE *found = popen(command, "r");
    if (found == NULL || text == NULL) abort();
    text[fread(text, 1, OUTPUT_MAX - 1, found)] = '\0';
    if (pclose(found) != 0) text[0] = '\0';
    return text;
}

json_t *fixture_json(const run_result *r) {
    json_error_t error;
    json_t *object = json_loads(r->out, JSON_REJECT_DUPLICATES, &error);
    CHECK_SAY(object != NULL, "stdout is not one JSON object: %s\n%s", error.text, r->out);
    return object;
}

const char *fixture_json_text(json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

double fixture_json_number(json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}
