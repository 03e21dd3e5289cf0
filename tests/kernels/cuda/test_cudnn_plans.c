/* Every graph that conv2d builds, planned by cuDNN itself for the description of an H200, on a
 * machine without a GPU: an engine is found that keeps our promises, its plan is finalised, its
 * scratch is known, and what is remembered of it loads again without asking the heuristics. What
 * the layout pass chooses rests on it: which types want channels last. */
#include "quern_test.h"

#include "kernels/cuda/conv2d_direct.h"
#include "kernels/cuda/gelu.h"
#include "kernels/cuda/random_fill.h"
#include "kernels/cuda/rows.h"
#include "kernels/layout.h"
#include "kernels/cuda/library/shared_library.h"
#include "library_device.h"
#include "support/temporary.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const quern_kernel quern_cuda_conv2d;

static const char h200[] =
    "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],"
    "\"regsPerBlock\":65536,\"multiProcessorCount\":132,\"warpSize\":32,"
    "\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":232448,"
    "\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":32,"
    "\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"pciDeviceId\":0,\"isTccDriver\":0,"
    "\"supportCoopLaunch\":1,\"totalGlobalMem\":150754820096,\"smClockRateKHz\":1980000,"
    "\"memClockRateKHz\":3201000,\"l2CacheSize\":62914560,\"cudaDeviceId\":0,\"deviceVer\":900,"
    "\"driverVer\":13000,\"deviceName\":\"NVIDIA H200\"}";

static const int64_t MEMORY_BYTES = INT64_C(150754820096);

/* Nothing is run here. */
static quern_status nothing(void) { return quern_fail(QUERN_INTERNAL, "a kernel was launched"); }
quern_status conv2d_direct(quern_stream *stream, const conv2d_shape *shape, conv2d_pass pass,
                           conv2d_data data, bool accumulate) {
    (void)stream, (void)shape, (void)pass, (void)data, (void)accumulate;
    return nothing();
}
quern_status conv2d_add_bias(quern_stream *stream, const conv2d_shape *shape, void *y,
                             const void *bias) {
    (void)stream, (void)shape, (void)y, (void)bias;
    return nothing();
}
quern_status conv2d_sum_bias(quern_stream *stream, const conv2d_shape *shape, void *gb,
                             const void *gy, bool accumulate, void *scratch) {
    (void)stream, (void)shape, (void)gb, (void)gy, (void)accumulate, (void)scratch;
    return nothing();
}
size_t conv2d_sum_scratch(const conv2d_shape *shape) {
    (void)shape;
    return 0;
}
quern_status gelu_values(quern_stream *stream, quern_dtype dtype, int64_t count,
                         const quern_gelu_desc *desc, const void *x, void *to) {
    (void)stream, (void)dtype, (void)count, (void)desc, (void)x, (void)to;
    return nothing();
}
quern_status gelu_gradients(quern_stream *stream, quern_dtype dtype, int64_t count,
                            const quern_gelu_desc *desc, const void *x, const void *g, void *to) {
    (void)stream, (void)dtype, (void)count, (void)desc, (void)x, (void)g, (void)to;
    return nothing();
}
quern_status rows_finish(quern_stream *stream, rows_shape shape, void *y, const void *bias,
                         bool relu) {
    (void)stream, (void)shape, (void)y, (void)bias, (void)relu;
    return nothing();
}
quern_status rows_mask(quern_stream *stream, rows_shape shape, void *to, const void *gy,
                       const void *y) {
    (void)stream, (void)shape, (void)to, (void)gy, (void)y;
    return nothing();
}
quern_status rows_sum(quern_stream *stream, rows_shape shape, void *sums, bool wide, const void *gy,
                      bool accumulate, void *scratch) {
    (void)stream, (void)shape, (void)sums, (void)wide, (void)gy, (void)accumulate, (void)scratch;
    return nothing();
}
quern_status random_fill(quern_stream *stream, quern_dtype dtype, void *to, int64_t count,
                         uint64_t seed) {
    (void)stream, (void)dtype, (void)to, (void)count, (void)seed;
    return nothing();
}
size_t rows_sum_scratch(rows_shape shape) {
    (void)shape;
    return 0;
}

