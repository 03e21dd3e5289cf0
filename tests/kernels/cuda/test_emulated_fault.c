/* test_emulated_fault.c - an index that is wrong: nothing waits for it, nothing is written out of
 * bounds, no update is made from it, and whoever waits next is told. */
#include "emulation_control.h"
#include "quern_test.h"

enum { ROWS = 3, WIDTH = 2, COUNT = 4 };

static quern_view view(void *data, quern_dtype dtype, int32_t rank, int64_t rows, int64_t width) {
    return (quern_view){.data = data,
                        .dim = {rows, width},
                        .stride = {rank == 2 ? width : 1, 1},
                        .count = rank == 2 ? rows * width : rows,
                        .rank = rank,
                        .dtype = dtype};
}

static void decide(quern_stream *stream, task_state *state) {
    static const double schedule[1] = {1};
    const task_decide t = {.state = state,
                           .schedule = schedule,
                           .schedule_count = 1,
                           .constants = {.learning_rate = 1}};
    REQUIRE_OK(cuda_tasks[TASK_decide](&(quern_kernel_args){.attributes = &t, .stream = stream}));
}

typedef struct watcher {
    const quern_stream *stream;
    int fences;
} watcher;

/* The host may read the record from now on: nothing but its code is still to come. */
static void look(void *self) {
    watcher *w = self;
    const cuda_fault *f = cuda_stream_fault(w->stream);
    CHECK(f->code == 0 && f->claimed != 0);
    CHECK(f->position == 1 && f->value == 3 && f->limit == ROWS);
    w->fences++;
}

TEST_CASE(Fault, a_bad_index_counts_as_zero_and_freezes_the_run_before_anybody_waits) {
    float table[ROWS * WIDTH] = {1, 2, 3, 4, 5, 6}, y[COUNT * WIDTH];
    int32_t index[COUNT] = {2, 3, -1, 0};
    quern_stream *stream = emulation_stream_create();
    const quern_view in[2] = {view(table, QUERN_F32, 2, ROWS, WIDTH),
                              view(index, QUERN_I32, 1, COUNT, 1)};
    const quern_view out[1] = {view(y, QUERN_F32, 2, COUNT, WIDTH)};
    const quern_kernel_args args = {
        .input_count = 2, .output_count = 1, .in = in, .out = out, .stream = stream};
    task_state state = {.weight = 1};
    emulation_set_order(EMULATION_FORWARD); /* so that it is known which of the two is named */
    decide(stream, &state);
    CHECK(state.applied == 1);
    watcher w = {.stream = stream};
    emulation_watch_fences(look, &w);
    CHECK_OK(cuda_kernels[QUERN_OP_ID_gather]->forward(&args));
    emulation_watch_fences(NULL, NULL);
    CHECK(w.fences == 1);
    const float expected[COUNT * WIDTH] = {5, 6, 0, 0, 0, 0, 1, 2};
    for (int i = 0; i < COUNT * WIDTH; i++) CHECK(y[i] == expected[i]);
    decide(stream, &state);
    CHECK(state.applied == 0);
    CHECK(state.frozen == 1);
    CHECK(state.step == 1);
    CHECK_STATUS(emulation_stream_wait(stream), QUERN_INPUT);
    CHECK_ERROR_HAS("index 3 at position 1 is outside [0, 3)");
    CHECK_OK(emulation_stream_wait(stream));
    emulation_stream_destroy(stream);
}
