/* power_cut.c - the disk after the power went: replays the log without what was not synced. */
#include "power_disk.h"

#include <stdlib.h>
#include <string.h>

void power_disk_settle(power_disk *disk) { disk_add_op(disk, DISK_SYNC_ALL); }

void power_disk_mark(power_disk *disk, int64_t value) {
    disk_add_op(disk, DISK_MARK)->mark = value;
}

int64_t power_disk_marked(const power_disk *disk, int64_t position) {
    for (int64_t i = position - 1; i >= 0; i--)
        if (disk->log[i].action == DISK_MARK) return disk->log[i].mark;
    return 0;
}

static uint64_t draw(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

typedef struct chooser {
    uint64_t seed, state, odds; /* odds of 256 */
} chooser;

static chooser chooser_make(uint64_t seed, int64_t position) {
    static const uint64_t odds[] = {16, 64, 128, 192, 240};
    chooser c = {.seed = seed, .state = seed * 1000003 + (uint64_t)position};
    c.odds = odds[draw(&c.state) % (sizeof odds / sizeof *odds)];
    return c;
}

static bool choose(chooser *c) {
    return c->seed < 2 ? c->seed == 1 : (draw(&c->state) & 255) < c->odds;
}

/* Bytes that were not synced: all, none, a prefix, or zeros in their place. */
static void write_unsynced(disk_node *node, const disk_op *op, chooser *c) {
    if (choose(c)) {
        disk_write_at(node, op->offset, op->data, op->bytes);
        return;
    }
    if (c->seed < 2 || op->bytes == 0) return;
    const uint64_t kind = draw(&c->state) % 3;
    const size_t part = (size_t)(draw(&c->state) % op->bytes);
    if (kind == 0) disk_write_at(node, op->offset, op->data, part);
    if (kind == 1) {
        uint8_t *zeros = calloc(op->bytes, 1);
        if (zeros == NULL) abort();
        disk_write_at(node, op->offset, zeros, op->bytes);
        free(zeros);
    }
}

/* The name may stand for another file, whose creation or removal the power cut undid. */
static void remove_node(disk_node *directory, const char *name, int32_t node) {
    const disk_entry *e = disk_find_entry(directory, name);
    if (e != NULL && e->node == node) disk_remove_entry(directory, name);
}

static void apply(power_disk *out, const disk_op *op, bool synced, chooser *c) {
    disk_node *directory = &out->nodes[op->directory];
    switch (op->action) {
    case DISK_CREATE:
        if (synced || choose(c)) disk_add_entry(directory, op->name, op->node);
        break;
    case DISK_REMOVE:
        if (synced || choose(c)) remove_node(directory, op->name, op->node);
        break;
    case DISK_RENAME:
        if (synced || choose(c)) {
            remove_node(directory, op->name, op->node);
            disk_add_entry(directory, op->to, op->node);
        }
        break;
    case DISK_WRITE:
        if (synced) {
            disk_write_at(&out->nodes[op->node], op->offset, op->data, op->bytes);
        } else {
            write_unsynced(&out->nodes[op->node], op, c);
        }
        break;
    case DISK_TRUNCATE:
        if (synced || choose(c)) disk_resize(&out->nodes[op->node], op->bytes);
        break;
    default: break;
    }
}

/* The base of the new disk's own log, so that it can be cut again. */
static void log_tree(power_disk *disk, int32_t directory) {
    for (int32_t i = 0; i < disk->nodes[directory].entry_count; i++) {
        const disk_entry e = disk->nodes[directory].entries[i];
        const disk_node *node = &disk->nodes[e.node];
        disk_op *op = disk_add_op(disk, DISK_CREATE);
        op->directory = directory;
        op->node = e.node;
        op->is_directory = node->is_directory;
        memcpy(op->name, e.name, DISK_NAME);
        if (node->is_directory) {
            log_tree(disk, e.node);
        } else if (node->bytes > 0) {
            op = disk_add_op(disk, DISK_WRITE);
            op->node = e.node;
            op->bytes = node->bytes;
            op->data = malloc(node->bytes);
            if (op->data == NULL) abort();
            memcpy(op->data, node->data, node->bytes);
        }
    }
}

void power_disk_cut(const power_disk *disk, int64_t position, uint64_t seed, power_disk *out) {
    bool *synced = calloc((size_t)position + 1, sizeof *synced);
    bool *node_synced = calloc((size_t)disk->node_count, sizeof *node_synced);
    if (synced == NULL || node_synced == NULL) abort();
    bool all = false;
    for (int64_t i = position - 1; i >= 0; i--) {
        const disk_op *op = &disk->log[i];
        if (op->action == DISK_SYNC) node_synced[op->node] = true;
        if (op->action == DISK_SYNC_ALL) all = true;
        const bool of_file = op->action == DISK_WRITE || op->action == DISK_TRUNCATE;
        synced[i] = all || node_synced[of_file ? op->node : op->directory];
    }
    power_disk_begin(out);
    for (int32_t i = 1; i < disk->node_count; i++) disk_add_node(out, disk->nodes[i].is_directory);
    chooser c = chooser_make(seed, position);
    for (int64_t i = 0; i < position; i++) apply(out, &disk->log[i], synced[i], &c);
    log_tree(out, 0);
    power_disk_settle(out);
    free(synced);
    free(node_synced);
}

void power_disk_kill(const power_disk *disk, int64_t position, power_disk *out) {
    chooser c = chooser_make(1, position);
    power_disk_begin(out);
    for (int32_t i = 1; i < disk->node_count; i++) disk_add_node(out, disk->nodes[i].is_directory);
    for (int64_t i = 0; i < position; i++) {
        const disk_op *from = &disk->log[i];
        disk_op *op = disk_add_op(out, from->action);
        *op = *from;
        if (from->data != NULL) {
            op->data = malloc(from->bytes + 1);
            if (op->data == NULL) abort();
            memcpy(op->data, from->data, from->bytes);
        }
        apply(out, op, true, &c);
    }
}