/* The library's own functions, counted. */
static struct {
    cudnn_table table;
    int64_t live, heuristics;
    int direct; /* passes without an engine */
} real;

static cudnnStatus_t create_counted(cudnnBackendDescriptorType_t type,
                                    cudnnBackendDescriptor_t *out) {
    const cudnnStatus_t status = real.table.cudnnBackendCreateDescriptor(type, out);
    real.live += status == CUDNN_STATUS_SUCCESS;
    real.heuristics += type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR;
    return status;
}

static cudnnStatus_t destroy_counted(cudnnBackendDescriptor_t descriptor) {
    real.live--;
    return real.table.cudnnBackendDestroyDescriptor(descriptor);
}

static void note(void *self, quern_log_level level, const char *sentence) {
    (void)self, (void)level;
    real.direct += strstr(sentence, "computed directly") != NULL;
}

static quern_host host;

/* The device described to the library in the place of a handle. */
static quern_status describe(bool allow_tf32, int64_t memory_bytes) {
    cuda_libraries *l;
    host = quern_host_default();
    host.log = (quern_log_sink){note, NULL};
    library_device_begin(&(library_device_desc){
        .host = &host, .allow_tf32 = allow_tf32, .memory_bytes = memory_bytes});
    quern_status status = libraries_of(&l, NULL);
    if (status == QUERN_OK) status = cudnn_open(&real.table);
    if (status != QUERN_OK) return status;
    l->dnn = real.table;
    l->dnn.cudnnBackendCreateDescriptor = create_counted;
    l->dnn.cudnnBackendDestroyDescriptor = destroy_counted;
    const bool made = create_counted(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &l->dnn_device) ==
                          CUDNN_STATUS_SUCCESS &&
                      l->dnn.cudnnBackendSetAttribute(
                          l->dnn_device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                          sizeof h200, h200) == CUDNN_STATUS_SUCCESS &&
                      l->dnn.cudnnBackendFinalize(l->dnn_device) == CUDNN_STATUS_SUCCESS;
    return made ? QUERN_OK : quern_fail(QUERN_INTERNAL, "cuDNN does not take the description");
}

typedef struct layer {
    const char *name;
    int64_t n, c, h, k, r;
    int32_t stride, padding, dilation, groups;
    bool bias, first; /* first: no gradient of x is wanted */
} layer;

static quern_view view(quern_dtype dtype, int32_t rank, const int64_t *dim) {
    quern_view v = {.dtype = dtype, .rank = rank, .count = 1};
    for (int32_t i = rank - 1; i >= 0; i--) {
        v.dim[i] = dim[i];
        v.stride[i] = v.count;
        v.count *= dim[i];
    }
    return v;
}

/* Images as the layout pass lays them. */
static quern_view image(quern_dtype dtype, bool last, const int64_t dim[4]) {
    quern_view v = view(dtype, 4, dim);
    if (last) layout_channels_last(&v);
    return v;
}

static quern_status plan_layer(const layer *l, quern_dtype dtype, bool last,
                               quern_kernel_plan *plan) {
    const quern_conv2d_desc desc = {
        {l->stride, l->stride}, {l->padding, l->padding}, {l->dilation, l->dilation}, l->groups};
    const int64_t extent = l->dilation * (l->r - 1) + 1;
    const int64_t o = (l->h + 2 * l->padding - extent) / l->stride + 1;
    const quern_view in[3] = {image(dtype, last, (const int64_t[]){l->n, l->c, l->h, l->h}),
                              view(dtype, 4, (const int64_t[]){l->k, l->c / l->groups, l->r, l->r}),
                              l->bias ? view(dtype, 1, (const int64_t[]){l->k})
                                      : (quern_view){.rank = -1}};
    const quern_view out = image(dtype, last, (const int64_t[]){l->n, l->k, o, o});
    const quern_kernel_args args = {.attributes = &desc,
                                    .input_count = 3,
                                    .output_count = 1,
                                    .in = in,
                                    .out = &out,
                                    .training = true,
                                    .deterministic = true};
    *plan = (quern_kernel_plan){.args = &args, .backward = true};
    plan->wanted = (l->first ? 0u : 1u) | 2u | (l->bias ? 4u : 0u);
    const quern_status status = quern_cuda_conv2d.plan(plan);
    plan->args = NULL;
    return status;
}

