/* probes - the measurements that Quern's plan for a GPU rests on, each a JSON line:
 *
 *   probes cadence              microseconds between dependent kernels of one warp: in a stream, in
 *                               a graph, in a graph with programmatic dependent launch
 *   probes epilogues            cuBLASLt's products of GPT-2 124M at 65,536 tokens in BF16: plain,
 *                               with the epilogue, and what a kernel of our own in its place takes;
 *                               which of the library's proposals is the fastest
 *   probes sustained [SECONDS]  the rate of 8192^3 products in BF16, every five seconds; default 60
 *
 * Operands are random: the card's clock under load depends on the data. Exit code 3: no device. */
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#define NEED(call)                                                                                 \
    do {                                                                                           \
        const int code_ = (int)(call);                                                             \
        if (code_ != 0) {                                                                          \
            fprintf(stderr, "probes: %s: %d\n", #call, code_);                                     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

typedef __nv_bfloat16 bf16;

static cudaStream_t stream;

/* Seconds of one of `count` runs of what f() issues. */
template <typename F> static double timed(int count, F f) {
    cudaEvent_t begin, end;
    float milliseconds = 0;
    NEED(cudaEventCreate(&begin));
    NEED(cudaEventCreate(&end));
    NEED(cudaEventRecord(begin, stream));
    for (int i = 0; i < count; i++) f();
    NEED(cudaEventRecord(end, stream));
    NEED(cudaEventSynchronize(end));
    NEED(cudaEventElapsedTime(&milliseconds, begin, end));
    NEED(cudaEventDestroy(begin));
    NEED(cudaEventDestroy(end));
    return 1e-3 * milliseconds / count;
}

/* ---- cadence ---- */

__global__ void tick(int *at) {
#if __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
    cudaTriggerProgrammaticLaunchCompletion();
#endif
    if (threadIdx.x == 0) *at += 1;
}

static void launch_ticks(int *at, int count, bool dependent) {
    cudaLaunchAttribute attribute = {};
    cudaLaunchConfig_t config = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = dim3(1);
    config.blockDim = dim3(32);
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = dependent ? 1 : 0;
    for (int i = 0; i < count; i++) NEED(cudaLaunchKernelEx(&config, tick, at));
}

static cudaGraphExec_t record_ticks(int *at, int count, bool dependent) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    NEED(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    launch_ticks(at, count, dependent);
    NEED(cudaStreamEndCapture(stream, &graph));
    NEED(cudaGraphInstantiate(&executable, graph, 0));
    NEED(cudaGraphDestroy(graph));
    return executable;
}

static void cadence() {
    const int count = 1000, rounds = 20;
    int *at;
    NEED(cudaMalloc(&at, sizeof *at));
    for (int way = 0; way < 3; way++) {
        static const char *const names[] = {"stream", "graph", "graph, dependent launch"};
        cudaGraphExec_t executable = way > 0 ? record_ticks(at, count, way == 2) : nullptr;
        const auto issue = [&] {
            if (way == 0)
                launch_ticks(at, count, false);
            else
                NEED(cudaGraphLaunch(executable, stream));
        };
        timed(3, issue);
        printf("{\"way\": \"%s\", \"microseconds\": %.3f}\n", names[way],
               1e6 * timed(rounds, issue) / count);
        if (executable != nullptr) NEED(cudaGraphExecDestroy(executable));
    }
    NEED(cudaFree(at));
}

/* ---- products ---- */

__global__ void fill(bf16 *to, size_t count, unsigned salt) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count;
         i += (size_t)gridDim.x * blockDim.x) {
        unsigned h = (unsigned)i * 747796405u + salt;
        h = (h ^ (h >> 16)) * 2246822519u;
        to[i] = __float2bfloat16((float)(int)(h ^ (h >> 13)) * 0x1p-31f);
    }
}

static bf16 *random_numbers(size_t count, unsigned salt) {
    bf16 *to;
    NEED(cudaMalloc(&to, count * sizeof *to));
    fill<<<1024, 256, 0, stream>>>(to, count, salt);
    NEED(cudaGetLastError());
    return to;
}

/* y = gelu(y + bias), or y * gelu'(aux), as a pass of its own: the work of an epilogue. */
__global__ void own_pass(uint4 *y, const uint4 *aux, size_t packs) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < packs;
         i += (size_t)gridDim.x * blockDim.x) {
        uint4 value = y[i], other = aux[i];
        bf16 *v = (bf16 *)&value;
        const bf16 *o = (const bf16 *)&other;
        for (int j = 0; j < 8; j++) {
            const float x = __bfloat162float(v[j]) + __bfloat162float(o[j]);
            v[j] =
                __float2bfloat16(0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x))));
        }
        y[i] = value;
    }
}

