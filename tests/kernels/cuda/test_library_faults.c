/* The n-th call of a library fails, the n-th allocation fails, an engine is refused: a status with
 * a sentence or the right numbers, nothing leaked, and what a caller was promised is kept. */
#include "library_world.h"
#include "support/fault_host.h"

#include <stdlib.h>
#include <string.h>

typedef struct subject {
    quern_op_id op;
    const op_case *c;
    fake_library *library;
} subject;

static const subject subjects[] = {
    {QUERN_OP_ID_linear, &library_linear, &fake_cublaslt.library},
    {QUERN_OP_ID_linear_relu, &library_linear_relu, &fake_cublaslt.library},
    {QUERN_OP_ID_linear_gelu, &library_linear_gelu, &fake_cublaslt.library},
    {QUERN_OP_ID_linear_relu_linear, &library_pair_relu, &fake_cublaslt.library},
    {QUERN_OP_ID_linear_gelu_linear, &library_pair_gelu, &fake_cublaslt.library},
    {QUERN_OP_ID_matmul, &library_matmul, &fake_cublaslt.library},
    {QUERN_OP_ID_conv2d, &library_conv2d, &fake_cudnn.library},
};
enum { SUBJECTS = sizeof subjects / sizeof subjects[0] };

typedef enum failing {
    FAILING_LOST,  /* the device is lost, and the code says it */
    FAILING_WELL,  /* the same code, of a device that CUDA still takes calls for */
    FAILING_MEMORY /* out of memory */
} failing;

/* A lost device is said to be, and only such a one. */
static bool is_told(quern_status status, failing how) {
    if (strstr(quern_error(), "cannot be loaded: planned") != NULL) return true;
    if (how == FAILING_LOST) return status == QUERN_DEVICE_LOST;
    if (how == FAILING_WELL) return status == QUERN_INTERNAL || status == QUERN_UNSUPPORTED;
    return status == QUERN_DEVICE_MEMORY || status == QUERN_HOST_MEMORY;
}

/* False when the n-th call was never made: the last. */
static bool fail_call(const subject *s, int64_t n, bool for_ever, failing how) {
    library_world w;
    library_begin(&(library_device_desc){0});
    s->library->fail_at = n;
    s->library->for_ever = for_ever;
    s->library->out_of_memory = how == FAILING_MEMORY;
    if (how == FAILING_LOST) s->library->when_lost = library_device_lose;
    library_world_begin(&w, s->op, s->c, QUERN_F32);
    const bool fired = s->library->fired > 0;
    s->library->fail_at = 0;
    if (w.status != QUERN_OK) {
        CHECK_SAY(fired, "%s: call %d: %s", s->c->label, (int)n, quern_error());
        CHECK_SAY(quern_error()[0] != 0, "%s: call %d left no sentence", s->c->label, (int)n);
        CHECK_SAY(is_told(w.status, how), "%s: call %d: %s", s->c->label, (int)n, quern_error());
    } else {
        CHECK_SAY(!fired || how != FAILING_LOST, "%s: call %d: nobody was told of a lost device",
                  s->c->label, (int)n);
        CHECK_SAY(library_world_is_right(&w), "%s: call %d: wrong numbers", s->c->label, (int)n);
    }
    library_world_end(&w);
    library_end();
    return fired;
}

TEST_CASE(CudaLibraries, any_call_of_a_library_may_fail) {
    for (int i = 0; i < SUBJECTS; i++)
        for (int kind = 0; kind < 6; kind++) {
            int64_t n = 1;
            while (fail_call(&subjects[i], n, kind % 2 != 0, (failing)(kind / 2)) &&
                   !quern_test_failed())
                n++;
            CHECK_SAY(n > 20, "%s makes only %d calls", subjects[i].c->label, (int)n);
        }
}

static bool fail_allocation(const subject *s, int64_t n, bool for_ever) {
    fault_host faults;
    library_world w;
    fault_host_begin(&faults, NULL);
    faults.fault[FAULT_ALLOCATE] = (fault){.at = n, .for_ever = for_ever};
    library_begin(&(library_device_desc){.host = &faults.host});
    library_world_begin(&w, s->op, s->c, QUERN_F32);
    const bool fired = fault_host_fired(&faults, FAULT_ALLOCATE);
    CHECK_STATUS(w.status, fired ? QUERN_HOST_MEMORY : QUERN_OK);
    library_world_end(&w);
    library_end();
    CHECK(fault_host_live(&faults) == 0);
    return fired;
}

TEST_CASE(CudaLibraries, any_allocation_may_fail) {
    for (int i = 0; i < SUBJECTS; i++)
        for (int for_ever = 0; for_ever < 2; for_ever++)
            for (int64_t n = 1; fail_allocation(&subjects[i], n, for_ever != 0);)
                if (quern_test_failed() || ++n > 100) break;
}

