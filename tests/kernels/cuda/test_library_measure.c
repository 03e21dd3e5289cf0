/* What tuning measures: each way on random operands taken in turn; one that fails is no choice;
 * without memory nothing is measured, and that is said. And what is chosen where operands do not
 * begin on 16 bytes, or the library calls something invalid. */
#include "library_world.h"

#include <string.h>

typedef struct words {
    int not_measured, invalid;
} words;

static void note(void *self, quern_log_level level, const char *sentence) {
    words *w = self;
    w->not_measured += level == QUERN_LOG_WARNING && strstr(sentence, "is not measured") != NULL;
    w->invalid += level == QUERN_LOG_WARNING && strstr(sentence, "calls it invalid") != NULL;
}

static void run_right(quern_op_id op, const op_case *c) {
    library_world w;
    library_world_begin(&w, op, c, QUERN_F32);
    CHECK_OK(w.status);
    CHECK(library_world_is_right(&w));
    library_world_end(&w);
}

static void run_matmul(void) { run_right(QUERN_OP_ID_matmul, &library_matmul); }
static void run_linear(void) { run_right(QUERN_OP_ID_linear, &library_linear); }
static void run_conv2d(void) { run_right(QUERN_OP_ID_conv2d, &library_conv2d); }

/* A kernel that cannot be launched is no choice, and takes no device with it. */
TEST_CASE(CudaMeasure, what_fails_on_a_device_that_is_well_is_no_choice) {
    library_begin(&(library_device_desc){.tune = true});
    fake_cublaslt.broken = 1u << 1;
    fake_cublaslt.refusal = CUBLAS_STATUS_EXECUTION_FAILED;
    run_matmul();
    CHECK(fake_cublaslt.last_index == 2);
    fake_cudnn.knobs = 3;
    fake_cudnn.broken = 1u << 2;
    fake_cudnn.refusal = CUDNN_STATUS_EXECUTION_FAILED;
    run_conv2d();
    CHECK(fake_cudnn.last_knob == 1);
    library_end();
}

TEST_CASE(CudaMeasure, takes_the_fastest_product_that_works_on_random_operands_in_turn) {
    static const uint64_t expected[] = {1, 2, 0}; /* by what fails */
    static const uint32_t broken[] = {0, 1u << 1, 1u << 1 | 1u << 2};
    for (int i = 0; i < 3; i++) {
        library_begin(&(library_device_desc){.tune = true});
        fake_cublaslt.broken = broken[i];
        run_matmul();
        CHECK(fake_cublaslt.last_index == expected[i]);
        CHECK(fake_cublaslt.products > 20 && fake_cublaslt.zeros == 0);
        CHECK(fake_cublaslt.stayed * 10 < fake_cublaslt.products);
        library_end();
    }
    library_begin(&(library_device_desc){0});
    run_matmul();
    CHECK(fake_cublaslt.last_index == 0 && fake_cublaslt.products == 3);
    library_end();
}

TEST_CASE(CudaMeasure, takes_the_fastest_engine_that_works) {
    static const int32_t expected[] = {2, 1, 0};
    static const uint32_t broken[] = {0, 1u << 2, 1u << 2 | 1u << 1};
    for (int i = 0; i < 3; i++) {
        library_begin(&(library_device_desc){.tune = true});
        fake_cudnn.knobs = 3;
        fake_cudnn.broken = broken[i];
        run_conv2d();
        CHECK(fake_cudnn.last_knob == expected[i] && fake_cudnn.last_engine == 3);
        library_end();
    }
    library_begin(&(library_device_desc){0});
    fake_cudnn.knobs = 3;
    run_conv2d();
    CHECK(fake_cudnn.last_knob == 0);
    library_end();
}

/* What is still under way behind a failure is waited for before the stream is well again. */
TEST_CASE(CudaMeasure, a_failure_is_taken_behind_what_is_under_way) {
    for (int64_t n = 1; n < 5; n++) {
        library_begin(&(library_device_desc){.tune = true});
        library_device_fail_record(n);
        run_matmul();
        CHECK(fake_cublaslt.last_index == 1);
        CHECK_SAY(library_device_taken_early() == 0, "event %d", (int)n);
        library_end();
    }
}

TEST_CASE(CudaMeasure, without_memory_takes_the_first_and_says_so) {
    words said = {0};
    quern_host host = quern_host_default();
    host.log = (quern_log_sink){note, &said};
    library_begin(&(library_device_desc){.tune = true, .host = &host, .allocation_bytes = 1000});
    fake_cudnn.knobs = 3;
    run_matmul();
    CHECK(fake_cublaslt.last_index == 0 && fake_cublaslt.products == 3);
    CHECK(said.not_measured == 3);
    run_conv2d();
    CHECK(fake_cudnn.last_knob == 0);
    CHECK(said.not_measured > 3);
    library_end();
}

/* An epilogue, or a product, that there is on 16 bytes only is used there. */
TEST_CASE(CudaLibraries, what_there_is_for_aligned_operands_only_is_used_for_them) {
    library_begin(&(library_device_desc){0});
    fake_cublaslt.aligned_only = true;
    run_linear();
    CHECK(fake_cublaslt.epilogue_products == 2);
    run_matmul();
    library_unaligned = true;
    run_linear(); /* by kernels of our own */
    run_matmul(); /* on copies */
    CHECK(fake_cublaslt.epilogue_products == 2);
    library_unaligned = false;
    library_end();
}

TEST_CASE(CudaLibraries, what_cublaslt_calls_invalid_is_no_answer_in_silence) {
    words said = {0};
    library_world w;
    quern_host host = quern_host_default();
    host.log = (quern_log_sink){note, &said};
    library_begin(&(library_device_desc){.host = &host});
    fake_cublaslt.invalid = 2;
    run_linear();
    run_linear();
    CHECK(fake_cublaslt.epilogue_products == 0 && said.invalid == 1);
    fake_cublaslt.invalid = 1;
    library_world_begin(&w, QUERN_OP_ID_matmul, &library_matmul, QUERN_F32);
    CHECK_STATUS(w.status, QUERN_INTERNAL);
    CHECK_ERROR_HAS("cublasLtMatmulAlgoGetHeuristic");
    CHECK_ERROR_HAS("matmul: product F32 2 of 3 x 5 x 4, b^T");
    library_world_end(&w);
    library_end();
}
