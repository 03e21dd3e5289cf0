/* product_choose.c - which algorithm a product uses. */
#include "algorithm_record.h"
#include "algorithm_text.h"
#include "product_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PROPOSAL_MAX = 16 };

#define BLAS_TRY(p, name, arguments)                                                               \
    QUERN_TRY(cublaslt_check((p)->libraries->owner, &(p)->libraries->blas,                         \
                             (p)->libraries->blas.name arguments, #name, (p)->what))

/* Shape, layouts, types, epilogue; library version and device are the file's. */
static void product_key(const product *p, product_alignment alignment, char *to, size_t bytes) {
    snprintf(to, bytes, "%s%s", strstr(p->what, "product "),
             alignment == PRODUCT_ALIGNED ? ", aligned" : "");
}

/* The same in the algorithm record, which is of any library and device. */
static void record_key(const product *p, const char *key, char *to, size_t bytes) {
    snprintf(to, bytes, "cublasLt %zu; %s; %s", p->libraries->blas.cublasLtGetVersion(),
             p->libraries->device, key);
}

/* Of A and B, or of the result and what an epilogue has beside it. */
static uint32_t alignment_bytes(const product *p, product_alignment alignment, bool result) {
    if (alignment == PRODUCT_ALIGNED) return 16;
    return (uint32_t)(result ? p->result_bytes : p->element_bytes);
}

static quern_status set_preference(product *p, cublasLtMatmulPreference_t preference,
                                   product_alignment alignment) {
    static const cublasLtMatmulPreferenceAttributes_t operands[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const size_t limit = LIBRARY_WORKSPACE_LIMIT;
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++) {
        const uint32_t least = alignment_bytes(p, alignment, i >= 2);
        BLAS_TRY(p, cublasLtMatmulPreferenceSetAttribute,
                 (preference, operands[i], &least, sizeof least));
    }
    BLAS_TRY(p, cublasLtMatmulPreferenceSetAttribute,
             (preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &limit, sizeof limit));
    return QUERN_OK;
}

/* The library reads the alignment of bias and aux from the pointers; nothing is there yet. */
static quern_status set_stand_ins(product *p, product_alignment alignment) {
    const uintptr_t stand_in = alignment_bytes(p, alignment, true);
    if (product_has_bias(p))
        BLAS_TRY(p, cublasLtMatmulDescSetAttribute,
                 (p->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &stand_in, sizeof stand_in));
    if (product_has_aux(p))
        BLAS_TRY(
            p, cublasLtMatmulDescSetAttribute,
            (p->operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &stand_in, sizeof stand_in));
    return QUERN_OK;
}

/* It is no answer: of a plain product it is a failure of ours. Of an epilogue it may be its way to
 * say that there is no such one for these types, which the manual leaves open. */
static quern_status tell_invalid(const product *p, cublasStatus_t code) {
    if (p->desc.epilogue == PRODUCT_PLAIN)
        return cublaslt_check(p->libraries->owner, &p->libraries->blas, code,
                              "cublasLtMatmulAlgoGetHeuristic", p->what);
    if (!p->libraries->told_invalid)
        cuda_services()->log(p->libraries->host, QUERN_LOG_WARNING,
                             "%s: cuBLASLt calls it invalid, and it is done without the epilogue",
                             p->what);
    p->libraries->told_invalid = true;
    return QUERN_OK;
}

/* "No such thing here" is an answer, not a failure: *count 0. */
static quern_status ask(product *p, cublasLtMatmulPreference_t preference,
                        product_choice proposals[PROPOSAL_MAX], int *count) {
    cublasLtMatmulHeuristicResult_t results[PROPOSAL_MAX];
    int got = 0;
    const cublasStatus_t code = p->libraries->blas.cublasLtMatmulAlgoGetHeuristic(
        p->libraries->blas_handle, p->operation, p->first, p->second, p->result, p->result,
        preference, PROPOSAL_MAX, results, &got);
    *count = 0;
    if (code == CUBLAS_STATUS_INVALID_VALUE) return tell_invalid(p, code);
    bool answered;
    QUERN_TRY(cublaslt_ask(p->libraries->owner, &p->libraries->blas, code,
                           "cublasLtMatmulAlgoGetHeuristic", p->what, &answered));
    for (int i = 0; answered && i < got; i++)
        if (results[i].state == CUBLAS_STATUS_SUCCESS &&
            results[i].workspaceSize <= LIBRARY_WORKSPACE_LIMIT)
            proposals[(*count)++] =
                (product_choice){results[i].algo, results[i].workspaceSize, true};
    return QUERN_OK;
}

static quern_status propose(product *p, product_alignment alignment,
                            product_choice proposals[PROPOSAL_MAX], int *count) {
    cublasLtMatmulPreference_t preference;
    BLAS_TRY(p, cublasLtMatmulPreferenceCreate, (&preference));
    quern_status status = set_preference(p, preference, alignment);
    if (status == QUERN_OK) status = ask(p, preference, proposals, count);
    TORN_DOWN_BLAS(p->libraries, cublasLtMatmulPreferenceDestroy, (preference));
    return status;
}

/* An algorithm of another run is used if the library still accepts it for this product: then
 * out->found. */
static quern_status accept(product *p, const cublasLtMatmulAlgo_t *kept, product_choice *out) {
    cublasLtMatmulHeuristicResult_t result;
    bool accepted;
    const cublasStatus_t code = p->libraries->blas.cublasLtMatmulAlgoCheck(
        p->libraries->blas_handle, p->operation, p->first, p->second, p->result, p->result, kept,
        &result);
    QUERN_TRY(cublaslt_ask(p->libraries->owner, &p->libraries->blas, code,
                           "cublasLtMatmulAlgoCheck", p->what, &accepted));
    if (accepted && result.workspaceSize <= LIBRARY_WORKSPACE_LIMIT)
        *out = (product_choice){*kept, result.workspaceSize, true};
    return QUERN_OK;
}

static quern_status recall(product *p, const char *key, product_choice *out) {
    const cublasLtMatmulAlgo_t *kept = algorithm_cache_find(&p->libraries->algorithms, key);
    if (kept == NULL) return QUERN_OK;
    QUERN_TRY(accept(p, kept, out));
    if (!out->found)
        libraries_tell_unusable(p->libraries, "a remembered algorithm", "cuBLASLt refuses it");
    return QUERN_OK;
}

/* What the record says; *followed: that the library accepts it, or that there is nothing. */
static quern_status follow_record(product *p, const char *key, product_choice *out,
                                  bool *followed) {
    cublasLtMatmulAlgo_t algorithm;
    const char *text = algorithm_record_find(p->libraries->record, key);
    *followed = text != NULL && strcmp(text, RECORD_NONE) == 0 && p->desc.epilogue != PRODUCT_PLAIN;
    if (text == NULL || strcmp(text, RECORD_NONE) == 0) return QUERN_OK;
    if (strlen(text) == ALGORITHM_TEXT && algorithm_text_read(text, &algorithm))
        QUERN_TRY(accept(p, &algorithm, out));
    *followed = out->found;
    if (!out->found)
        libraries_tell_unusable(p->libraries, "the algorithm record",
                                "cuBLASLt refuses what it says");
    return QUERN_OK;
}

/* What will mostly run. A plan that only counts bytes measures nothing: a search for the largest
 * batch makes many. */
static bool is_measured(const product *p, product_alignment alignment) {
    const bool mostly = p->desc.alignment == 0 || p->desc.alignment >= 16
                            ? alignment == PRODUCT_ALIGNED
                            : alignment == PRODUCT_ANY;
    return p->libraries->tune && !p->desc.bytes_only && mostly;
}

/* Whichever proposal turns out to be the fastest then fits into what was counted. */
static void keep_room(product_choice *out, const product_choice *proposals, int count) {
    for (int i = 0; i < count; i++)
        if (proposals[i].scratch_bytes > out->scratch_bytes)
            out->scratch_bytes = proposals[i].scratch_bytes;
}

/* With tuning the remembered one, else the fastest, which is then remembered; without, the first
 * proposal, never a timing. */
static quern_status find(product *p, quern_stream *stream, product_alignment alignment,
                         const char *key) {
    product_choice proposals[PROPOSAL_MAX];
    int count = 0, fastest = 0;
    if (p->libraries->tune) QUERN_TRY(recall(p, key, &p->choices[alignment]));
    if (p->choices[alignment].found) return QUERN_OK;
    QUERN_TRY(propose(p, alignment, proposals, &count));
    if (count == 0) return QUERN_OK;
    if (p->libraries->tune && p->desc.bytes_only) keep_room(&proposals[0], proposals, count);
    if (is_measured(p, alignment))
        QUERN_TRY(product_measure(p, stream, proposals, count, &fastest));
    p->choices[alignment] = proposals[fastest >= 0 ? fastest : 0];
    if (fastest < 0 || !is_measured(p, alignment)) return QUERN_OK;
    return algorithm_cache_keep(p->libraries, key, &proposals[fastest].algorithm);
}

static quern_status choose(product *p, quern_stream *stream, product_alignment alignment) {
    char key[ALGORITHM_KEY_BYTES], recorded[ALGORITHM_KEY_BYTES + 192];
    char text[ALGORITHM_TEXT + 1] = RECORD_NONE;
    product_key(p, alignment, key, sizeof key);
    record_key(p, key, recorded, sizeof recorded);
    QUERN_TRY(set_stand_ins(p, alignment));
    bool followed;
    QUERN_TRY(follow_record(p, recorded, &p->choices[alignment], &followed));
    if (!followed) QUERN_TRY(find(p, stream, alignment, key));
    if (p->choices[alignment].found) {
        algorithm_text_write(&p->choices[alignment].algorithm, text);
        text[ALGORITHM_TEXT] = 0;
    }
    return algorithm_record_keep(p->libraries->record, recorded, text);
}

quern_status product_choose(product *p, quern_stream *stream) {
    QUERN_TRY(choose(p, stream, PRODUCT_ALIGNED));
    if (p->desc.alignment >= 16 && p->choices[PRODUCT_ALIGNED].found) return QUERN_OK;
    return choose(p, stream, PRODUCT_ANY);
}