/* After plan, nothing is allocated and nothing is made in the libraries but packs of pointers. */
TEST_CASE(CudaLibraries, running_allocates_nothing) {
    for (int i = 0; i < SUBJECTS; i++) {
        fault_host faults;
        library_world w;
        fault_host_begin(&faults, NULL);
        library_begin(&(library_device_desc){.host = &faults.host});
        library_world_begin(&w, subjects[i].op, subjects[i].c, QUERN_F32);
        CHECK_OK(w.status);
        const int64_t allocations = faults.count[FAULT_ALLOCATE], live = subjects[i].library->live;
        for (int k = 0; k < 3 && w.status == QUERN_OK; k++) {
            CHECK_OK(op_world_forward(&w.world));
            CHECK_OK(op_world_backward(&w.world, UINT32_MAX, false));
        }
        CHECK(faults.count[FAULT_ALLOCATE] == allocations);
        CHECK(subjects[i].library->live == live);
        library_world_end(&w);
        library_end();
    }
}

static void run_right(quern_op_id op, const op_case *c, quern_dtype real) {
    library_world w;
    library_world_begin(&w, op, c, real);
    CHECK_OK(w.status);
    if (real == QUERN_F32) CHECK(library_world_is_right(&w));
    library_world_end(&w);
}

TEST_CASE(CudaLibraries, an_epilogue_that_is_not_there_is_done_by_a_kernel) {
    library_begin(&(library_device_desc){0});
    run_right(QUERN_OP_ID_linear, &library_linear, QUERN_F32);
    CHECK(fake_cublaslt.epilogue_products == 2); /* bias; bias gradient */
    run_right(QUERN_OP_ID_linear_relu, &library_linear_relu, QUERN_F32);
    CHECK(fake_cublaslt.epilogue_products == 4);
    fake_cublaslt.plain_only = true;
    run_right(QUERN_OP_ID_linear, &library_linear, QUERN_F32);
    run_right(QUERN_OP_ID_linear_relu, &library_linear_relu, QUERN_F32);
    CHECK(fake_cublaslt.epilogue_products == 4);
    library_end();
}

/* How many products a step of `op` takes, how many of them have an epilogue, and how many of those
 * an auxiliary matrix. */
static void count_products(quern_op_id op, const op_case *c, int64_t products, int64_t epilogues,
                           int64_t aux) {
    const int64_t before = fake_cublaslt.products, with = fake_cublaslt.epilogue_products;
    const int64_t aux_before = fake_cublaslt.aux_products;
    run_right(op, c, QUERN_F32);
    CHECK_SAY(fake_cublaslt.products - before == products, "%s: %d products", c->label,
              (int)(fake_cublaslt.products - before));
    CHECK_SAY(fake_cublaslt.epilogue_products - with == epilogues, "%s: %d epilogues", c->label,
              (int)(fake_cublaslt.epilogue_products - with));
    CHECK_SAY(fake_cublaslt.aux_products - aux_before == aux, "%s: %d with aux", c->label,
              (int)(fake_cublaslt.aux_products - aux_before));
}

/* Of a pair: both forwards, gu with the slope and gb, gW2 with gb2; not gx and gW. Without
 * auxiliary matrices: the biases, relu, and the biases' gradients. */
TEST_CASE(CudaLibraries, activations_ride_on_products_both_ways) {
    const op_case exact = {.label = "linear_gelu, exact",
                           .attributes = &(const quern_gelu_desc){.tanh = false},
                           .in = {{DIMS(5, 3)}, {DIMS(8, 3)}, {DIMS(8)}},
                           .out = {{DIMS(5, 8)}}};
    const op_case narrow = {.label = "linear_gelu, rows of seven",
                            .attributes = &(const quern_gelu_desc){.tanh = true},
                            .in = {{DIMS(5, 3)}, {DIMS(7, 3)}, {DIMS(7)}},
                            .out = {{DIMS(5, 7)}}};
    library_begin(&(library_device_desc){0});
    for (int state = 0; state < 3; state++) {
        const int64_t bias = state < 2, aux = state == 0;
        fake_cublaslt.no_aux = state == 1;
        fake_cublaslt.plain_only = state == 2;
        count_products(QUERN_OP_ID_linear_gelu, &library_linear_gelu, 3, 2 * bias, aux);
        count_products(QUERN_OP_ID_linear_gelu, &exact, 3, 2 * bias, 0);
        count_products(QUERN_OP_ID_linear_gelu, &narrow, 3, 2 * bias, 0);
        count_products(QUERN_OP_ID_linear_relu_linear, &library_pair_relu, 6, 4 * bias, 2 * aux);
        count_products(QUERN_OP_ID_linear_gelu_linear, &library_pair_gelu, 6, 4 * bias, 2 * aux);
    }
    library_end();
}

