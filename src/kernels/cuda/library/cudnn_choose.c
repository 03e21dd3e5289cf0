/* cudnn_choose.c - which engine of cuDNN computes a graph. */
#include "cudnn_plan_parts.h"

#include <math.h>
#include <string.h>

enum { CONFIGURATIONS = 64, NOTES = CUDNN_NUMERICAL_NOTE_TYPE_COUNT, TRIALS = 8 };

static bool breaks_promise(cudnnBackendNumericalNote_t note, const cudnn_plan_desc *desc) {
    return note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION ||
           (note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC && desc->deterministic) ||
           (note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS && desc->no_tensor_cores) ||
           (note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && desc->no_tensor_cores);
}

/* An engine without notes gives a count of 0, and so would a refusal: here the two differ. */
static quern_status read_notes(cuda_libraries *l, cudnn_node engine,
                               cudnnBackendNumericalNote_t notes[NOTES], int64_t *count,
                               const char *what, bool *read) {
    *count = 0;
    const cudnnStatus_t code = l->dnn.cudnnBackendGetAttribute(
        engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, NOTES, count, notes);
    return cudnn_answer(l, code, "cudnnBackendGetAttribute", what, read);
}

/* Whether the engine of a configuration keeps what the caller asked for. */
static quern_status keeps_promises(cuda_libraries *l, cudnn_node configuration,
                                   const cudnn_plan_desc *desc, const char *what, bool *kept) {
    cudnn_node engine;
    cudnnBackendNumericalNote_t notes[NOTES];
    int64_t count = 0;
    QUERN_TRY(cudnn_make(l, CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine, what));
    quern_status status = cudnn_get(l, configuration, CUDNN_ATTR_ENGINECFG_ENGINE,
                                    CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &engine, what);
    *kept = count == 1;
    if (status == QUERN_OK && *kept) status = read_notes(l, engine, notes, &count, what, kept);
    *kept = *kept && count <= NOTES;
    for (int64_t i = 0; status == QUERN_OK && *kept && i < count; i++)
        *kept = !breaks_promise(notes[i], desc);
    cudnn_unmake(l, engine);
    return status;
}

/* Takes the configuration if it gives a plan whose scratch is within the limit. */
static quern_status try_configuration(cudnn_plan *p, cudnn_node configuration, const char *what) {
    cuda_libraries *l = p->libraries;
    cudnn_node plan;
    QUERN_TRY(cudnn_make_plan(l, &plan, what));
    quern_status status = cudnn_set(l, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                    CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &configuration, what);
    bool planned = false;
    if (status == QUERN_OK) status = cudnn_finalise(l, plan, what, &planned);
    if (planned) status = cudnn_read_scratch(l, plan, &p->scratch_bytes, what);
    if (planned && status == QUERN_OK && p->scratch_bytes <= l->dnn_limit)
        p->plan = plan;
    else
        cudnn_unmake(l, plan);
    return status;
}

static quern_status try_first(cudnn_plan *p, cudnn_node *configurations, int64_t count,
                              const cudnn_plan_desc *desc, const char *what) {
    for (int64_t i = 0; i < count && p->plan == NULL; i++) {
        bool kept;
        QUERN_TRY(keeps_promises(p->libraries, configurations[i], desc, what, &kept));
        if (kept) QUERN_TRY(try_configuration(p, configurations[i], what));
    }
    return QUERN_OK;
}

/* `p` is the faster one afterwards; the other's plan is gone. Without memory to measure in the
 * first stays. */
static quern_status keep_faster(cudnn_plan *p, cudnn_plan *other, const cudnn_graph *g,
                                const cudnn_plan_desc *desc, double *best, bool *measured) {
    double taken;
    const quern_status status = cudnn_measure(other, g, desc->tune_on, &taken, measured);
    if (*measured && !(taken < (double)INFINITY)) p->libraries->dnn_doubt = true;
    const bool better = status == QUERN_OK && (*measured ? taken < *best : p->plan == NULL);
    cudnn_unmake(p->libraries, other->pack);
    cudnn_unmake(p->libraries, better ? p->plan : other->plan);
    if (better) {
        p->plan = other->plan;
        p->scratch_bytes = other->scratch_bytes;
        p->timed = *measured;
        *best = taken;
    }
    return status;
}

/* `p` keeps the first, and counts what the largest of those that would be timed takes. */
static void keep_room(cudnn_plan *p, cudnn_plan *other) {
    if (p->plan == NULL || other->scratch_bytes > p->scratch_bytes)
        p->scratch_bytes = other->scratch_bytes;
    if (p->plan == NULL)
        p->plan = other->plan;
    else
        cudnn_unmake(p->libraries, other->plan);
}