/* D (rows, columns) = op(A) op(B), column-major, inner the length of the sums. */
struct shape {
    const char *name;
    int rows, columns, inner;
    cublasOperation_t a, b;
    cublasLtEpilogue_t epilogue;
    bool aux; /* the epilogue writes or reads what stood before the activation */
};

struct operands {
    bf16 *a, *b, *d, *aux, *bias;
    void *workspace;
};

static const size_t WORKSPACE = size_t(64) << 20;

static cublasLtMatrixLayout_t layout(int rows, int columns) {
    cublasLtMatrixLayout_t made;
    NEED(cublasLtMatrixLayoutCreate(&made, CUDA_R_16BF, (uint64_t)rows, (uint64_t)columns, rows));
    return made;
}

template <typename T>
static void set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t name, T value) {
    NEED(cublasLtMatmulDescSetAttribute(desc, name, &value, sizeof value));
}

struct result {
    double seconds;
    int rank, proposals; /* of the fastest, 0 the first */
};

/* The fastest of the library's proposals; seconds < 0: it has none. */
static result fastest(cublasLtHandle_t handle, const shape &s, const operands &o, bool plain) {
    const int most = 32;
    cublasLtMatmulDesc_t desc;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found[most];
    result best = {-1, 0, 0};
    const float one = 1, zero = 0;
    const cublasLtMatrixLayout_t a =
        s.a == CUBLAS_OP_T ? layout(s.inner, s.rows) : layout(s.rows, s.inner);
    const cublasLtMatrixLayout_t b =
        s.b == CUBLAS_OP_T ? layout(s.columns, s.inner) : layout(s.inner, s.columns);
    const cublasLtMatrixLayout_t d = layout(s.rows, s.columns);
    NEED(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(desc, CUBLASLT_MATMUL_DESC_TRANSA, s.a);
    set(desc, CUBLASLT_MATMUL_DESC_TRANSB, s.b);
    if (!plain) {
        set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, s.epilogue);
        set(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, (void *)o.bias);
        if (s.aux) {
            set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, (void *)o.aux);
            set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, (int64_t)s.rows);
        }
    }
    NEED(cublasLtMatmulPreferenceCreate(&preference));
    NEED(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                              &WORKSPACE, sizeof WORKSPACE));
    if (cublasLtMatmulAlgoGetHeuristic(handle, desc, a, b, d, d, preference, most, found,
                                       &best.proposals) != CUBLAS_STATUS_SUCCESS)
        best.proposals = 0;
    for (int i = 0; i < best.proposals; i++) {
        const auto run = [&] {
            NEED(cublasLtMatmul(handle, desc, &one, o.a, a, o.b, b, &zero, o.d, d, o.d, d,
                                &found[i].algo, o.workspace, WORKSPACE, stream));
        };
        timed(2, run);
        const double seconds = timed(10, run);
        if (best.seconds < 0 || seconds < best.seconds) best = {seconds, i, best.proposals};
    }
    NEED(cublasLtMatmulPreferenceDestroy(preference));
    NEED(cublasLtMatmulDescDestroy(desc));
    for (cublasLtMatrixLayout_t each : {a, b, d}) NEED(cublasLtMatrixLayoutDestroy(each));
    return best;
}

static operands make_operands(const shape &s) {
    const size_t d = (size_t)s.rows * s.columns;
    operands o = {random_numbers((size_t)s.rows * s.inner, 1),
                  random_numbers((size_t)s.inner * s.columns, 2),
                  random_numbers(d, 3),
                  random_numbers(d, 4),
                  random_numbers((size_t)(s.rows > s.columns ? s.rows : s.columns), 5),
                  nullptr};
    NEED(cudaMalloc(&o.workspace, WORKSPACE));
    return o;
}

static void drop_operands(const operands &o) {
    NEED(cudaStreamSynchronize(stream));
    for (void *each :
         {(void *)o.a, (void *)o.b, (void *)o.d, (void *)o.aux, (void *)o.bias, o.workspace})
        NEED(cudaFree(each));
}

