/* devices.c - `quern devices`: what can compute here, and why anything else cannot. */
#include "commands.h"
#include "json.h"

typedef struct listing {
    FILE *to;
    bool json;
    int count;
} listing;

static void write_text(FILE *to, const quern_device_info *info) {
    const bool cuda = info->kind == QUERN_DEVICE_CUDA;
    fprintf(to, "%s:%d  %s, %d %s, %.1f of %.1f GB free", cuda ? "cuda" : "cpu", (int)info->index,
            info->name, (int)info->thread_count, cuda ? "multiprocessors" : "threads",
            (double)info->memory_free_bytes / 1e9, (double)info->memory_bytes / 1e9);
    if (cuda)
        fprintf(to, ", capability %d.%d, %s", info->capability / 10, info->capability % 10,
                info->uuid);
    fputc('\n', to);
}

static void write_json(FILE *to, const quern_device_info *info) {
    json j;
    json_begin(&j, to, " ");
    json_text(&j, "kind", info->kind == QUERN_DEVICE_CUDA ? "cuda" : "cpu");
    json_count(&j, "index", info->index);
    json_text(&j, "name", info->name);
    json_count(&j, "threads", info->thread_count);
    json_count(&j, "capability", info->capability);
    json_text(&j, "uuid", info->uuid);
    json_text(&j, "pci", info->pci);
    json_count(&j, "memory_bytes", info->memory_bytes);
    json_count(&j, "memory_free_bytes", info->memory_free_bytes);
    json_end(&j);
}

static void write_version(char to[16], int32_t version) {
    snprintf(to, 16, "%d.%d", (int)version / 1000, (int)version % 1000 / 10);
}

static void write_cuda_text(FILE *to, const quern_cuda_info *info) {
    char driver[16], runtime[16];
    write_version(driver, info->driver_version);
    write_version(runtime, info->runtime_version);
    fprintf(to, "CUDA module: built with CUDA %s for %s; ", runtime, info->architectures);
    if (info->driver_version == 0)
        fputs("no driver\n", to);
    else
        fprintf(to, "the driver %s%ssupports CUDA %s\n", info->driver_release,
                info->driver_release[0] ? " " : "", driver);
    for (int i = 0; i < QUERN_CUDA_LIBRARY_COUNT; i++) {
        const quern_library_info *l = &info->libraries[i];
        fprintf(to, "  %-8s  %s%s%s\n", l->name, l->version,
                l->version[0] ? "  " : "not loaded: ", l->version[0] ? l->path : l->reason);
    }
}

static void write_library_json(FILE *to, const quern_library_info *l) {
    json j;
    json_begin(&j, to, " ");
    json_text(&j, "name", l->name);
    json_text(&j, "version", l->version[0] ? l->version : NULL);
    json_text(&j, "path", l->path[0] ? l->path : NULL);
    json_text(&j, "reason", l->reason[0] ? l->reason : NULL);
    json_end(&j);
}

/* Versions as CUDA numbers them: 13000 for 13.0; 0: no driver. */
static void write_cuda_json(FILE *to, const quern_cuda_info *info) {
    json j;
    json_begin(&j, to, " ");
    json_count(&j, "driver_version", info->driver_version);
    json_text(&j, "driver_release", info->driver_release[0] ? info->driver_release : NULL);
    json_count(&j, "runtime_version", info->runtime_version);
    json_text(&j, "architectures", info->architectures);
    json_key(&j, "libraries");
    for (int i = 0; i < QUERN_CUDA_LIBRARY_COUNT; i++) {
        fputs(i == 0 ? "[" : ", ", to);
        write_library_json(to, &info->libraries[i]);
    }
    fputs("]", to);
    json_end(&j);
}

/* Without the module there is nothing to say: why it is not there is the reason. */
static void list_cuda(const listing *l) {
    quern_cuda_info info;
    const bool there = quern_cuda_info_get(&info) == QUERN_OK;
    if (l->json) {
        fputs(", \"cuda\": ", l->to);
        if (there)
            write_cuda_json(l->to, &info);
        else
            fputs("null", l->to);
    } else if (there) {
        write_cuda_text(l->to, &info);
    }
}

/* One that is there and cannot be used: too old, or its memory is taken. */
static void write_unusable(const listing *l, quern_device_kind kind, int32_t index) {
    const char *name = kind == QUERN_DEVICE_CUDA ? "cuda" : "cpu";
    json j;
    if (!l->json) {
        fprintf(l->to, "%s:%d  cannot be used: %s\n", name, (int)index, quern_error());
        return;
    }
    json_begin(&j, l->to, " ");
    json_text(&j, "kind", name);
    json_count(&j, "index", index);
    json_text(&j, "reason", quern_error());
    json_end(&j);
}

static void list_device(listing *l, quern_device_kind kind, int32_t index) {
    quern_device *device = NULL;
    quern_device_info info;
    quern_status status =
        quern_device_create(&device, &(quern_device_desc){.kind = kind, .index = index});
    if (status == QUERN_OK) status = quern_device_info_get(device, &info);
    if (l->json && l->count++ > 0) fputs(", ", l->to);
    if (status != QUERN_OK)
        write_unusable(l, kind, index);
    else if (l->json)
        write_json(l->to, &info);
    else
        write_text(l->to, &info);
    quern_device_destroy(device);
}

static void list_kind(listing *l, quern_device_kind kind, char *reason, size_t bytes) {
    reason[0] = '\0';
    const int32_t count = quern_device_count(kind, reason, bytes);
    for (int32_t i = 0; i < count; i++) list_device(l, kind, i);
}

static void list_all(listing *l) {
    char reason[1024];
    if (l->json) {
        fputs("{\"version\": ", l->to);
        json_write_text(l->to, quern_version());
        fputs(", \"devices\": [", l->to);
    }
    list_kind(l, QUERN_DEVICE_CPU, reason, sizeof reason);
    list_kind(l, QUERN_DEVICE_CUDA, reason, sizeof reason);
    if (l->json) {
        fputs("], \"cuda_reason\": ", l->to);
        json_write_text(l->to, reason[0] ? reason : NULL);
    } else if (reason[0]) {
        fprintf(l->to, "no CUDA device: %s\n", reason);
    }
    list_cuda(l);
    if (l->json) fputs("}\n", l->to);
}

int command_devices(const options *o) {
    sheet s;
    quern_status status = sheet_open(&s);
    if (status != QUERN_OK) return command_fail(status);
    listing l = {.to = s.to, .json = o->json};
    list_all(&l);
    status = sheet_print(&s);
    return status == QUERN_OK ? 0 : command_fail(status);
}