typedef struct variant {
    quern_dtype dtype;
    bool tf32, last;
} variant;

/* Plans it, and plans it again from what was remembered. */
static void check_layer(const layer *l, variant v, size_t *forward, size_t *backward) {
    quern_kernel_plan plans[2] = {{0}, {0}};
    int64_t heuristics[2] = {0};
    const char *type = quern_dtype_name(v.dtype);
    for (int i = 0; i < 2; i++) {
        real.heuristics = 0;
        real.direct = 0;
        REQUIRE_OK(describe(v.tf32, MEMORY_BYTES));
        CHECK_STATUS(plan_layer(l, v.dtype, v.last, &plans[i]), QUERN_OK);
        heuristics[i] = real.heuristics;
        CHECK_SAY(real.direct == 0, "%s in %s: %d passes without an engine", l->name, type,
                  real.direct);
        if (plans[i].plan != NULL) quern_cuda_conv2d.drop(plans[i].plan);
        library_device_end();
        CHECK_SAY(real.live == 0, "%s: %d descriptors are alive", l->name, (int)real.live);
    }
    CHECK(heuristics[0] > 0);
    /* a bias that does not ride is looked for again */
    CHECK_SAY(heuristics[1] < heuristics[0] && heuristics[1] <= (l->bias ? 1 : 0),
              "%s in %s: %d then %d heuristics", l->name, type, (int)heuristics[0],
              (int)heuristics[1]);
    CHECK(plans[0].forward_scratch_bytes <= (size_t)MEMORY_BYTES / LIBRARY_WORKSPACE_SHARE);
    CHECK(plans[0].backward_scratch_bytes <= (size_t)MEMORY_BYTES / LIBRARY_WORKSPACE_SHARE);
    CHECK(plans[0].forward_scratch_bytes == plans[1].forward_scratch_bytes);
    CHECK(plans[0].backward_scratch_bytes == plans[1].backward_scratch_bytes);
    *forward = plans[0].forward_scratch_bytes;
    *backward = plans[0].backward_scratch_bytes;
}

static const layer lenet[] = {
    {"LeNet 1", 128, 1, 28, 6, 5, 1, 2, 1, 1, true, true},
    {"LeNet 2", 128, 6, 14, 16, 5, 1, 0, 1, 1, true, false},
};
static const layer odd[] = {
    {"groups, stride, dilation", 7, 12, 33, 20, 3, 2, 2, 2, 4, true, false},
    {"depthwise", 5, 17, 19, 17, 3, 1, 1, 1, 17, false, false},
    {"one pixel", 1, 3, 1, 5, 1, 1, 0, 1, 1, true, false},
    {"even window", 3, 5, 12, 7, 4, 3, 1, 1, 1, true, false},
};
static const layer resnet[] = {
    {"stem", 32, 3, 224, 64, 7, 2, 3, 1, 1, false, true},
    {"stage 1, 3x3", 32, 64, 56, 64, 3, 1, 1, 1, 1, false, false},
    {"stage 2, 1x1 / 2", 32, 256, 56, 512, 1, 2, 0, 1, 1, false, false},
    {"stage 1, 1x1 in", 32, 256, 56, 64, 1, 1, 0, 1, 1, false, false},
    {"stage 1, 1x1 out", 32, 64, 56, 256, 1, 1, 0, 1, 1, false, false},
    {"stage 2, 3x3 / 2", 32, 128, 56, 128, 3, 2, 1, 1, 1, false, false},
    {"stage 2, 3x3", 32, 128, 28, 128, 3, 1, 1, 1, 1, false, false},
    {"stage 3, 3x3 / 2", 32, 256, 28, 256, 3, 2, 1, 1, 1, false, false},
    {"stage 3, 1x1 / 2", 32, 512, 28, 1024, 1, 2, 0, 1, 1, false, false},
    {"stage 4, 3x3", 32, 512, 7, 512, 3, 1, 1, 1, 1, false, false},
    {"stage 4, 1x1 out", 32, 512, 7, 2048, 1, 1, 0, 1, 1, false, false},
};

