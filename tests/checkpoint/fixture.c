#include "fixture.h"

#include "host/device/device.h"

#include <stdio.h>
#include <string.h>

static quern_safetensors_entry entry(const char *name, quern_dtype dtype, int64_t count,
                                     const void *data, size_t bytes) {
    return (quern_safetensors_entry){
        .name = name, .dtype = dtype, .rank = 1, .dim = {count}, .data = data, .bytes = bytes};
}

const checkpoint_content *fixture_content(fixture *f, int64_t step, int64_t serial) {
    *f = (fixture){.moment = 0.1 * (double)serial, .window = {serial, -serial}, .serial = serial};
    for (int i = 0; i < 6; i++) f->weight[i] = (float)serial + 0.25F * (float)i;
    for (int i = 0; i < 5; i++) f->table[i] = (uint8_t)(serial + i);
    f->model[0] = entry("fc.weight", QUERN_F32, 2, f->weight, sizeof f->weight);
    f->model[0].rank = 2;
    f->model[0].dim[1] = 3;
    f->model[1] = entry("table", QUERN_U8, 5, f->table, sizeof f->table);
    f->state[0] = entry("optimizer.m", QUERN_F64, 1, &f->moment, sizeof f->moment);
    f->state[0].rank = 0;
    f->state[1] = entry("window", QUERN_I64, 2, f->window, sizeof f->window);
    f->state[2] = entry("empty", QUERN_F32, 0, NULL, 0);
    f->state[3] = entry("serial", QUERN_I64, 1, &f->serial, sizeof f->serial);
    f->callbacks[0] = (checkpoint_callback){"early_stop", &f->serial, sizeof f->serial};
    f->callbacks[1] = (checkpoint_callback){"nothing \"quoted\"", NULL, 0};
    f->content = (checkpoint_content){
        .counters = {.step = step, .attempts = step + 1, .samples = 8 * serial, .train_ns = 5},
        .seed = UINT64_MAX - 1,
        .metric = "val/loss",
        .metric_value = 1.0 / (double)(serial + 1),
        .configuration = "{\"batch_size\": 8, \"optimizer\": {\"learning_rate\": 0.001}}",
        .algorithms = "fc: first heuristic\n",
        .callbacks = f->callbacks,
        .callback_count = 2,
        .model = f->model,
        .model_count = 2,
        .state = f->state,
        .state_count = 4,
    };
    return &f->content;
}

static bool same_tensors(const quern_safetensors_entry *a, const quern_safetensors_entry *b,
                         int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(a[i].name, b[i].name) != 0 || a[i].bytes != b[i].bytes ||
            a[i].dtype != b[i].dtype || a[i].rank != b[i].rank)
            return false;
        if (a[i].bytes > 0 && memcmp(a[i].data, b[i].data, a[i].bytes) != 0) return false;
    }
    return true;
}

static bool same_callbacks(const checkpoint_content *a, const checkpoint_content *b) {
    if (a->callback_count != b->callback_count) return false;
    for (int64_t i = 0; i < a->callback_count; i++) {
        const checkpoint_callback *x = &a->callbacks[i], *y = &b->callbacks[i];
        if (strcmp(x->name, y->name) != 0 || x->bytes != y->bytes ||
            (x->bytes > 0 && memcmp(x->data, y->data, x->bytes) != 0))
            return false;
    }
    return true;
}

int64_t fixture_serial(const quern_checkpoint *checkpoint) {
    const checkpoint_content *found = &checkpoint->manifest.content;
    fixture f;
    const quern_safetensors_entry *e =
        quern_safetensors_find(quern_checkpoint_state(checkpoint), "serial");
    if (e == NULL || e->bytes != sizeof f.serial) return -1;
    int64_t serial;
    memcpy(&serial, e->data, sizeof serial);
    const checkpoint_content *expected = fixture_content(&f, found->counters.step, serial);
    const bool same = found->model_count == 2 && found->state_count == 4 &&
                      same_tensors(found->model, expected->model, 2) &&
                      memcmp(&found->counters, &expected->counters, sizeof found->counters) == 0 &&
                      found->seed == expected->seed &&
                      strcmp(found->algorithms, expected->algorithms) == 0 &&
                      found->metric != NULL && strcmp(found->metric, expected->metric) == 0 &&
                      memcmp(&found->metric_value, &expected->metric_value, sizeof(double)) == 0 &&
                      same_callbacks(found, expected);
    for (int64_t i = 0; i < 4 && same; i++) { /* empty ones sort anywhere */
        const quern_safetensors_entry *s = &expected->state[i];
        e = quern_safetensors_find(quern_checkpoint_state(checkpoint), s->name);
        if (e == NULL || !same_tensors(e, s, 1)) return -1;
    }
    return same ? serial : -1;
}

quern_status fixture_store(checkpoint_store **out, const quern_host *host, const char *directory) {
    fixture f;
    return checkpoint_store_create(out, &(checkpoint_store_desc){
                                            .host = host,
                                            .directory = directory,
                                            .largest = fixture_content(&f, 0, 0),
                                            .retention = {.keep_last = 2},
                                        });
}

quern_status fixture_save(checkpoint_store *store, int64_t step, int64_t serial) {
    fixture f;
    const quern_status status = checkpoint_store_write(store, fixture_content(&f, step, serial));
    if (status == QUERN_OK) checkpoint_store_retire(store);
    return status;
}

static void count_entry(void *context, const quern_checkpoint_entry *e) {
    int32_t *count = context;
    *count += e->status != QUERN_OK && e->reason[0] != '\0';
}

int64_t fixture_latest(const quern_host *host, const char *directory, int32_t *damaged) {
    quern_checkpoint *checkpoint = NULL;
    int32_t ignored = 0;
    if (damaged == NULL) damaged = &ignored;
    *damaged = 0;
    if (checkpoint_latest(&checkpoint, host, directory, count_entry, damaged) != QUERN_OK)
        return -2;
    const int64_t serial = checkpoint != NULL ? fixture_serial(checkpoint) : 0;
    quern_checkpoint_destroy(checkpoint);
    return serial;
}

int32_t fixture_damaged(const quern_host *host, const char *directory) {
    quern_device device = {.host = *host};
    int32_t damaged = 0;
    const quern_status status = quern_checkpoint_list(&device, directory, count_entry, &damaged);
    return status == QUERN_OK ? damaged : -1;
}

int32_t fixture_leftovers(const quern_host *host, const char *directory) {
    generation_list list;
    if (generation_list_read(&list, host, directory) != QUERN_OK) return -1;
    int32_t count = 0;
    for (int64_t i = 0; i < list.count; i++) count += list.items[i].kind != GENERATION_WHOLE;
    generation_list_release(&list, host);
    return count;
}
