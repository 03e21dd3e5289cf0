#include "../../../host/base/size.h"
#include "../device/device.h"
#include "product_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define X(name, word, epilogue) [PRODUCT_##name] = word,
static const char *const epilogue_words[] = {PRODUCT_EPILOGUE_LIST(X)};
#undef X

#define X(name, word, epilogue) [PRODUCT_##name] = epilogue,
static const cublasLtEpilogue_t epilogues[] = {PRODUCT_EPILOGUE_LIST(X)};
#undef X

/* Bits of cublasLtEpilogue_t. */
enum {
    RELU_BITS = CUBLASLT_EPILOGUE_RELU | (CUBLASLT_EPILOGUE_DRELU & ~128),
    BIAS_BITS = CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_BGRADB |
                (CUBLASLT_EPILOGUE_DGELU_BGRAD & ~CUBLASLT_EPILOGUE_DGELU),
    AUX_BIT = 128,
};

bool product_has_bias(const product *p) {
    return ((int)epilogues[p->desc.epilogue] & BIAS_BITS) != 0;
}

bool product_has_aux(const product *p) { return ((int)epilogues[p->desc.epilogue] & AUX_BIT) != 0; }

/* Numbers, or of a mask bits, from row to row of aux; the library wants a multiple of 8, or 128. */
static int64_t aux_pitch(const product *p) {
    const bool mask = ((int)epilogues[p->desc.epilogue] & RELU_BITS) != 0;
    return mask ? (p->desc.n + 127) / 128 * 128 : p->desc.n;
}

size_t product_aux_bytes(const product *p) {
    const bool mask = ((int)epilogues[p->desc.epilogue] & RELU_BITS) != 0;
    const size_t numbers = (size_t)p->desc.m * (size_t)aux_pitch(p);
    if (p->empty || !product_has_aux(p)) return 0;
    return mask ? numbers / 8 : numbers * p->element_bytes;
}

typedef struct type_row {
    size_t bytes;
    cudaDataType_t stored, scale;
    cublasComputeType_t compute;
    const char *name;
} type_row;

/* False: no products of this type. */
static bool type_of(const cuda_libraries *l, const product_desc *d, type_row *out) {
    switch (d->dtype) {
    case QUERN_F32:
        *out = (type_row){4, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, "F32"};
        if (l->allow_tf32 || d->tf32)
            out->compute = CUBLAS_COMPUTE_32F_FAST_TF32, out->name = "TF32";
        return true;
    case QUERN_F64:
        *out = (type_row){8, CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F, "F64"};
        return true;
    case QUERN_BF16:
        *out = (type_row){2, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, "BF16"};
        return true;
    case QUERN_F16:
        *out = (type_row){2, CUDA_R_16F, CUDA_R_32F, CUBLAS_COMPUTE_32F, "F16"};
        return true;
    default: return false;
    }
}