typedef struct fixture {
    temporary folder;
} fixture;

/* False: the test is skipped, or has failed. */
static bool fixture_begin(fixture *f) {
    void *driver = dlopen(QUERN_TEST_DRIVER, RTLD_NOW | RTLD_GLOBAL);
    CHECK_SAY(driver != NULL, "%s", driver == NULL ? dlerror() : "");
    if (driver == NULL || !temporary_begin(&f->folder)) return false;
    setenv("QUERN_CACHE", f->folder.path, 1);
    return true;
}

static void fixture_end(fixture *f) {
    setenv("QUERN_CACHE", "", 1);
    temporary_end(&f->folder);
}

static void check_layers(const layer *layers, size_t count, variant v) {
    fixture f;
    size_t forward, backward;
    if (!fixture_begin(&f)) return;
    for (size_t i = 0; i < count; i++) check_layer(&layers[i], v, &forward, &backward);
    fixture_end(&f);
}

/* Row-major and channels last, of so many images: what tensor cores compute needs a small part of
 * the scratch channels last, because only the weight is turned. The table is printed. */
static void compare_layouts(const layer *layers, size_t count, int64_t images, variant v) {
    fixture f;
    size_t all[2] = {0};
    if (!fixture_begin(&f)) return;
    printf("  MB of scratch, %d images, %s%s: row-major forward, backward; channels last\n",
           (int)images, quern_dtype_name(v.dtype), v.tf32 ? " with TF32" : "");
    for (size_t i = 0; i < count; i++) {
        size_t bytes[2][2] = {{0}};
        layer l = layers[i];
        l.n = images;
        for (int last = 0; last < 2; last++) {
            v.last = last != 0;
            check_layer(&l, v, &bytes[last][0], &bytes[last][1]);
            all[last] += bytes[last][0] + bytes[last][1];
        }
        printf("  %-20s%9.1f%9.1f%9.1f%9.1f\n", l.name, (double)bytes[0][0] / 1e6,
               (double)bytes[0][1] / 1e6, (double)bytes[1][0] / 1e6, (double)bytes[1][1] / 1e6);
        const int64_t weight = l.k * l.c * l.r * l.r * (int64_t)quern_dtype_bytes(v.dtype);
        const size_t most = (bytes[0][0] + bytes[0][1]) / 2 + 2 * (size_t)weight;
        CHECK_SAY(bytes[1][0] + bytes[1][1] <= most || l.c == 3, /* cuDNN pads them to eight */
                  "%s in %s: %zu bytes channels last", l.name, quern_dtype_name(v.dtype),
                  bytes[1][0] + bytes[1][1]);
    }
    CHECK_SAY(all[1] <= all[0] / 4, "channels last %zu bytes, row-major %zu", all[1], all[0]);
    fixture_end(&f);
}
#define COUNT(layers) (sizeof(layers) / sizeof(layers)[0])
#define LAYERS(layers) layers, COUNT(layers)

static const variant f32 = {QUERN_F32, false, false}, f64 = {QUERN_F64, false, false};
static const variant tf32 = {QUERN_F32, true, false}, tf32_last = {QUERN_F32, true, true};
static const variant bf16 = {QUERN_BF16, false, false}, bf16_last = {QUERN_BF16, false, true};
static const variant f16 = {QUERN_F16, false, false}, f16_last = {QUERN_F16, false, true};

