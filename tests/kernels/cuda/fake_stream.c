/* fake_stream.c - queues of work and when it runs. */
#include "fake_parts.h"

#include <stdlib.h>
#include <string.h>

static size_t argument_space(const fake_kernel *kernel) {
    size_t bytes = 0;
    for (int i = 0; i < kernel->argument_count; i++)
        bytes += (kernel->argument_bytes[i] + 15) / 16 * 16;
    return bytes;
}

static void *duplicate(const void *from, size_t bytes) {
    if (from == NULL) return NULL;
    void *copy = aligned_alloc(16, (bytes + 15) / 16 * 16 + 16);
    if (copy == NULL) abort();
    memcpy(copy, from, bytes);
    return copy;
}

fake_op fake_op_copy(const fake_op *op) {
    fake_op copy = *op;
    copy.staged = duplicate(op->staged, op->bytes);
    if (op->arguments != NULL)
        copy.arguments = duplicate(op->arguments, argument_space(op->kernel));
    return copy;
}

static void op_free(fake_op *op) {
    free(op->staged);
    free(op->arguments);
}

void fake_ops_add(fake_ops *ops, const fake_op *op) {
    if (ops->count == ops->capacity) {
        ops->capacity = ops->capacity * 2 + 16;
        ops->items = realloc(ops->items, ops->capacity * sizeof *ops->items);
        if (ops->items == NULL) abort();
    }
    ops->items[ops->count++] = *op;
}

void fake_ops_free(fake_ops *ops) {
    for (size_t i = ops->head; i < ops->count; i++) op_free(&ops->items[i]);
    free(ops->items);
    *ops = (fake_ops){0};
}

static void launch_run(const fake_op *op) {
    void *arguments[FAKE_ARGUMENT_MAX];
    unsigned char *at = op->arguments;
    if (op->kernel == NULL) return;
    for (int i = 0; i < op->kernel->argument_count; i++) {
        arguments[i] = at;
        at += (op->kernel->argument_bytes[i] + 15) / 16 * 16;
    }
    op->kernel->run(op->grid, op->block, op->shared_bytes, arguments);
}

static void op_run(const fake_op *op) {
    fake.operations++;
    fake.device_ns += 1000;
    switch (op->kind) {
    case FAKE_OP_COPY:
        memmove(op->to, op->staged != NULL ? op->staged : op->from, op->bytes);
        break;
    case FAKE_OP_FILL: memset(op->to, op->value, op->bytes); break;
    case FAKE_OP_LAUNCH: launch_run(op); break;
    case FAKE_OP_RECORD:
        if (op->event->completed < op->ticket) op->event->completed = op->ticket;
        op->event->time_ns = fake.device_ns;
        break;
    case FAKE_OP_WAIT: fake_event_reach(op->event, op->recorder, op->ticket); break;
    case FAKE_OP_GRAPH:
        for (size_t i = 0; i < op->executable->ops.count; i++)
            op_run(&op->executable->ops.items[i]);
        fake.graphs++;
        break;
    }
}

static void copies_advance(void);

/* The op leaves the queue first: a wait inside it may come back to this stream. */
static void run_one(fake_stream *s) {
    fake_op op = s->queue.items[s->queue.head++];
    fake_memory_open();
    op_run(&op);
    fake_memory_close();
    if (op.kind == FAKE_OP_RECORD && !s->computes && fake.uploaded != NULL)
        fake.uploaded(fake.uploaded_self);
    op_free(&op);
    if (s->queue.head == s->queue.count) s->queue.head = s->queue.count = 0;
    if (s->computes) copies_advance();
}

static bool has_work(const fake_stream *s) { return s->queue.head < s->queue.count; }

static bool may_run(const fake_stream *s) {
    if (!has_work(s)) return false;
    const fake_op *op = &s->queue.items[s->queue.head];
    return op->kind != FAKE_OP_WAIT || op->event->completed >= op->ticket;
}

static void copies_advance(void) {
    if (fake.schedule != FAKE_COPIES_FIRST) return;
    for (fake_object *o = fake_objects(); o != NULL; o = o->next) {
        fake_stream *s = (fake_stream *)(void *)o;
        while (o->kind == FAKE_STREAM && !s->computes && may_run(s)) run_one(s);
    }
}

void fake_stream_drain(fake_stream *s) {
    while (has_work(s)) run_one(s);
}

void fake_event_reach(fake_event *e, fake_stream *recorder, uint64_t ticket) {
    while (e->completed < ticket && has_work(recorder)) run_one(recorder);
}

void fake_drain_all(void) {
    for (fake_object *o = fake_objects(); o != NULL; o = o->next)
        if (o->kind == FAKE_STREAM) fake_stream_drain((fake_stream *)(void *)o);
}

void fake_stream_issue(fake_stream *s, const fake_op *op) {
    fake_ops_add(s->capturing != NULL ? &s->capturing->ops : &s->queue, op);
    s->computes |= op->kind == FAKE_OP_LAUNCH || op->kind == FAKE_OP_GRAPH;
    if (fake.schedule == FAKE_AT_ONCE) fake_stream_drain(s);
    copies_advance();
}

void fake_advance(void) {
    if (fake.schedule != FAKE_MIXED) return;
    for (fake_object *o = fake_objects(); o != NULL; o = o->next) {
        fake_stream *s = (fake_stream *)(void *)o;
        if (o->kind != FAKE_STREAM) continue;
        for (uint64_t n = fake_random() % 4; n > 0 && has_work(s); n--) run_one(s);
    }
}