#define BLAS_TRY(p, name, arguments)                                                               \
    QUERN_TRY(cublaslt_check((p)->libraries->owner, &(p)->libraries->blas,                         \
                             (p)->libraries->blas.name arguments, #name, (p)->what))

static quern_status set_operation(product *p, cublasLtMatmulDescAttributes_t attribute,
                                  const void *value, size_t bytes) {
    BLAS_TRY(p, cublasLtMatmulDescSetAttribute, (p->operation, attribute, value, bytes));
    return QUERN_OK;
}

/* A matrix stored row by row, (rows, columns): to the library it has `columns` rows, one after
 * another as columns of length `columns`. */
static quern_status make_layout(product *p, cublasLtMatrixLayout_t *out, cudaDataType_t type,
                                int64_t rows, int64_t columns) {
    const int32_t batch = (int32_t)p->desc.batch;
    const int64_t step = rows * columns;
    BLAS_TRY(p, cublasLtMatrixLayoutCreate,
             (out, type, (uint64_t)columns, (uint64_t)rows, columns));
    if (batch == 1) return QUERN_OK;
    BLAS_TRY(p, cublasLtMatrixLayoutSetAttribute,
             (*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch));
    BLAS_TRY(p, cublasLtMatrixLayoutSetAttribute,
             (*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step));
    return QUERN_OK;
}

static quern_status make_descriptors(product *p, const type_row *type) {
    const product_desc *d = &p->desc;
    const cublasOperation_t first = d->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t second = d->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = epilogues[d->epilogue];
    BLAS_TRY(p, cublasLtMatmulDescCreate, (&p->operation, type->compute, type->scale));
    QUERN_TRY(set_operation(p, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
    QUERN_TRY(set_operation(p, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second));
    QUERN_TRY(set_operation(p, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    if (product_has_aux(p)) {
        const int64_t pitch = aux_pitch(p);
        QUERN_TRY(set_operation(p, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &pitch, sizeof pitch));
    }
    QUERN_TRY(make_layout(p, &p->first, type->stored, d->transpose_b ? d->n : d->k,
                          d->transpose_b ? d->k : d->n));
    QUERN_TRY(make_layout(p, &p->second, type->stored, d->transpose_a ? d->k : d->m,
                          d->transpose_a ? d->m : d->k));
    return make_layout(p, &p->result, d->wide ? CUDA_R_32F : type->stored, d->m, d->n);
}

static quern_status prepare(product *p, quern_stream *stream) {
    type_row type;
    const product_desc *d = &p->desc;
    if (!type_of(p->libraries, d, &type))
        return cuda_fail(QUERN_UNSUPPORTED, "%s: products are of F32, F64, BF16 and F16", d->op);
    p->element_bytes = type.bytes;
    p->result_bytes = d->wide ? sizeof(float) : type.bytes;
    snprintf(p->what, sizeof p->what,
             "%s: product %s %" PRId64 " of %" PRId64 " x %" PRId64 " x %" PRId64 "%s%s, %s%s",
             d->op, type.name, d->batch, d->m, d->n, d->k, d->transpose_a ? ", a^T" : "",
             d->transpose_b ? ", b^T" : "", epilogue_words[d->epilogue],
             d->wide ? " into F32" : "");
    if (d->m > INT32_MAX || d->n > INT32_MAX || d->k > INT32_MAX || d->batch > INT32_MAX)
        return cuda_fail(QUERN_UNSUPPORTED, "%s: a size does not fit 31 bits", p->what);
    p->empty = d->m == 0 || d->n == 0 || d->k == 0 || d->batch == 0;
    if (p->empty || (product_has_aux(p) && aux_pitch(p) % 8 != 0)) return QUERN_OK;
    QUERN_TRY(libraries_need_blas(p->libraries));
    QUERN_TRY(make_descriptors(p, &type));
    return product_choose(p, stream);
}

/* Bytes of a, b and c, each to a multiple of what scratch is aligned to. */
static bool operand_bytes(const product *p, size_t bytes[3], size_t *total) {
    const product_desc *d = &p->desc;
    const int64_t rows[] = {d->m, d->k, d->m}, columns[] = {d->k, d->n, d->n};
    *total = 0;
    for (int i = 0; i < 3; i++) {
        int64_t count = 0;
        if (!count_multiply(rows[i], columns[i], &count) ||
            !count_multiply(count, d->batch, &count) ||
            !count_bytes(count, i < 2 ? p->element_bytes : p->result_bytes, &bytes[i]) ||
            !size_align_to(bytes[i], QUERN_SCRATCH_ALIGNMENT, &bytes[i]) ||
            !size_add(*total, bytes[i], total))
            return false;
    }
    return true;
}

static bool needs_any(const product *p) { return p->desc.alignment < 16; }

/* Whether there is an algorithm for every alignment that may come. */
static bool is_complete(const product *p) {
    const bool aligned = p->choices[PRODUCT_ALIGNED].found, any = p->choices[PRODUCT_ANY].found;
    return any || (aligned && (!needs_any(p) || p->copy_bytes > 0));
}

static quern_status plan_copies(product *p) {
    size_t bytes[3];
    if (p->desc.epilogue != PRODUCT_PLAIN || !needs_any(p) || p->choices[PRODUCT_ANY].found ||
        !p->choices[PRODUCT_ALIGNED].found || operand_bytes(p, bytes, &p->copy_bytes))
        return QUERN_OK;
    return cuda_fail(QUERN_SHAPE, "%s: its operands' bytes do not fit in 64 bits", p->what);
}

quern_status product_create(product **out, quern_stream *stream, const product_desc *desc) {
    *out = NULL;
    cuda_libraries *l;
    QUERN_TRY(libraries_of(&l, stream));
    product *p;
    QUERN_TRY(cuda_services()->allocate(l->host, &p, 1, sizeof *p, "a product"));
    p->libraries = l;
    p->desc = *desc;
    int previous;
    quern_status status = device_enter(cuda_stream_device(stream), &previous);
    if (status == QUERN_OK) status = prepare(p, stream);
    device_leave(cuda_stream_device(stream), previous);
    if (status == QUERN_OK && !p->empty) status = plan_copies(p);
    const bool there = p->empty ? desc->epilogue == PRODUCT_PLAIN : is_complete(p);
    if (status == QUERN_OK && there) {
        *out = p;
        return QUERN_OK;
    }
    const quern_status none =
        status == QUERN_OK && desc->epilogue == PRODUCT_PLAIN
            ? cuda_fail(QUERN_UNSUPPORTED, "%s: cuBLASLt has no algorithm", p->what)
            : status;
    product_destroy(p);
    return none;
}

void product_destroy(product *p) {
    if (p == NULL) return;
    cuda_libraries *l = p->libraries;
    if (p->result != NULL) TORN_DOWN_BLAS(l, cublasLtMatrixLayoutDestroy, (p->result));
    if (p->second != NULL) TORN_DOWN_BLAS(l, cublasLtMatrixLayoutDestroy, (p->second));
    if (p->first != NULL) TORN_DOWN_BLAS(l, cublasLtMatrixLayoutDestroy, (p->first));
    if (p->operation != NULL) TORN_DOWN_BLAS(l, cublasLtMatmulDescDestroy, (p->operation));
    cuda_services()->release(p->libraries->host, p, 1, sizeof *p);
}

/* Where the copies begin. */
static size_t workspace_bytes(const product *p) {
    const size_t a = p->choices[PRODUCT_ALIGNED].scratch_bytes;
    const size_t b = p->choices[PRODUCT_ANY].scratch_bytes, most = a > b ? a : b;
    return (most + QUERN_SCRATCH_ALIGNMENT - 1) / QUERN_SCRATCH_ALIGNMENT * QUERN_SCRATCH_ALIGNMENT;
}

size_t product_scratch_bytes(const product *p) {
    return p == NULL ? 0 : workspace_bytes(p) + p->copy_bytes;
}

quern_status product_call(product *p, const product_run_desc *run, const product_choice *choice) {
    static const float ones_f32[] = {1}, zeros_f32[] = {0};
    static const double ones_f64[] = {1}, zeros_f64[] = {0};
    const bool wide = p->desc.dtype == QUERN_F64;
    const void *one = wide ? (const void *)ones_f64 : ones_f32;
    const void *zero = wide ? (const void *)zeros_f64 : zeros_f32;
    if (product_has_bias(p))
        QUERN_TRY(
            set_operation(p, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &run->bias, sizeof run->bias));
    if (product_has_aux(p))
        QUERN_TRY(set_operation(p, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &run->aux,
                                sizeof run->aux));
    BLAS_TRY(p, cublasLtMatmul,
             (p->libraries->blas_handle, p->operation, one, run->b, p->first, run->a, p->second,
              run->accumulate ? one : zero, run->c, p->result, run->c, p->result,
              &choice->algorithm, run->scratch, choice->scratch_bytes,
              cuda_stream_handle(run->stream)));
    return QUERN_OK;
}

static bool is_aligned(const product_run_desc *run) {
    const uintptr_t bits = (uintptr_t)run->a | (uintptr_t)run->b | (uintptr_t)run->c |
                           (uintptr_t)run->bias | (uintptr_t)run->aux;
    return (bits & 15) == 0;
}

static quern_status copy(quern_stream *stream, void *to, const void *from, size_t bytes) {
    return CUDA_CALL(stream, cudaMemcpyAsync,
                     (to, from, bytes, cudaMemcpyDeviceToDevice, cuda_stream_handle(stream)));
}

/* With copies that are aligned; a result that is added to is one of them. */
static quern_status run_copied(product *p, const product_run_desc *run) {
    const product_desc *d = &p->desc;
    const size_t batch = (size_t)d->batch * p->element_bytes;
    const size_t m = (size_t)d->m, n = (size_t)d->n, k = (size_t)d->k;
    const size_t result = m * n * (size_t)d->batch * p->result_bytes;
    size_t bytes[3], total;
    (void)operand_bytes(p, bytes, &total); /* fitted when it was planned */
    char *const a = (char *)run->scratch + workspace_bytes(p), *const b = a + bytes[0];
    char *const c = b + bytes[1];
    product_run_desc copied = *run;
    copied.a = a, copied.b = b, copied.c = c;
    QUERN_TRY(copy(run->stream, a, run->a, m * k * batch));
    QUERN_TRY(copy(run->stream, b, run->b, k * n * batch));
    if (run->accumulate) QUERN_TRY(copy(run->stream, c, run->c, result));
    QUERN_TRY(product_call(p, &copied, &p->choices[PRODUCT_ALIGNED]));
    return copy(run->stream, run->c, c, result);
}

quern_status product_run(product *p, const product_run_desc *run) {
    const product_desc *d = &p->desc;
    if (p->empty) { /* a sum of no terms */
        const size_t bytes = (size_t)(d->m * d->n * d->batch) * p->result_bytes;
        if (bytes == 0 || run->accumulate) return QUERN_OK;
        return CUDA_CALL(run->stream, cudaMemsetAsync,
                         (run->c, 0, bytes, cuda_stream_handle(run->stream)));
    }
    if (is_aligned(run) && p->choices[PRODUCT_ALIGNED].found)
        return product_call(p, run, &p->choices[PRODUCT_ALIGNED]);
    if (p->choices[PRODUCT_ANY].found) return product_call(p, run, &p->choices[PRODUCT_ANY]);
    if (p->copy_bytes > 0) return run_copied(p, run);
    return cuda_fail(QUERN_INTERNAL, "%s: planned for operands on 16 bytes", p->what);
}