TEST_CASE(CudnnPlans, lenet_in_f32) { check_layers(LAYERS(lenet), f32); }
TEST_CASE(CudnnPlans, lenet_in_f64) { check_layers(LAYERS(lenet), f64); }
TEST_CASE(CudnnPlans, lenet_channels_last) {
    check_layers(LAYERS(lenet), tf32_last);
    check_layers(LAYERS(lenet), bf16_last);
    check_layers(LAYERS(lenet), f16_last);
}
TEST_CASE(CudnnPlans, odd_shapes_in_f32) { check_layers(LAYERS(odd), f32); }
TEST_CASE(CudnnPlans, odd_shapes_in_bf16) { check_layers(LAYERS(odd), bf16); }
TEST_CASE(CudnnPlans, odd_shapes_channels_last) {
    check_layers(LAYERS(odd), tf32_last);
    check_layers(LAYERS(odd), bf16_last);
    check_layers(LAYERS(odd), f16_last);
}
TEST_CASE(CudnnPlans, resnet50_in_f32) { check_layers(LAYERS(resnet), f32); }
TEST_CASE(CudnnPlans, resnet50_in_tf32) { compare_layouts(LAYERS(resnet), 32, tf32); }
TEST_CASE(CudnnPlans, resnet50_in_bf16) { compare_layouts(LAYERS(resnet), 32, bf16); }
TEST_CASE(CudnnPlans, resnet50_in_f16) { compare_layouts(LAYERS(resnet), 32, f16); }
TEST_CASE(CudnnPlans, resnet50_of_256_images_in_bf16) {
    compare_layouts(LAYERS(resnet), 256, bf16);
}
TEST_CASE(CudnnPlans, resnet50_of_256_images_in_f16) { compare_layouts(LAYERS(resnet), 256, f16); }
TEST_CASE(CudnnPlans, resnet50_of_256_images_in_f32) {
    layer layers[COUNT(resnet)];
    memcpy(layers, resnet, sizeof layers);
    for (size_t i = 0; i < COUNT(layers); i++) layers[i].n = 256;
    check_layers(LAYERS(layers), f32);
}

/* What cuDNN likes best for 256 row-major images is more scratch than a small device grants, and
 * within the share of a large one. */
TEST_CASE(CudnnPlans, the_limit_is_a_share_of_the_devices_memory) {
    static const layer wide = {"256 images", 256, 256, 56, 512, 1, 2, 0, 1, 1, false, false};
    static const int64_t memory[] = {INT64_C(3) << 30, INT64_C(150754820096)};
    for (int i = 0; i < 2; i++) {
        fixture f;
        quern_kernel_plan plan = {0};
        if (!fixture_begin(&f)) return;
        REQUIRE_OK(describe(false, memory[i]));
        CHECK_STATUS(plan_layer(&wide, QUERN_BF16, false, &plan), QUERN_OK);
        CHECK_SAY((plan.forward_scratch_bytes > LIBRARY_WORKSPACE_LIMIT) == (i == 1),
                  "device %d: %zu bytes", i, plan.forward_scratch_bytes);
        CHECK_SAY((plan.backward_scratch_bytes > LIBRARY_WORKSPACE_LIMIT) == (i == 1),
                  "device %d: %zu bytes backward", i, plan.backward_scratch_bytes);
        if (plan.plan != NULL) quern_cuda_conv2d.drop(plan.plan);
        library_device_end();
        fixture_end(&f);
    }
}

TEST_CASE(CudaLibraryFiles, the_vendors_files_have_every_function) {
    cublaslt_table blas;
    cudnn_table dnn;
    REQUIRE_OK(cublaslt_open(&blas));
    CHECK(blas.cublasLtGetVersion() >= 130000);
    REQUIRE_OK(cudnn_open(&dnn));
    CHECK(dnn.cudnnGetVersion() >= 90000);
}

TEST_CASE(CudaLibraryFiles, one_that_is_not_there_is_unsupported_and_says_where_to_put_it) {
    void *library;
    shared_function function;
    setenv("QUERN_CUDA_LIBRARY_PATH", "relative:/nowhere", 1);
    CHECK_STATUS(shared_library_open(&library, "libquern-nothing.so.1", "NOTHING_ROOT"),
                 QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("libquern-nothing.so.1 cannot be loaded");
    CHECK_ERROR_HAS("QUERN_CUDA_LIBRARY_PATH");
    REQUIRE_OK(shared_library_open(&library, "libcudnn.so.9", "NOTHING_ROOT"));
    CHECK_STATUS(shared_library_find(&function, library, "libcudnn.so.9", "cudnnNothing"),
                 QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("libcudnn.so.9 has no function cudnnNothing");
}