static quern_status try_several(cudnn_plan *p, const cudnn_graph *g, cudnn_node *configurations,
                                int64_t count, const cudnn_plan_desc *desc) {
    double best = (double)INFINITY;
    bool measured = true;
    int tried = 0;
    for (int64_t i = 0; i < count && tried < TRIALS && measured; i++) {
        bool kept;
        cudnn_plan other = {.libraries = p->libraries};
        memcpy(other.op, p->op, sizeof other.op);
        QUERN_TRY(keeps_promises(p->libraries, configurations[i], desc, g->key, &kept));
        if (kept) QUERN_TRY(try_configuration(&other, configurations[i], g->key));
        if (other.plan == NULL) continue;
        tried++;
        if (desc->bytes_only)
            keep_room(p, &other);
        else
            QUERN_TRY(keep_faster(p, &other, g, desc, &best, &measured));
    }
    return QUERN_OK;
}

static quern_status try_all(cudnn_plan *p, const cudnn_graph *g, cudnn_node *configurations,
                            int64_t count, const cudnn_plan_desc *desc) {
    if (cudnn_is_tuned(p, desc)) return try_several(p, g, configurations, count, desc);
    return try_first(p, configurations, count, desc, g->key);
}

/* The configurations that the library proposes, best first; none is an answer. */
static quern_status propose(cuda_libraries *l, cudnn_node heuristic, cudnn_node out[CONFIGURATIONS],
                            int64_t *count, const char *what) {
    for (int64_t i = 0; i < CONFIGURATIONS; i++)
        QUERN_TRY(cudnn_make(l, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &out[i], what));
    QUERN_TRY(cudnn_get(l, heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                        CONFIGURATIONS, count, out, what));
    if (*count > CONFIGURATIONS) *count = CONFIGURATIONS;
    return QUERN_OK;
}

/* *proposed grows by the configurations that there are. */
static quern_status try_mode(cudnn_plan *p, const cudnn_graph *g, cudnn_node graph,
                             cudnnBackendHeurMode_t mode, const cudnn_plan_desc *desc,
                             int64_t *proposed) {
    cuda_libraries *l = p->libraries;
    const char *what = g->key;
    cudnn_node heuristic, configurations[CONFIGURATIONS] = {NULL};
    int64_t count = 0;
    QUERN_TRY(cudnn_make(l, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristic, what));
    quern_status status = cudnn_set(l, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                                    CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph, what);
    if (status == QUERN_OK)
        status = cudnn_set(l, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode,
                           what);
    if (status == QUERN_OK && l->dnn_device != NULL)
        status = cudnn_set(l, heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP,
                           CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &l->dnn_device, what);
    bool asked = false;
    if (status == QUERN_OK) status = cudnn_finalise(l, heuristic, what, &asked);
    if (status == QUERN_OK && asked) status = propose(l, heuristic, configurations, &count, what);
    *proposed += count;
    if (status == QUERN_OK) status = try_all(p, g, configurations, count, desc);
    for (int64_t i = CONFIGURATIONS - 1; i >= 0; i--) cudnn_unmake(l, configurations[i]);
    cudnn_unmake(l, heuristic);
    return status;
}

static quern_status make_graph(cudnn_graph *g, cudnn_node *out) {
    cuda_libraries *l = g->libraries;
    QUERN_TRY(cudnn_make(l, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, out, g->key));
    quern_status status =
        cudnn_set(l, *out, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                  g->operation_count, g->operations, g->key);
    if (status == QUERN_OK && l->dnn_device == NULL)
        status = cudnn_set(l, *out, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1,
                           &l->dnn_handle, g->key);
    if (status == QUERN_OK)
        status = cudnn_check(l->owner, &l->dnn, l->dnn.cudnnBackendFinalize(*out),
                             "cudnnBackendFinalize", g->key);
    if (status == QUERN_OK) return QUERN_OK;
    cudnn_unmake(l, *out);
    *out = NULL;
    return status;
}

/* Without any configuration it is the library's environment that is in doubt: behind a driver that
 * it does not know, say, it proposes nothing and calls that a success. */
quern_status cudnn_choose(cudnn_plan *p, cudnn_graph *g, const cudnn_plan_desc *desc) {
    cudnn_node graph;
    int64_t proposed = 0;
    p->libraries->dnn_doubt = false;
    QUERN_TRY(make_graph(g, &graph));
    quern_status status = try_mode(p, g, graph, CUDNN_HEUR_MODE_A, desc, &proposed);
    if (status == QUERN_OK && p->plan == NULL && !desc->no_fall_back)
        status = try_mode(p, g, graph, CUDNN_HEUR_MODE_FALLBACK, desc, &proposed);
    if (proposed == 0) p->libraries->dnn_doubt = true;
    cudnn_unmake(p->libraries, graph);
    return status;
}
