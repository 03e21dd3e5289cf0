#include "fake_cudnn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fake_cudnn_state fake_cudnn = {.version = 91900};

enum { ATTRIBUTES = 16, VALUES = 16 };

typedef struct attribute {
    cudnnBackendAttributeName_t name;
    int64_t count;
    union {
        int64_t integer[VALUES];
        void *pointer[VALUES];
        double real;
        int32_t word;
    } value;
} attribute;

typedef struct descriptor {
    cudnnBackendDescriptorType_t type;
    bool finalised;
    int32_t attribute_count;
    attribute attributes[ATTRIBUTES];
    fake_cudnn_graph graph; /* of an operation graph, a heuristic, a configuration, a plan */
} descriptor;

void fake_cudnn_begin(void) { fake_cudnn = (fake_cudnn_state){.version = 91900}; }

static cudnnStatus_t failure(void) {
    return fake_library_is_lost(&fake_cudnn.library)
               ? CUDNN_STATUS_EXECUTION_FAILED
               : CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
}
#define ENTER()                                                                                    \
    if (fake_library_enter(&fake_cudnn.library)) return failure()

static cudnnStatus_t torn_down(void) {
    return fake_library_leave(&fake_cudnn.library) ? CUDNN_STATUS_INTERNAL_ERROR
                                                   : CUDNN_STATUS_SUCCESS;
}

static descriptor *of(cudnnBackendDescriptor_t d) { return (descriptor *)d; }

