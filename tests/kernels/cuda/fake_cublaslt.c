#include "fake_cublaslt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ALGORITHM_MAGIC UINT64_C(0x5175657246616b65)

fake_cublaslt_state fake_cublaslt = {.proposals = 3, .version = 130100};

typedef struct layout {
    uint32_t type;
    uint64_t rows, columns;
    int64_t pitch, step;
    int32_t batch;
} layout;

typedef struct operation {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    cublasOperation_t transpose_a, transpose_b;
    cublasLtEpilogue_t epilogue;
    void *bias, *aux;
    int64_t aux_pitch;
} operation;

typedef struct preference {
    uint32_t alignment;
    size_t workspace;
} preference;

void fake_cublaslt_begin(void) {
    fake_cublaslt = (fake_cublaslt_state){.proposals = 3, .version = 130100};
}

static cublasStatus_t failure(void) {
    return fake_library_is_lost(&fake_cublaslt.library) ? CUBLAS_STATUS_EXECUTION_FAILED
                                                        : CUBLAS_STATUS_ALLOC_FAILED;
}
#define ENTER()                                                                                    \
    if (fake_library_enter(&fake_cublaslt.library)) return failure()

static void *object_create(size_t bytes) {
    void *object = calloc(1, bytes);
    if (object == NULL) abort();
    fake_cublaslt.library.live++;
    return object;
}

