/* run_ahead.c - how far the host may be ahead of the device where the desc does not say.
 *
 * On the CPU both share the same cores: two attempts hide what the host does between them. A device
 * is kept busy by many, and one wait then serves many records; but each needs descriptors of its
 * batches, and staging slots unless the device holds the set itself: they bound it. A stop lets
 * what has been issued run to its end. Batches that come from the host beside the training set are
 * bounded by their own slots, however far ahead that set may be. */
#include "trainer.h"

enum { LEAST = 2, BATCHES = 1 << 14, STAGED_BATCHES = 256 };
static const size_t STAGED_BYTES = (size_t)256 << 20;

/* Of one batch of every input; 0 when that does not fit, which is told elsewhere. */
static size_t batch_bytes(const quern_trainer *t) {
    size_t total = 0;
    for (const quern_tensor *tensor = t->graph->tensors; tensor; tensor = tensor->next) {
        quern_view view;
        size_t bytes = 0;
        if (tensor->role != ROLE_INPUT) continue;
        if (shape_view(&tensor->shape, t->desc.batch_size, &view) != QUERN_OK ||
            !count_bytes(view.count, quern_dtype_bytes(view.dtype), &bytes) ||
            !size_add(total, bytes, &total))
            return 0;
    }
    return total;
}

/* At most `most`, and not more than staging memory holds. */
static int64_t staged_batches(const quern_trainer *t, int64_t most) {
    const size_t bytes = batch_bytes(t);
    const size_t room = bytes > 0 ? STAGED_BYTES / bytes : SIZE_MAX;
    return room < (size_t)most ? (int64_t)room : most;
}

static int32_t of_device(const quern_trainer *t) {
    const int64_t batches = resident_train(t) ? BATCHES : staged_batches(t, BATCHES);
    const int64_t windows = batches / t->desc.accumulate;
    if (windows > RUN_AHEAD_MAX) return RUN_AHEAD_MAX;
    return windows > LEAST ? (int32_t)windows : LEAST;
}

void run_ahead_fill_default(quern_trainer *t) {
    if (t->desc.run_ahead > 0) return;
    t->desc.run_ahead = t->backend->kind == QUERN_BACKEND_CPU ? LEAST : of_device(t);
}

int32_t staged_lanes(const quern_trainer *t, int32_t window) {
    const int64_t room = staged_batches(t, STAGED_BATCHES) / window;
    const int32_t few = t->lanes <= LEAST ? t->lanes : LEAST + 1;
    if (room >= t->lanes) return t->lanes;
    return room > few ? (int32_t)room : few;
}
