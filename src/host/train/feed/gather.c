/* gather.c - batches of a resident set: what each program's inputs are gathered from, and the ring
 * in which the host names the batches that come. A program's gather stays as it is once made, so
 * that it can be part of a recorded step; the device finds its batch by its own counters. */
#include "resident.h"

struct resident_gather {
    resident_gather *next;
    const trainer_unit *unit;
    task_gather task;
    task_field fields[QUERN_INPUT_MAX];
    quern_kernel_args args;
};

static void fields_fill(resident_gather *g, const resident_set *set, const feed *f) {
    for (int32_t i = 0; i < f->input_count; i++) {
        const quern_view to = program_view(g->unit->program, f->tensors[i]);
        if (!to.data || to.count == 0) continue;
        task_field *field = &g->fields[g->task.field_count++];
        const int32_t from = loader_field(f->loader, i, &field->plan);
        field->from = set->data[from];
        field->to = to.data;
    }
}

quern_status gather_prepare(quern_trainer *t, feed *f, const trainer_unit *unit,
                            resident_gather **out) {
    resident_set *set = f->resident;
    resident_gather *g = NULL;
    *out = NULL;
    if (!set) return QUERN_OK;
    QUERN_TRY(arena_allocate(&t->memory, &g, 1, sizeof *g, "gathers"));
    g->unit = unit;
    g->task = (task_gather){.batches = set->batches,
                            .lane_count = set->lane_count,
                            .window = set->window,
                            .run = set->own_run ? set->own_run : &t->state->run,
                            .advance = set->own_run != NULL,
                            .length = set->dataset->length,
                            .shuffle = f == &t->train_feed && !t->desc.no_shuffle,
                            .seed = t->device->seed,
                            .sample_count = unit->batch_size,
                            .fields = g->fields};
    fields_fill(g, set, f);
    g->args =
        (quern_kernel_args){.attributes = &g->task, .scratch = set->picks, .stream = t->stream};
    g->next = set->gathers;
    *out = set->gathers = g;
    return QUERN_OK;
}

quern_status gather_issue(const quern_trainer *t, const resident_gather *g) {
    return t->backend->call(t->stream, t->backend->tasks[TASK_gather], &g->args);
}

static void batch_name(const quern_trainer *t, const resident_set *set, int64_t at, int64_t epoch,
                       int64_t batch) {
    set->batches[at] = (task_batch){epoch, batch * t->desc.batch_size};
}

void gather_announce(const quern_trainer *t, const attempt *a) {
    const resident_set *set = a->feed->resident;
    if (!set) return;
    const int64_t lane = t->attempts_issued % set->lane_count;
    for (int32_t i = 0; i < a->count; i++)
        batch_name(t, set, lane * set->window + i, a->microbatches[i].epoch,
                   a->microbatches[i].batch);
}

quern_status gather_rewind(const quern_trainer *t, const feed *f) {
    return t->backend->fill(t->stream, f->resident->own_run, 0, sizeof *f->resident->own_run);
}

quern_status gather_evaluation(quern_trainer *t, feed *f, const loader_batch *batch,
                               const trainer_unit *unit) {
    const resident_set *set = f->resident;
    resident_gather *g = set->gathers;
    while (g && g->unit != unit) g = g->next;
    if (!g) QUERN_TRY(gather_prepare(t, f, unit, &g));
    batch_name(t, set, batch->index % set->lane_count, 0, batch->index);
    return gather_issue(t, g);
}