/* Destroying counts among no calls: it must work after every failure; its own are only noted. */
static cublasStatus_t object_destroy(void *object) {
    if (object == NULL) fake_library_misuse(&fake_cublaslt.library, "destroying nothing");
    free(object);
    fake_cublaslt.library.live--;
    return fake_library_leave(&fake_cublaslt.library) ? CUBLAS_STATUS_INTERNAL_ERROR
                                                      : CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t create(cublasLtHandle_t *handle) {
    ENTER();
    if (fake_cublaslt.created != CUBLAS_STATUS_SUCCESS) return fake_cublaslt.created;
    *handle = object_create(1);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t destroy(cublasLtHandle_t handle) { return object_destroy(handle); }

static size_t get_version(void) { return fake_cublaslt.version; }

static const char *status_name(cublasStatus_t status) {
    return status == CUBLAS_STATUS_ALLOC_FAILED ? "CUBLAS_STATUS_ALLOC_FAILED"
                                                : "CUBLAS_STATUS_ANOTHER";
}

static cublasStatus_t layout_create(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows,
                                    uint64_t columns, int64_t pitch) {
    ENTER();
    if (pitch < (int64_t)rows) return CUBLAS_STATUS_INVALID_VALUE;
    layout *l = object_create(sizeof *l);
    *l = (layout){(uint32_t)type, rows, columns, pitch, 0, 1};
    *out = (cublasLtMatrixLayout_t)(void *)l;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t layout_destroy(cublasLtMatrixLayout_t l) { return object_destroy(l); }

static cublasStatus_t layout_set(cublasLtMatrixLayout_t object,
                                 cublasLtMatrixLayoutAttribute_t attribute, const void *value,
                                 size_t bytes) {
    ENTER();
    layout *l = (layout *)(void *)object;
    if (attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT && bytes == sizeof l->batch)
        memcpy(&l->batch, value, bytes);
    else if (attribute == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET && bytes == sizeof l->step)
        memcpy(&l->step, value, bytes);
    else
        return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t operation_create(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                       cudaDataType_t scale) {
    ENTER();
    operation *o = object_create(sizeof *o);
    *o = (operation){.compute = compute,
                     .scale = scale,
                     .transpose_a = CUBLAS_OP_N,
                     .transpose_b = CUBLAS_OP_N,
                     .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    if (compute == CUBLAS_COMPUTE_32F_FAST_TF32) fake_cublaslt.tf32 = true;
    *out = (cublasLtMatmulDesc_t)(void *)o;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t operation_destroy(cublasLtMatmulDesc_t o) { return object_destroy(o); }

static cublasStatus_t operation_set(cublasLtMatmulDesc_t object,
                                    cublasLtMatmulDescAttributes_t attribute, const void *value,
                                    size_t bytes) {
    ENTER();
    operation *o = (operation *)(void *)object;
    void *to = NULL;
    size_t expected = 4;
    switch ((int)attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: to = &o->transpose_a; break;
    case CUBLASLT_MATMUL_DESC_TRANSB: to = &o->transpose_b; break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE: to = &o->epilogue; break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: to = &o->bias, expected = sizeof o->bias; break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: to = &o->aux, expected = sizeof o->aux; break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
        to = &o->aux_pitch, expected = sizeof o->aux_pitch;
        break;
    default: break;
    }
    if (to == NULL || bytes != expected) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t preference_create(cublasLtMatmulPreference_t *out) {
    ENTER();
    preference *p = object_create(sizeof *p);
    *p = (preference){256, 0};
    *out = (cublasLtMatmulPreference_t)(void *)p;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t preference_destroy(cublasLtMatmulPreference_t p) { return object_destroy(p); }

static cublasStatus_t preference_set(cublasLtMatmulPreference_t object,
                                     cublasLtMatmulPreferenceAttributes_t attribute,
                                     const void *value, size_t bytes) {
    ENTER();
    preference *p = (preference *)(void *)object;
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        memcpy(&p->workspace, value, bytes);
    else
        memcpy(&p->alignment, value, bytes); /* the same for every operand */
    return CUBLAS_STATUS_SUCCESS;
}

/* What an algorithm was proposed for: another layout's is not this one's. */
static uint64_t layout_hash(const operation *o, const layout *a, const layout *b, const layout *d) {
    const layout *all[] = {a, b, d};
    uint64_t hash = (uint64_t)o->epilogue * 31 + (uint64_t)o->transpose_a * 7 +
                    (uint64_t)o->transpose_b * 3 + (uint64_t)o->compute;
    for (int i = 0; i < 3; i++)
        hash = hash * 1000003 + all[i]->rows * 131 + all[i]->columns * 17 +
               (uint64_t)all[i]->pitch * 5 + (uint64_t)all[i]->batch + all[i]->type;
    return hash;
}

static const int64_t taken_ns[] = {100000, 1000, 50000};

static size_t workspace_of(uint64_t index) { return 1024 * (size_t)(index + 1); }

/* Bits of cublasLtEpilogue_t. */
enum {
    RELU = CUBLASLT_EPILOGUE_RELU,
    GELU = CUBLASLT_EPILOGUE_GELU,
    BIAS = CUBLASLT_EPILOGUE_BIAS,
    AUX = CUBLASLT_EPILOGUE_RELU_AUX & ~CUBLASLT_EPILOGUE_RELU,
    DRELU = CUBLASLT_EPILOGUE_DRELU & ~AUX,
    DGELU = CUBLASLT_EPILOGUE_DGELU & ~AUX,
    BGRAD = CUBLASLT_EPILOGUE_DGELU_BGRAD & ~CUBLASLT_EPILOGUE_DGELU,
    BGRADB = CUBLASLT_EPILOGUE_BGRADB,
};

static bool has(const operation *o, int bits) { return ((int)o->epilogue & bits) != 0; }

/* As cublasLt.h says of CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD. */
static bool aux_fits(const operation *o, const layout *d) {
    const int64_t unit = has(o, RELU | DRELU) ? 128 : 8;
    return !has(o, AUX) || (o->aux_pitch % unit == 0 && o->aux_pitch >= (int64_t)d->rows);
}

static cublasStatus_t refusal(void) {
    return fake_cublaslt.refusal != CUBLAS_STATUS_SUCCESS ? fake_cublaslt.refusal
                                                          : CUBLAS_STATUS_NOT_SUPPORTED;
}

static bool supported(const operation *o, const layout *d) {
    if (o->epilogue == CUBLASLT_EPILOGUE_DEFAULT) return true;
    if (fake_cublaslt.no_aux && has(o, AUX)) return false;
    return !fake_cublaslt.plain_only && d->type != CUDA_R_64F && aux_fits(o, d);
}

static cublasStatus_t heuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t od,
                                cublasLtMatrixLayout_t ad, cublasLtMatrixLayout_t bd,
                                cublasLtMatrixLayout_t cd, cublasLtMatrixLayout_t dd,
                                cublasLtMatmulPreference_t pd, int wanted,
                                cublasLtMatmulHeuristicResult_t results[], int *count) {
    ENTER();
    (void)handle, (void)cd;
    const operation *o = (const operation *)(const void *)od;
    const preference *p = (const preference *)(const void *)pd;
    const layout *d = (const layout *)(const void *)dd;
    fake_cublaslt.heuristics++;
    *count = 0;
    if (fake_cublaslt.invalid == 1 ||
        (fake_cublaslt.invalid == 2 && o->epilogue != CUBLASLT_EPILOGUE_DEFAULT))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (fake_cublaslt.aligned_only && p->alignment < 16) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (!supported(o, d)) return refusal();
    for (int i = 0; i < wanted && i < fake_cublaslt.proposals; i++) {
        cublasLtMatmulHeuristicResult_t *r = &results[(*count)++];
        memset(r, 0, sizeof *r);
        r->algo.data[0] = ALGORITHM_MAGIC;
        r->algo.data[1] = (uint64_t)i;
        r->algo.data[2] = p->alignment;
        r->algo.data[3] =
            layout_hash(o, (const layout *)(const void *)ad, (const layout *)(const void *)bd, d);
        r->workspaceSize = workspace_of((uint64_t)i);
        r->state = CUBLAS_STATUS_SUCCESS;
    }
    return *count > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

static bool belongs(const cublasLtMatmulAlgo_t *algorithm, const operation *o, const layout *a,
                    const layout *b, const layout *d) {
    return algorithm->data[0] == ALGORITHM_MAGIC && algorithm->data[3] == layout_hash(o, a, b, d);
}

static cublasStatus_t algorithm_check(cublasLtHandle_t handle, cublasLtMatmulDesc_t od,
                                      cublasLtMatrixLayout_t ad, cublasLtMatrixLayout_t bd,
                                      cublasLtMatrixLayout_t cd, cublasLtMatrixLayout_t dd,
                                      const cublasLtMatmulAlgo_t *algorithm,
                                      cublasLtMatmulHeuristicResult_t *result) {
    ENTER();
    (void)handle, (void)cd;
    if (!belongs(algorithm, (const operation *)(const void *)od, (const layout *)(const void *)ad,
                 (const layout *)(const void *)bd, (const layout *)(const void *)dd))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    result->workspaceSize = workspace_of(algorithm->data[1]);
    result->state = CUBLAS_STATUS_SUCCESS;
    return CUBLAS_STATUS_SUCCESS;
}

static quern_dtype dtype_of(uint32_t type) {
    switch (type) {
    case CUDA_R_32F: return QUERN_F32;
    case CUDA_R_64F: return QUERN_F64;
    case CUDA_R_16F: return QUERN_F16;
    default: return QUERN_BF16;
    }
}

typedef struct matrix {
    const layout *l;
    char *data; /* of this product of the batch */
    bool transpose;
} matrix;

static matrix matrix_of(const layout *l, const void *data, cublasOperation_t op, int32_t i) {
    const size_t bytes = quern_dtype_bytes(dtype_of(l->type));
    return (matrix){l, (char *)(uintptr_t)data + (int64_t)i * l->step * (int64_t)bytes,
                    op != CUBLAS_OP_N};
}

static double element(matrix m, int64_t row, int64_t column) {
    const int64_t r = m.transpose ? column : row, c = m.transpose ? row : column;
    return fake_number_read(m.data, dtype_of(m.l->type), r + c * m.l->pitch);
}

size_t fake_cublaslt_scale_bytes(cublasLtMatmulDesc_t od) {
    const operation *o = (const operation *)od;
    return o->scale == CUDA_R_64F ? sizeof(double) : sizeof(float);
}

static double factor(const operation *o, const void *value) {
    return o->scale == CUDA_R_64F ? *(const double *)value : (double)*(const float *)value;
}

static double gelu(double x, double *slope) {
    const double root = sqrt(2 / 3.14159265358979323846);
    const double t = tanh(root * (x + 0.044715 * x * x * x));
    *slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * root * (1 + 3 * 0.044715 * x * x);
    return 0.5 * x * (1 + t);
}

static bool bit_read(const operation *o, int64_t at) {
    return (((const unsigned char *)o->aux)[at / 8] >> (at % 8) & 1) != 0;
}

static void bit_write(const operation *o, int64_t at, bool bit) {
    unsigned char *byte = &((unsigned char *)o->aux)[at / 8];
    *byte = (unsigned char)((*byte & ~(1 << at % 8)) | bit << at % 8);
}

/* What the epilogue makes of a number at row i, column j of D. */
static double finish(const operation *o, quern_dtype dtype, double value, int64_t i, int64_t j) {
    const int64_t at = i + j * o->aux_pitch;
    double slope = 0;
    if (has(o, BIAS)) value += fake_number_read(o->bias, dtype, i);
    if (has(o, DRELU)) return bit_read(o, at) ? value : 0;
    if (has(o, DGELU)) {
        (void)gelu(fake_number_read(o->aux, dtype, at), &slope);
        return value * slope;
    }
    if (has(o, RELU)) {
        if (has(o, AUX)) bit_write(o, at, value > 0);
        return value <= 0 ? 0 : value;
    }
    if (!has(o, GELU)) return value;
    if (has(o, AUX)) fake_number_write(o->aux, dtype, at, value);
    return gelu(value, &slope);
}

/* Column by column: bias runs along the rows of D; BGRADB sums B's columns over k, and a slope's
 * BGRAD the rows of D. */
static void multiply(const operation *o, double alpha, double beta, matrix a, matrix b, matrix c,
                     matrix d, int64_t k) {
    const quern_dtype dtype = dtype_of(d.l->type);
    for (int64_t j = 0; j < (int64_t)d.l->columns; j++) {
        for (int64_t i = 0; i < (int64_t)d.l->rows; i++) {
            double sum = 0;
            for (int64_t t = 0; t < k; t++) sum += element(a, i, t) * element(b, t, j);
            sum = alpha * sum + (beta != 0 ? beta * element(c, i, j) : 0);
            fake_number_write(d.data, dtype, i + j * d.l->pitch, finish(o, dtype, sum, i, j));
        }
        if (!has(o, BGRADB)) continue;
        double sum = 0;
        for (int64_t t = 0; t < k; t++) sum += element(b, t, j);
        fake_number_write(o->bias, dtype, j, sum);
    }
    for (int64_t i = 0; has(o, BGRAD) && i < (int64_t)d.l->rows; i++) {
        double sum = 0;
        for (int64_t j = 0; j < (int64_t)d.l->columns; j++) sum += element(d, i, j);
        fake_number_write(o->bias, dtype, i, sum);
    }
}

static void check_call(const operation *o, const cublasLtMatmulAlgo_t *algorithm,
                       const void *const pointers[5], const void *workspace, size_t bytes) {
    fake_library *l = &fake_cublaslt.library;
    for (int i = 0; i < 5; i++)
        if ((uintptr_t)pointers[i] % algorithm->data[2] != 0)
            fake_library_misuse(l, "operand %d lies on less than %d bytes", i,
                                (int)algorithm->data[2]);
    if (workspace == NULL || bytes < workspace_of(algorithm->data[1]))
        fake_library_misuse(l, "%d bytes of workspace, needs %d", (int)bytes,
                            (int)workspace_of(algorithm->data[1]));
    if ((uintptr_t)workspace % 256 != 0)
        fake_library_misuse(l, "workspace that lies on less than 256 bytes");
    if (has(o, BIAS | BGRAD | BGRADB) && (uintptr_t)o->bias < 4096)
        fake_library_misuse(l, "an epilogue without its vector");
    if (has(o, AUX) && (uintptr_t)o->aux < 4096)
        fake_library_misuse(l, "an epilogue without its auxiliary matrix");
}

static void note_operand(const void *pa, const layout *a) {
    const quern_dtype dtype = dtype_of(a->type);
    bool zero = true;
    for (int64_t i = 0; i < 4 && i < (int64_t)(a->rows * a->columns); i++)
        zero = zero && fake_number_read(pa, dtype, i) == 0;
    fake_cublaslt.zeros += zero;
    fake_cublaslt.stayed += pa == fake_cublaslt.last_a;
    fake_cublaslt.last_a = pa;
}

static cublasStatus_t matmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t od, const void *alpha,
                             const void *pa, cublasLtMatrixLayout_t ad, const void *pb,
                             cublasLtMatrixLayout_t bd, const void *beta, const void *pc,
                             cublasLtMatrixLayout_t cd, void *pd, cublasLtMatrixLayout_t dd,
                             const cublasLtMatmulAlgo_t *algorithm, void *workspace, size_t bytes,
                             cudaStream_t stream) {
    ENTER();
    (void)stream;
    const operation *o = (const operation *)(const void *)od;
    const layout *a = (const layout *)(const void *)ad, *b = (const layout *)(const void *)bd;
    const layout *c = (const layout *)(const void *)cd, *d = (const layout *)(const void *)dd;
    const uint64_t m = o->transpose_a ? a->columns : a->rows;
    const uint64_t k = o->transpose_a ? a->rows : a->columns;
    const uint64_t kb = o->transpose_b ? b->columns : b->rows;
    const uint64_t n = o->transpose_b ? b->rows : b->columns;
    if (handle == NULL || k != kb || d->rows != m || d->columns != n || c->rows != m ||
        c->columns != n || a->batch != d->batch || b->batch != d->batch ||
        !belongs(algorithm, o, a, b, d) || !supported(o, d))
        return CUBLAS_STATUS_INVALID_VALUE;
    check_call(o, algorithm, (const void *const[]){pa, pb, pd, o->bias, o->aux}, workspace, bytes);
    if (fake_cublaslt.library.misuse[0] != 0) return CUBLAS_STATUS_INVALID_VALUE;
    if (fake_cublaslt.broken >> algorithm->data[1] & 1) return refusal();
    note_operand(pa, a);
    memset(workspace, 0xFF, workspace_of(algorithm->data[1]));
    for (int32_t i = 0; i < d->batch; i++)
        multiply(o, factor(o, alpha), factor(o, beta), matrix_of(a, pa, o->transpose_a, i),
                 matrix_of(b, pb, o->transpose_b, i), matrix_of(c, pc, CUBLAS_OP_N, i),
                 matrix_of(d, pd, CUBLAS_OP_N, i), (int64_t)k);
    fake_cublaslt.products++;
    fake_cublaslt.epilogue_products += o->epilogue != CUBLASLT_EPILOGUE_DEFAULT;
    fake_cublaslt.aux_products += has(o, AUX);
    fake_cublaslt.last_index = algorithm->data[1];
    fake_cublaslt.taken_ns += taken_ns[algorithm->data[1] % 3];
    return CUBLAS_STATUS_SUCCESS;
}

quern_status cublaslt_open(cublaslt_table *out) {
    if (fake_library_enter(&fake_cublaslt.library))
        return quern_fail(QUERN_UNSUPPORTED, "libcublasLt cannot be loaded: planned");
    *out = (cublaslt_table){
        .cublasLtCreate = create,
        .cublasLtDestroy = destroy,
        .cublasLtGetVersion = get_version,
        .cublasLtGetStatusName = status_name,
        .cublasLtMatrixLayoutCreate = layout_create,
        .cublasLtMatrixLayoutDestroy = layout_destroy,
        .cublasLtMatrixLayoutSetAttribute = layout_set,
        .cublasLtMatmulDescCreate = operation_create,
        .cublasLtMatmulDescDestroy = operation_destroy,
        .cublasLtMatmulDescSetAttribute = operation_set,
        .cublasLtMatmulPreferenceCreate = preference_create,
        .cublasLtMatmulPreferenceDestroy = preference_destroy,
        .cublasLtMatmulPreferenceSetAttribute = preference_set,
        .cublasLtMatmulAlgoGetHeuristic = heuristic,
        .cublasLtMatmulAlgoCheck = algorithm_check,
        .cublasLtMatmul = matmul,
    };
    return QUERN_OK;
}
