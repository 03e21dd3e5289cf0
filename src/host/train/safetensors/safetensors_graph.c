/* safetensors_graph.c - a graph's parameters and buffers to a safetensors file and back. */
#include "safetensors.h"
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../base/size.h"
#include "../../graph/graph.h"

#include <string.h>

static quern_status tensor_bytes(const quern_tensor *tensor, size_t *out) {
    quern_view view;
    const quern_shape shape = quern_tensor_shape(tensor);
    QUERN_TRY(shape_view(&shape, 0, &view));
    if (!count_bytes(view.count, quern_dtype_bytes(view.dtype), out))
        return quern_fail(QUERN_SHAPE, "%s has more bytes than fit", quern_tensor_name(tensor));
    return QUERN_OK;
}

static quern_status fill_entries(quern_safetensors_entry *entries, const quern_graph *graph) {
    for (int32_t i = 0; i < quern_graph_parameter_count(graph); i++) {
        const quern_tensor *tensor = quern_graph_parameter(graph, i);
        const quern_shape shape = quern_tensor_shape(tensor);
        entries[i] = (quern_safetensors_entry){
            .name = quern_tensor_name(tensor), .dtype = shape.dtype, .rank = shape.rank};
        memcpy(entries[i].dim, shape.dim, sizeof shape.dim);
        QUERN_TRY(tensor_bytes(tensor, &entries[i].bytes));
    }
    return QUERN_OK;
}

typedef struct parameter_source {
    quern_graph *graph;
    quern_parameters *parameters;
    const quern_safetensors_entry *entries;
} parameter_source;

/* One tensor is in host memory at a time. */
static quern_status emit_parameter(const void *self, file_writer *to, int64_t i) {
    const parameter_source *s = self;
    const int64_t bytes = (int64_t)s->entries[i].bytes;
    void *copy = NULL;
    QUERN_TRY(memory_allocate(s->graph->host, &copy, bytes, 1, "a tensor to be saved"));
    quern_status status = quern_parameters_read(
        s->parameters, quern_graph_parameter(s->graph, (int32_t)i), copy, (size_t)bytes);
    if (status == QUERN_OK) status = file_writer_write(to, copy, (size_t)bytes);
    memory_release(s->graph->host, copy, bytes, 1);
    return status;
}

quern_status quern_safetensors_save(const char *path, quern_graph *graph,
                                    quern_parameters *parameters,
                                    const quern_safetensors_note *notes, int32_t note_count) {
    const int32_t count = quern_graph_parameter_count(graph);
    quern_safetensors_entry *entries = NULL;
    QUERN_TRY(memory_allocate(graph->host, &entries, count, sizeof *entries,
                              "the tensors of a safetensors file"));
    quern_status status = fill_entries(entries, graph);
    if (status == QUERN_OK) {
        const parameter_source source = {graph, parameters, entries};
        status = safetensors_write(graph->host, path,
                                   &(safetensors_content){.entries = entries,
                                                          .entry_count = count,
                                                          .notes = notes,
                                                          .note_count = note_count,
                                                          .emit = emit_parameter,
                                                          .emit_self = &source});
    }
    memory_release(graph->host, entries, count, sizeof *entries);
    return status;
}

static bool entry_fits(const quern_safetensors_entry *e, const quern_shape *shape) {
    if (e->dtype != shape->dtype || e->rank != shape->rank) return false;
    for (int32_t i = 0; i < e->rank; i++)
        if (e->dim[i] != shape->dim[i]) return false;
    return true;
}

static quern_status check_entry(const quern_safetensors *file, const quern_tensor *tensor) {
    const char *name = quern_tensor_name(tensor);
    const quern_safetensors_entry *e = quern_safetensors_find(file, name);
    if (!e)
        return quern_fail(QUERN_INPUT, "the file has no tensor %s, which the model needs", name);
    const quern_shape shape = quern_tensor_shape(tensor);
    if (entry_fits(e, &shape)) return QUERN_OK;
    quern_shape found = {.dtype = e->dtype, .rank = e->rank};
    memcpy(found.dim, e->dim, sizeof found.dim);
    char expected_text[128], found_text[128];
    shape_text(&shape, expected_text, sizeof expected_text);
    shape_text(&found, found_text, sizeof found_text);
    return quern_fail(QUERN_SHAPE, "tensor %s: the model has %s %s, the file %s %s", name,
                      quern_dtype_name(shape.dtype), expected_text, quern_dtype_name(e->dtype),
                      found_text);
}

static quern_status check_surplus(const quern_safetensors *file, const quern_graph *graph) {
    const int32_t count = quern_graph_parameter_count(graph);
    for (int64_t i = 0; i < file->entry_count; i++) {
        bool known = false;
        for (int32_t k = 0; k < count && !known; k++)
            known = strcmp(quern_tensor_name(quern_graph_parameter(graph, k)),
                           file->entries[i].name) == 0;
        if (!known)
            return quern_fail(QUERN_INPUT, "the file has a tensor %s, which the model lacks",
                              file->entries[i].name);
    }
    return QUERN_OK;
}

quern_status quern_safetensors_load(const quern_safetensors *file, quern_graph *graph,
                                    quern_parameters *parameters) {
    const int32_t count = quern_graph_parameter_count(graph);
    for (int32_t i = 0; i < count; i++)
        QUERN_TRY(check_entry(file, quern_graph_parameter(graph, i)));
    QUERN_TRY(check_surplus(file, graph));
    for (int32_t i = 0; i < count; i++) {
        const quern_tensor *tensor = quern_graph_parameter(graph, i);
        const quern_safetensors_entry *e = quern_safetensors_find(file, quern_tensor_name(tensor));
        QUERN_TRY(quern_parameters_write(parameters, tensor, e->data, e->bytes));
    }
    return QUERN_OK;
}
