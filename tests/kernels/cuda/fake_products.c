/* fake_products.c - the double of cuBLASLt on the fake device: a product joins its stream's queue
 * like a kernel, with all that its descriptors said when it was issued, and reads its matrices when
 * its turn comes. */
#include "fake_device.h"
#include "fake_parts.h"

#include "fake_cublaslt.h"
#include "fake_products.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

quern_status cublaslt_open_double(cublaslt_table *out); /* fake_cublaslt.c's cublaslt_open */

enum { DESCRIPTION_BYTES = 128 };

typedef struct product_call {
    cublasLtHandle_t handle;
    _Alignas(16) unsigned char operation[DESCRIPTION_BYTES], layouts[4][DESCRIPTION_BYTES];
    double alpha, beta; /* as many bytes of them as the scale type has */
    const void *a, *b, *c;
    void *d, *workspace;
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace_bytes;
} product_call;

static cublaslt_table inner;
int64_t fake_products_wrong;

static void describe(unsigned char to[DESCRIPTION_BYTES], const void *descriptor) {
    const size_t bytes = malloc_usable_size((void *)(uintptr_t)descriptor);
    memcpy(to, descriptor, bytes < DESCRIPTION_BYTES ? bytes : DESCRIPTION_BYTES);
}

static void run(dim3 grid, dim3 block, size_t shared_bytes, void **arguments) {
    (void)grid, (void)block, (void)shared_bytes;
    product_call *p = arguments[0];
    void *layouts[4] = {p->layouts[0], p->layouts[1], p->layouts[2], p->layouts[3]};
    const fake_library kept = fake_cublaslt.library;
    fake_cublaslt.library.fail_at =
        0; /* the call was made, and failed or not, when it was issued */
    fake_cublaslt.library.forbidden = false;
    const int64_t before = fake_cublaslt.taken_ns;
    const cublasStatus_t status =
        inner.cublasLtMatmul(p->handle, (cublasLtMatmulDesc_t)(void *)p->operation, &p->alpha, p->a,
                             layouts[0], p->b, layouts[1], &p->beta, p->c, layouts[2], p->d,
                             layouts[3], &p->algorithm, p->workspace, p->workspace_bytes, NULL);
    fake_cublaslt.library.calls = kept.calls;
    fake_cublaslt.library.fail_at = kept.fail_at;
    fake_cublaslt.library.forbidden = kept.forbidden;
    if (status != CUBLAS_STATUS_SUCCESS) fake_misuse("a product that cuBLASLt refuses");
    if (fake_products_wrong > 0 && --fake_products_wrong == 0) *(float *)p->d += 1000;
    fake.device_ns += fake_cublaslt.taken_ns - before;
}

static const fake_kernel product_kernel = {
    FAKE_KERNEL_MAGIC, "a product", 1, {sizeof(product_call)}, run};

static cublasStatus_t matmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                             const void *alpha, const void *a, cublasLtMatrixLayout_t a_layout,
                             const void *b, cublasLtMatrixLayout_t b_layout, const void *beta,
                             const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                             cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algorithm,
                             void *workspace, size_t bytes, cudaStream_t stream) {
    product_call p = {.handle = handle,
                      .a = a,
                      .b = b,
                      .c = c,
                      .d = d,
                      .workspace = workspace,
                      .algorithm = *algorithm,
                      .workspace_bytes = bytes};
    if (fake_library_enter(&fake_cublaslt.library))
        return fake_library_is_lost(&fake_cublaslt.library) ? CUBLAS_STATUS_EXECUTION_FAILED
                                                            : CUBLAS_STATUS_ALLOC_FAILED;
    describe(p.operation, operation);
    describe(p.layouts[0], a_layout);
    describe(p.layouts[1], b_layout);
    describe(p.layouts[2], c_layout);
    describe(p.layouts[3], d_layout);
    memcpy(&p.alpha, alpha, fake_cublaslt_scale_bytes(operation));
    memcpy(&p.beta, beta, fake_cublaslt_scale_bytes(operation));
    void *arguments[] = {&p};
    const cudaError_t code = cuda_driver.cudaLaunchKernel(&product_kernel, (dim3){1, 1, 1},
                                                          (dim3){1, 1, 1}, arguments, 0, stream);
    return code == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

static int made_on; /* the device that was current */

static cublasStatus_t create(cublasLtHandle_t *handle) {
    made_on = fake_current_device();
    return inner.cublasLtCreate(handle);
}

static cublasStatus_t destroy(cublasLtHandle_t handle) {
    if (fake_current_device() != made_on) fake_misuse("a handle of cuBLASLt: another device");
    return inner.cublasLtDestroy(handle);
}

quern_status cublaslt_open(cublaslt_table *out) {
    QUERN_TRY(cublaslt_open_double(&inner));
    *out = inner;
    out->cublasLtCreate = create;
    out->cublasLtDestroy = destroy;
    out->cublasLtMatmul = matmul;
    return QUERN_OK;
}