TEST_CASE(CudaLibraries, a_product_without_any_algorithm_is_unsupported_by_name) {
    library_world w;
    library_begin(&(library_device_desc){0});
    fake_cublaslt.proposals = 0;
    library_world_begin(&w, QUERN_OP_ID_matmul, &library_matmul, QUERN_F32);
    CHECK_STATUS(w.status, QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("matmul: product F32 2 of 3 x 5 x 4, b^T");
    library_world_end(&w);
    library_end();
}

TEST_CASE(CudaLibraries, tf32_is_used_only_where_it_is_allowed) {
    for (int allow = 0; allow < 3; allow++) { /* nowhere, on the device, in this program */
        op_case linear = library_linear, conv2d = library_conv2d, matmul = library_matmul;
        linear.tf32 = conv2d.tf32 = matmul.tf32 = allow == 2;
        library_begin(&(library_device_desc){.allow_tf32 = allow == 1});
        run_right(QUERN_OP_ID_linear, &linear, QUERN_F32);
        CHECK(fake_cublaslt.tf32 == (allow != 0));
        fake_cublaslt.tf32 = false;
        run_right(QUERN_OP_ID_matmul, &matmul, QUERN_F32);
        CHECK(fake_cublaslt.tf32 == (allow != 0));
        run_right(QUERN_OP_ID_conv2d, &conv2d, QUERN_F32);
        CHECK(fake_cudnn.last_engine == (allow ? 0 : 3));
        library_end();
    }
}

TEST_CASE(CudaLibraries, only_engines_that_keep_their_promises_are_taken) {
    library_begin(&(library_device_desc){0});
    run_right(QUERN_OP_ID_conv2d, &library_conv2d, QUERN_BF16);
    CHECK(fake_cudnn.last_engine == 0);
    fake_cudnn.refused = 1; /* the others give other bits, or reduce in half */
    run_right(QUERN_OP_ID_conv2d, &library_conv2d, QUERN_BF16);
    CHECK(fake_cudnn.last_engine == 3);
    library_end();
}

/* The code of a lost device, of a device that is well: another engine, other products. */
TEST_CASE(CudaLibraries, what_cannot_be_loaded_is_passed_over_and_the_device_is_kept) {
    static const cudnnStatus_t engines[] = {CUDNN_STATUS_EXECUTION_FAILED,
                                            CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER,
                                            CUDNN_STATUS_NOT_INITIALIZED};
    static const cublasStatus_t products[] = {
        CUBLAS_STATUS_EXECUTION_FAILED, CUBLAS_STATUS_MAPPING_ERROR, CUBLAS_STATUS_NOT_INITIALIZED};
    for (int i = 0; i < 3; i++) {
        library_begin(&(library_device_desc){0});
        fake_cudnn.refusal = engines[i];
        fake_cudnn.refused = 1; /* the others give other bits, or reduce in half */
        run_right(QUERN_OP_ID_conv2d, &library_conv2d, QUERN_BF16);
        CHECK(fake_cudnn.last_engine == 3);
        fake_cublaslt.refusal = products[i];
        fake_cublaslt.plain_only = true;
        run_right(QUERN_OP_ID_linear_relu, &library_linear_relu, QUERN_F32);
        CHECK(fake_cublaslt.epilogue_products == 0);
        library_end();
    }
}

/* The same codes of a device that CUDA refuses: no other engine is tried. */
TEST_CASE(CudaLibraries, what_a_lost_device_refuses_is_no_answer) {
    for (int i = 0; i < 2; i++) {
        library_world w;
        library_begin(&(library_device_desc){0});
        library_device_lose();
        fake_cudnn.refused = 1;
        fake_cudnn.refusal = CUDNN_STATUS_EXECUTION_FAILED;
        fake_cublaslt.plain_only = true;
        fake_cublaslt.refusal = CUBLAS_STATUS_EXECUTION_FAILED;
        if (i == 0)
            library_world_begin(&w, QUERN_OP_ID_conv2d, &library_conv2d, QUERN_BF16);
        else
            library_world_begin(&w, QUERN_OP_ID_linear_relu, &library_linear_relu, QUERN_F32);
        CHECK_STATUS(w.status, QUERN_DEVICE_LOST);
        CHECK_ERROR_HAS(i == 0 ? "cudnnBackendFinalize failed with 5000"
                               : "cublasLtMatmulAlgoGetHeuristic failed with 13");
        CHECK(fake_cudnn.planned < 2 && fake_cublaslt.heuristics < 2);
        library_world_end(&w);
        library_end();
    }
}

static void count_lines(void *self, quern_log_level level, const char *sentence) {
    (void)level;
    if (strstr(sentence, "computed directly") != NULL) ++*(int *)self;
}

TEST_CASE(CudaLibraries, a_convolution_without_an_engine_is_computed_directly_and_says_so) {
    int lines = 0;
    quern_host host = quern_host_default();
    host.log = (quern_log_sink){count_lines, &lines};
    for (int silent = 0; silent < 2; silent++) {
        library_begin(&(library_device_desc){.host = &host});
        fake_cudnn.silent = silent != 0;
        fake_cudnn.refused = silent ? 0 : UINT32_MAX;
        run_right(QUERN_OP_ID_conv2d, &library_conv2d, QUERN_F32);
        CHECK(fake_cudnn.executed == 0);
        library_end();
    }
    CHECK(lines == 2); /* once a device */
}

/* A device whose memory is full: it is no library that is missing, and later it is there. */
TEST_CASE(CudaLibraries, one_that_cannot_begin_is_a_failure_and_is_asked_again) {
    for (int i = 0; i < 2; i++) {
        library_world w;
        const quern_op_id op = i == 0 ? QUERN_OP_ID_conv2d : QUERN_OP_ID_matmul;
        const op_case *c = i == 0 ? &library_conv2d : &library_matmul;
        library_begin(&(library_device_desc){0});
        fake_cudnn.created = CUDNN_STATUS_NOT_INITIALIZED;
        fake_cublaslt.created = CUBLAS_STATUS_NOT_INITIALIZED;
        library_world_begin(&w, op, c, QUERN_F32);
        CHECK_STATUS(w.status, QUERN_INTERNAL);
        CHECK_ERROR_HAS(i == 0 ? "cudnnCreate failed with 1001" : "cublasLtCreate failed with 1 ");
        library_world_end(&w);
        fake_cudnn.created = CUDNN_STATUS_SUCCESS;
        fake_cublaslt.created = CUBLAS_STATUS_SUCCESS;
        run_right(op, c, QUERN_F32);
        CHECK(i == 0 ? fake_cudnn.executed > 0 : fake_cublaslt.products > 0);
        library_end();
    }
}

TEST_CASE(CudaLibraries, each_gradient_is_added_or_written_by_its_own_flag) {
    for (uint32_t adds = 0; adds < 8; adds++) {
        library_world w;
        library_begin(&(library_device_desc){0});
        for (int i = 0; i < SUBJECTS; i++) {
            library_world_begin(&w, subjects[i].op, subjects[i].c, QUERN_F32);
            REQUIRE_OK(w.status);
            double before[QUERN_INPUT_MAX], after[QUERN_INPUT_MAX];
            bool flags[QUERN_INPUT_MAX] = {0};
            quern_kernel_args args = w.world.args;
            for (int32_t k = 0; k < w.world.input_count; k++) {
                flags[k] = (adds >> k & 1) != 0;
                before[k] = (double)*(const float *)w.world.grad_in[k].data;
            }
            args.in = w.world.in, args.out = w.world.out;
            args.grad_in = w.world.grad_in, args.grad_out = w.world.grad_out;
            args.accumulate = flags;
            REQUIRE_OK(w.world.kernel->backward(&args));
            for (int32_t k = 0; k < w.world.input_count; k++) {
                after[k] = (double)*(const float *)w.world.grad_in[k].data;
                CHECK_NEAR(after[k], flags[k] ? 2 * before[k] : before[k], 1e-4);
            }
            library_world_end(&w);
        }
        library_end();
    }
}

TEST_CASE(CudaLibraries, a_plan_that_is_run_on_other_memory_reads_that) {
    library_world w;
    library_begin(&(library_device_desc){0});
    library_world_begin(&w, QUERN_OP_ID_conv2d, &library_conv2d, QUERN_F32);
    REQUIRE_OK(w.status);
    quern_kernel_args args = w.world.args;
    quern_view in[3] = {w.world.in[0], w.world.in[1], w.world.in[2]};
    _Alignas(64) float zeros[2 * 4 * 7 * 5] = {0};
    in[0].data = zeros;
    args.in = in, args.out = w.world.out;
    REQUIRE_OK(w.world.kernel->forward(&args));
    const float *y = w.world.out[0].data, *bias = in[2].data;
    for (int64_t i = 0; i < w.world.out[0].count; i++) CHECK(y[i] == bias[i / 28 % 6]);
    library_world_end(&w);
    library_end();
}