static void epilogues() {
    const int tokens = 65536;
    const cublasOperation_t N = CUBLAS_OP_N, T = CUBLAS_OP_T;
    const shape shapes[] = {
        {"qkv, bias", 2304, tokens, 768, T, N, CUBLASLT_EPILOGUE_BIAS, false},
        {"proj, bias", 768, tokens, 768, T, N, CUBLASLT_EPILOGUE_BIAS, false},
        {"fc, GELU, aux, bias", 3072, tokens, 768, T, N, CUBLASLT_EPILOGUE_GELU_AUX_BIAS, true},
        {"fcproj, bias", 768, tokens, 3072, T, N, CUBLASLT_EPILOGUE_BIAS, false},
        {"fcproj gradient, dGELU", 3072, tokens, 768, N, N, CUBLASLT_EPILOGUE_DGELU, true},
        {"fcproj gradient, dGELU, bias gradient", 3072, tokens, 768, N, N,
         CUBLASLT_EPILOGUE_DGELU_BGRAD, true},
        {"qkv weight gradient, bias gradient", 768, 2304, tokens, N, T, CUBLASLT_EPILOGUE_BGRADB,
         false},
        {"proj weight gradient, bias gradient", 768, 768, tokens, N, T, CUBLASLT_EPILOGUE_BGRADB,
         false},
        {"head", 50304, tokens, 768, T, N, CUBLASLT_EPILOGUE_DEFAULT, false},
    };
    cublasLtHandle_t handle;
    NEED(cublasLtCreate(&handle));
    for (const shape &s : shapes) {
        const operands o = make_operands(s);
        const size_t packs = (size_t)s.rows * s.columns / 8;
        const result plain = fastest(handle, s, o, true), fused = fastest(handle, s, o, false);
        const auto own = [&] {
            own_pass<<<1056, 256, 0, stream>>>((uint4 *)o.d, (uint4 *)o.aux, packs);
        };
        timed(2, own);
        printf("{\"product\": \"%s\", \"plain_us\": %.1f, \"plain_rank\": %d, \"fused_us\": %.1f, "
               "\"fused_rank\": %d, \"proposals\": %d, \"own_pass_us\": %.1f, "
               "\"plain_tflops\": %.0f}\n",
               s.name, 1e6 * plain.seconds, plain.rank, 1e6 * fused.seconds, fused.rank,
               fused.proposals, 1e6 * timed(10, own),
               2e-12 * s.rows * s.columns * s.inner / plain.seconds);
        fflush(stdout);
        drop_operands(o);
    }
    NEED(cublasLtDestroy(handle));
}

/* The first proposal, back to back: with nothing between the products the card keeps its power. */
static void sustained(double seconds) {
    const shape s = {"8192", 8192, 8192, 8192, CUBLAS_OP_T, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT,
                     false};
    const operands o = make_operands(s);
    const cublasLtMatrixLayout_t square = layout(8192, 8192);
    const float one = 1, zero = 0;
    cublasLtMatmulDesc_t desc;
    cublasLtHandle_t handle;
    NEED(cublasLtCreate(&handle));
    NEED(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(desc, CUBLASLT_MATMUL_DESC_TRANSA, s.a);
    const auto run = [&] {
        NEED(cublasLtMatmul(handle, desc, &one, o.a, square, o.b, square, &zero, o.d, square, o.d,
                            square, nullptr, o.workspace, WORKSPACE, stream));
    };
    timed(10, run);
    for (double spent = 0; spent < seconds;) {
        const double each = timed(3000, run);
        spent += 3000 * each;
        printf("{\"after_seconds\": %.0f, \"tflops\": %.0f}\n", spent,
               2e-12 * 8192.0 * 8192 * 8192 / each);
        fflush(stdout);
    }
    NEED(cublasLtMatmulDescDestroy(desc));
    NEED(cublasLtMatrixLayoutDestroy(square));
    NEED(cublasLtDestroy(handle));
    drop_operands(o);
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    int devices = 0;
    if (strcmp(name, "cadence") != 0 && strcmp(name, "epilogues") != 0 &&
        strcmp(name, "sustained") != 0) {
        fprintf(stderr, "usage: probes cadence | epilogues | sustained [SECONDS]\n");
        return 2;
    }
    const cudaError_t code = cudaGetDeviceCount(&devices);
    if (code != cudaSuccess || devices == 0) {
        fprintf(stderr, "probes: no CUDA device: %s\n", cudaGetErrorString(code));
        return 3;
    }
    NEED(cudaStreamCreate(&stream));
    if (strcmp(name, "cadence") == 0) cadence();
    if (strcmp(name, "epilogues") == 0) epilogues();
    if (strcmp(name, "sustained") == 0) sustained(argc > 2 ? atof(argv[2]) : 60);
    NEED(cudaStreamDestroy(stream));
    return 0;
}