static cudnnStatus_t create(cudnnHandle_t *handle) {
    ENTER();
    if (fake_cudnn.created != CUDNN_STATUS_SUCCESS) return fake_cudnn.created;
    *handle = malloc(1);
    fake_cudnn.library.live++;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t destroy(cudnnHandle_t handle) {
    free(handle);
    fake_cudnn.library.live--;
    return torn_down();
}

static cudnnStatus_t set_stream(cudnnHandle_t handle, cudaStream_t stream) {
    ENTER();
    (void)handle, (void)stream;
    return CUDNN_STATUS_SUCCESS;
}

static size_t get_version(void) { return fake_cudnn.version; }

static const char *error_string(cudnnStatus_t status) {
    return status == CUDNN_STATUS_EXECUTION_FAILED ? "CUDNN_STATUS_EXECUTION_FAILED"
                                                   : "CUDNN_STATUS_ANOTHER";
}

static void last_error(char *words, size_t bytes) { snprintf(words, bytes, "the double's words"); }

static cudnnStatus_t descriptor_create(cudnnBackendDescriptorType_t type,
                                       cudnnBackendDescriptor_t *out) {
    ENTER();
    descriptor *d = calloc(1, sizeof *d);
    if (d == NULL) abort();
    d->type = type;
    fake_cudnn.library.live++;
    *out = d;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t descriptor_destroy(cudnnBackendDescriptor_t d) {
    if (d == NULL) fake_library_misuse(&fake_cudnn.library, "destroying nothing");
    free(d);
    fake_cudnn.library.live--;
    return torn_down();
}

static const attribute *get(const descriptor *d, int name) {
    for (int32_t i = 0; i < d->attribute_count; i++)
        if ((int)d->attributes[i].name == name) return &d->attributes[i];
    return NULL;
}

static size_t value_bytes(cudnnBackendAttributeType_t type) {
    switch ((int)type) {
    case CUDNN_TYPE_BOOLEAN: return sizeof(bool);
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR: return 8;
    default: return 4;
    }
}

static bool read_text(const char *text, int64_t bytes, fake_cudnn_graph *out) {
    unsigned char *to = (unsigned char *)out;
    if (bytes != (int64_t)(2 * sizeof *out)) return false;
    for (size_t i = 0; i < sizeof *out; i++) {
        unsigned value;
        if (sscanf(text + 2 * i, "%2x", &value) != 1) return false;
        to[i] = (unsigned char)value;
    }
    return out->engine >= 0 && out->engine < FAKE_CUDNN_ENGINES && out->count > 0 &&
           out->count <= 2;
}

static cudnnStatus_t set_attribute(cudnnBackendDescriptor_t object,
                                   cudnnBackendAttributeName_t name,
                                   cudnnBackendAttributeType_t type, int64_t count,
                                   const void *values) {
    ENTER();
    descriptor *d = of(object);
    if (d == NULL || d->finalised) return CUDNN_STATUS_BAD_PARAM;
    if (name == CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION) {
        if (!read_text(values, count, &d->graph)) return CUDNN_STATUS_BAD_PARAM;
        fake_cudnn.loaded++;
        return CUDNN_STATUS_SUCCESS;
    }
    if (d->attribute_count == ATTRIBUTES || count > VALUES) abort();
    attribute *a = &d->attributes[d->attribute_count++];
    a->name = name;
    a->count = count;
    memcpy(&a->value, values, (size_t)count * value_bytes(type));
    if (type == CUDNN_TYPE_FLOAT) a->value.real = (double)*(const float *)values;
    return CUDNN_STATUS_SUCCESS;
}

/* What a tensor, a window and an operation say, when they are put into a graph. */

static bool tensor_of(const descriptor *d, int name, fake_cudnn_tensor *out) {
    const attribute *a = get(d, name);
    if (a == NULL || a->value.pointer[0] == NULL) return false;
    const descriptor *t = of(a->value.pointer[0]);
    const attribute *dims = get(t, CUDNN_ATTR_TENSOR_DIMENSIONS);
    const attribute *strides = get(t, CUDNN_ATTR_TENSOR_STRIDES);
    const attribute *is_virtual = get(t, CUDNN_ATTR_TENSOR_IS_VIRTUAL);
    if (!t->finalised || dims == NULL || strides == NULL || dims->count != 4) return false;
    out->id = get(t, CUDNN_ATTR_TENSOR_UNIQUE_ID)->value.integer[0];
    out->type = get(t, CUDNN_ATTR_TENSOR_DATA_TYPE)->value.word;
    out->is_virtual = is_virtual != NULL && (is_virtual->value.word & 1);
    out->rank = 4;
    memcpy(out->dim, dims->value.integer, sizeof out->dim);
    memcpy(out->stride, strides->value.integer, sizeof out->stride);
    return true;
}

static bool pair_of(const descriptor *d, int name, int64_t out[2]) {
    const attribute *a = get(d, name);
    if (a != NULL && a->count == 2) memcpy(out, a->value.integer, 2 * sizeof *out);
    return a != NULL && a->count == 2;
}

static bool convolution_of(const descriptor *d, fake_cudnn_operation *o, const int names[6]) {
    const attribute *a = get(d, names[0]);
    if (a == NULL || a->value.pointer[0] == NULL) return false;
    const descriptor *window = of(a->value.pointer[0]);
    const attribute *alpha = get(d, names[4]), *beta = get(d, names[5]);
    if (alpha == NULL || beta == NULL) return false;
    o->alpha = alpha->value.real;
    o->beta = beta->value.real;
    return window->finalised && tensor_of(d, names[1], &o->x) && tensor_of(d, names[2], &o->w) &&
           tensor_of(d, names[3], &o->y) &&
           get(window, CUDNN_ATTR_CONVOLUTION_CONV_MODE)->value.word == CUDNN_CROSS_CORRELATION &&
           pair_of(window, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, o->stride) &&
           pair_of(window, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, o->before) &&
           pair_of(window, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, o->after) &&
           pair_of(window, CUDNN_ATTR_CONVOLUTION_DILATIONS, o->dilation);
}

static bool operation_of(const descriptor *d, fake_cudnn_operation *o) {
    *o = (fake_cudnn_operation){.kind = (int32_t)d->type};
    switch ((int)d->type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
        return convolution_of(d, o,
                              (const int[]){CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA});
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
        return convolution_of(d, o,
                              (const int[]){CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA});
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
        return convolution_of(d, o,
                              (const int[]){CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA});
    default:
        return get(of(get(d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR)->value.pointer[0]),
                   CUDNN_ATTR_POINTWISE_MODE)
                       ->value.word == CUDNN_POINTWISE_ADD &&
               tensor_of(d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &o->x) &&
               tensor_of(d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &o->w) &&
               tensor_of(d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &o->y);
    }
}

static bool graph_of(descriptor *d) {
    const attribute *a = get(d, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    if (a == NULL || a->count < 1 || a->count > 2) return false;
    d->graph.count = (int32_t)a->count;
    for (int64_t i = 0; i < a->count; i++)
        if (!of(a->value.pointer[i])->finalised ||
            !operation_of(of(a->value.pointer[i]), &d->graph.operations[i]) ||
            !fake_cudnn_check(&d->graph.operations[i]))
            return false;
    return true;
}

static cudnnStatus_t refusal(void) {
    return fake_cudnn.refusal != CUDNN_STATUS_SUCCESS ? fake_cudnn.refusal
                                                      : CUDNN_STATUS_NOT_SUPPORTED;
}

static cudnnStatus_t finalise_plan(descriptor *d) {
    const attribute *configuration = get(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    if (get(d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE) == NULL) return CUDNN_STATUS_BAD_PARAM;
    if (configuration != NULL) {
        d->graph = of(configuration->value.pointer[0])->graph;
        fake_cudnn.planned++;
    }
    if (d->graph.count == 0) return CUDNN_STATUS_BAD_PARAM;
    return fake_cudnn.refused >> d->graph.engine & 1 ? refusal() : CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t finalise(cudnnBackendDescriptor_t object) {
    ENTER();
    descriptor *d = of(object);
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    if (d->type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR && !graph_of(d))
        status = CUDNN_STATUS_BAD_PARAM;
    if (d->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)
        d->graph = of(get(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)->value.pointer[0])->graph;
    if (d->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) status = finalise_plan(d);
    d->finalised = status == CUDNN_STATUS_SUCCESS;
    return status;
}

static size_t scratch_of(const descriptor *plan) {
    static const size_t times[] = {1, 3, 2}; /* the fastest setting is neither end */
    return 512 * (size_t)(1 + plan->graph.engine) * times[plan->graph.knob % 3];
}

/* The first choice knows engines 0 to 2, the fall-back the last. */
static int64_t propose(const descriptor *heuristic, int64_t room, void **out) {
    const attribute *mode = get(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE);
    const bool fall_back = mode->value.word == CUDNN_HEUR_MODE_FALLBACK;
    const int32_t first = fall_back ? FAKE_CUDNN_ENGINES - 1 : 0;
    const int32_t stop = fall_back ? FAKE_CUDNN_ENGINES : FAKE_CUDNN_ENGINES - 1;
    int64_t count = 0;
    const int32_t knobs = fake_cudnn.knobs > 0 ? fake_cudnn.knobs : 1;
    for (int32_t i = first * knobs; !fake_cudnn.silent && i < stop * knobs && count < room; i++) {
        descriptor *configuration = of(out[count++]);
        configuration->graph = heuristic->graph;
        configuration->graph.engine = i / knobs;
        configuration->graph.knob = i % knobs;
    }
    return count;
}

static void write_text(const fake_cudnn_graph *graph, char *to) {
    for (size_t i = 0; i < sizeof *graph; i++) {
        char hex[3];
        snprintf(hex, sizeof hex, "%02x", ((const unsigned char *)graph)[i]);
        memcpy(to + 2 * i, hex, 2);
    }
}

static cudnnStatus_t get_attribute(cudnnBackendDescriptor_t object,
                                   cudnnBackendAttributeName_t name,
                                   cudnnBackendAttributeType_t type, int64_t room, int64_t *count,
                                   void *to) {
    static const cudnnBackendNumericalNote_t notes[FAKE_CUDNN_ENGINES - 1] = {
        CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC,
        CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION};
    ENTER();
    (void)type;
    const descriptor *d = of(object);
    if (fake_cudnn.unread != 0 && fake_cudnn.unread == (int32_t)name) return refusal();
    *count = 1;
    switch ((int)name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS: *count = propose(d, room, to); break;
    case CUDNN_ATTR_ENGINECFG_ENGINE: of(*(void **)to)->graph = d->graph; break;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
        *count = d->graph.engine < FAKE_CUDNN_ENGINES - 1;
        if (*count > 0) memcpy(to, &notes[d->graph.engine], sizeof notes[0]);
        break;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE: *(int64_t *)to = (int64_t)scratch_of(d); break;
    case CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION:
        *count = (int64_t)(2 * sizeof d->graph);
        if (to != NULL) write_text(&d->graph, to);
        break;
    default: return CUDNN_STATUS_BAD_PARAM;
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t fake_cudnn_describe(cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack,
                                  fake_cudnn_run *out) {
    const attribute *ids = get(of(pack), CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    const attribute *pointers = get(of(pack), CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    const attribute *scratch = get(of(pack), CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
    if (!of(plan)->finalised || !of(pack)->finalised || ids == NULL || pointers == NULL ||
        ids->count != pointers->count || ids->count > FAKE_CUDNN_POINTERS || scratch == NULL ||
        scratch->value.pointer[0] == NULL)
        return CUDNN_STATUS_BAD_PARAM;
    if ((uintptr_t)scratch->value.pointer[0] % 256 != 0)
        return CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER;
    *out = (fake_cudnn_run){.graph = of(plan)->graph,
                            .count = ids->count,
                            .scratch = scratch->value.pointer[0],
                            .scratch_bytes = scratch_of(of(plan))};
    for (int64_t i = 0; i < out->count; i++) {
        out->ids[i] = ids->value.integer[i];
        out->pointers[i] = pointers->value.pointer[i];
        if ((uintptr_t)out->pointers[i] % 16 != 0) return CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER;
    }
    return CUDNN_STATUS_SUCCESS;
}

static bool is_channels_last(const fake_cudnn_tensor *t) {
    const int64_t *s = t->stride, c = t->dim[1];
    return s[1] == 1 && s[3] == c && s[2] == c * t->dim[3] && s[0] == c * t->dim[3] * t->dim[2];
}

cudnnStatus_t fake_cudnn_perform(const fake_cudnn_run *run) {
    static const int64_t taken_ns[] = {100000, 50000, 1000};
    memset(run->scratch, 0xFF, run->scratch_bytes);
    fake_cudnn.executed++;
    fake_cudnn.last_engine = run->graph.engine;
    fake_cudnn.channels_last += is_channels_last(&run->graph.operations[0].x) &&
                                is_channels_last(&run->graph.operations[0].y);
    fake_cudnn.last_knob = run->graph.knob;
    fake_cudnn.taken_ns += taken_ns[run->graph.knob % 3];
    return fake_cudnn_compute(&run->graph, run->ids, run->pointers, run->count)
               ? CUDNN_STATUS_SUCCESS
               : CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
}

static cudnnStatus_t execute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                             cudnnBackendDescriptor_t pack) {
    ENTER();
    fake_cudnn_run run;
    if (handle == NULL) return CUDNN_STATUS_BAD_PARAM;
    const cudnnStatus_t status = fake_cudnn_describe(plan, pack, &run);
    if (fake_cudnn.broken >> of(plan)->graph.knob & 1) return refusal();
    return status == CUDNN_STATUS_SUCCESS ? fake_cudnn_perform(&run) : status;
}

quern_status cudnn_open(cudnn_table *out) {
    if (fake_library_enter(&fake_cudnn.library))
        return quern_fail(QUERN_HOST_MEMORY, "libcudnn cannot be loaded: planned");
    if (fake_cudnn.absent)
        return quern_fail(QUERN_UNSUPPORTED, "libcudnn.so.9 cannot be loaded: it is absent");
    *out = (cudnn_table){
        .cudnnCreate = create,
        .cudnnDestroy = destroy,
        .cudnnSetStream = set_stream,
        .cudnnGetVersion = get_version,
        .cudnnGetErrorString = error_string,
        .cudnnGetLastErrorString = last_error,
        .cudnnBackendCreateDescriptor = descriptor_create,
        .cudnnBackendDestroyDescriptor = descriptor_destroy,
        .cudnnBackendFinalize = finalise,
        .cudnnBackendSetAttribute = set_attribute,
        .cudnnBackendGetAttribute = get_attribute,
        .cudnnBackendExecute = execute,
    };
    return QUERN_OK;
}
