/* Every function of the public headers below the trainer, called as a careless program calls it:
 * with NULL where something is needed, and with descs that make no sense. quern.h has the rule: a
 * status and a sentence, or NULL, 0 and "", never a crash. The rows are run under the sanitizers,
 * which is where overflow and NULL arithmetic show. */
#include "quern_test.h"
#include <quern/quern.h>

#include <math.h>
#include <string.h>

/* A whole of everything, so that one argument at a time can be wrong. */
typedef struct world {
    quern_device *device;
    quern_graph *graph, *other;
    quern_tensor *x, *y, *loss, *foreign;
    quern_parameters *parameters;
    quern_program *program;
    quern_optimizer *optimizer;
    float number;
} world;

static void world_open(world *w) {
    *w = (world){0};
    REQUIRE_OK(quern_device_create(
        &w->device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 1}));
    REQUIRE_OK(quern_graph_create(&w->graph, w->device, NULL));
    REQUIRE_OK(quern_graph_create(&w->other, w->device, NULL));
    const quern_input_desc input = {.name = "x", .rank = 2, .dim = {QUERN_B, 3}};
    w->x = quern_input(w->graph, &input);
    w->foreign = quern_input(w->other, &input);
    w->y = quern_dense(w->graph, w->x, &(quern_dense_desc){.units = 2});
    w->loss = quern_sum(w->graph, w->y, NULL);
    REQUIRE_OK(quern_parameters_create(&w->parameters, w->graph,
                                       &(quern_parameters_desc){.gradients = true}));
    REQUIRE_OK(quern_program_create(&w->program, &(quern_program_desc){.graph = w->graph,
                                                                       .parameters = w->parameters,
                                                                       .batch_size = 4,
                                                                       .training = true,
                                                                       .loss = w->loss}));
    REQUIRE_OK(quern_optimizer_create(&w->optimizer, w->parameters, NULL));
}

static void world_close(world *w) {
    quern_optimizer_destroy(w->optimizer);
    quern_program_destroy(w->program);
    quern_parameters_destroy(w->parameters);
    quern_graph_destroy(w->other);
    quern_graph_destroy(w->graph);
    quern_device_destroy(w->device);
}

/* --- functions that return a status --- */

static quern_status drop_device(quern_status status, quern_device *device) {
    quern_device_destroy(device);
    return status;
}

static quern_status device_of(const quern_device_desc *desc) {
    quern_device *device = NULL;
    const quern_status status = quern_device_create(&device, desc);
    return drop_device(status, device);
}

static quern_status set_of(quern_status status, quern_dataset *set) {
    quern_dataset_destroy(set);
    return status;
}

static int64_t no_length(void *self) { return (void)self, -7; }
static int32_t no_fields(void *self, const quern_field **out) { return (void)self, *out = NULL, 3; }
static int64_t some_length(void *self) { return (void)self, 3; }
static quern_status read_nothing(void *self, int64_t index, void *const *to) {
    return (void)self, (void)index, (void)to, QUERN_OK;
}
static const quern_dataset_type empty_type;
static const quern_dataset_type wrong_length = {
    .name = "wrong", .length = no_length, .fields = no_fields, .read = read_nothing};
static const quern_dataset_type wrong_fields = {
    .name = "wrong", .length = some_length, .fields = no_fields, .read = read_nothing};
static const float three[3];

/* what is wrong, the status, the call; `s` is a dataset, `o` another object to be made */
#define STATUS_ROWS(X)                                                                             \
    X(INVALID, quern_device_create(NULL, NULL))                                                    \
    X(INVALID, device_of(&(quern_device_desc){.kind = (quern_device_kind)77}))                     \
    X(NO_DEVICE, device_of(&(quern_device_desc){.kind = QUERN_DEVICE_CPU, .index = INT32_MIN}))    \
    X(NO_DEVICE, device_of(&(quern_device_desc){.kind = QUERN_DEVICE_CPU, .index = INT32_MAX}))    \
    X(INVALID, device_of(&(quern_device_desc){.thread_count = INT32_MIN}))                         \
    X(INVALID, device_of(&(quern_device_desc){.thread_count = INT32_MAX}))                         \
    X(INVALID, quern_device_info_get(NULL, &info))                                                 \
    X(INVALID, quern_device_info_get(w.device, NULL))                                              \
    X(INVALID, quern_graph_create(NULL, w.device, NULL))                                           \
    X(INVALID, quern_graph_create(&graph, NULL, NULL))                                             \
    X(UNSUPPORTED, quern_graph_create(&graph, w.device, &(quern_graph_desc){QUERN_BF16}))          \
    X(UNSUPPORTED, quern_graph_create(&graph, w.device, &(quern_graph_desc){(quern_dtype)-1}))     \
    X(INVALID, quern_graph_status(NULL))                                                           \
    X(INVALID, quern_parameters_create(NULL, w.graph, NULL))                                       \
    X(INVALID, quern_parameters_create(&parameters, NULL, NULL))                                   \
    X(INVALID, quern_parameters_read(NULL, w.x, &w.number, 4))                                     \
    X(INVALID, quern_parameters_read(w.parameters, NULL, &w.number, 4))                            \
    X(INVALID, quern_parameters_read(w.parameters, w.x, &w.number, 4))                             \
    X(INVALID, quern_parameters_read(w.parameters, w.foreign, &w.number, 4))                       \
    X(INVALID, quern_parameters_read(w.parameters, weight, NULL, 24))                              \
    X(SHAPE, quern_parameters_read(w.parameters, weight, &w.number, SIZE_MAX))                     \
    X(INVALID, quern_parameters_write(NULL, weight, &w.number, 4))                                 \
    X(INVALID, quern_parameters_write(w.parameters, NULL, &w.number, 4))                           \
    X(INVALID, quern_parameters_write(w.parameters, weight, NULL, 24))                             \
    X(INVALID, quern_parameters_read_gradient(NULL, weight, &w.number, 4))                         \
    X(INVALID, quern_parameters_read_gradient(w.parameters, NULL, &w.number, 4))                   \
    X(INVALID, quern_parameters_read_gradient(w.parameters, weight, NULL, 24))                     \
    X(INVALID, quern_program_create(NULL, NULL))                                                   \
    X(INVALID, quern_program_create(&program, NULL))                                               \
    X(INVALID, quern_program_create(&program, &(quern_program_desc){0}))                           \
    X(INVALID, PROGRAM(.parameters = NULL))                                                        \
    X(INVALID, PROGRAM(.graph = w.other))                                                          \
    X(INVALID, PROGRAM(.batch_size = INT64_MIN))                                                   \
    X(SHAPE, PROGRAM(.batch_size = INT64_MAX))                                                     \
    X(INVALID, PROGRAM(.training = true))                                                          \
    X(INVALID, PROGRAM(.loss = w.foreign))                                                         \
    X(INVALID, PROGRAM(.loss_weight = w.loss))                                                     \
    X(SHAPE, PROGRAM(.loss = w.y))                                                                 \
    X(INVALID, PROGRAM(.output_count = 2))                                                         \
    X(INVALID, PROGRAM(.output_count = INT32_MIN))                                                 \
    X(INVALID, PROGRAM(.outputs = (quern_tensor *[]){NULL}, .output_count = 1))                    \
    X(INVALID, PROGRAM(.outputs = &w.foreign, .output_count = 1))                                  \
    X(INVALID, quern_program_memory(NULL, NULL))                                                   \
    X(INVALID, quern_program_memory(&memory, NULL))                                                \
    X(SHAPE, quern_program_memory(&memory, &(quern_program_desc){.graph = w.graph,                 \
                                                                 .batch_size = INT64_MAX,          \
                                                                 .loss = w.loss}))                 \
    X(INVALID, quern_program_write(NULL, w.x, &w.number, 4))                                       \
    X(INVALID, quern_program_write(w.program, NULL, &w.number, 4))                                 \
    X(INVALID, quern_program_write(w.program, w.x, NULL, 48))                                      \
    X(INVALID, quern_program_write(w.program, w.foreign, &w.number, 4))                            \
    X(SHAPE, quern_program_write(w.program, w.x, &w.number, SIZE_MAX))                             \
    X(INVALID, quern_program_forward(NULL, 0))                                                     \
    X(INVALID, quern_program_backward(NULL, false))                                                \
    X(INVALID, quern_program_backward(w.program, false))                                           \
    X(INVALID, quern_program_read(NULL, w.loss, &w.number, 4))                                     \
    X(INVALID, quern_program_read(w.program, NULL, &w.number, 4))                                  \
    X(INVALID, quern_program_read(w.program, w.loss, NULL, 4))                                     \
    X(INVALID, quern_program_read(w.program, w.foreign, &w.number, 4))                             \
    X(INVALID, quern_program_read(w.program, w.loss, &w.number, 4))                                \
    X(INVALID, quern_program_read_gradient(NULL, weight, &w.number, 4))                            \
    X(INVALID, quern_program_read_gradient(w.program, NULL, &w.number, 4))                         \
    X(INVALID, quern_program_read_gradient(w.program, w.x, &w.number, 4))                          \
    X(INVALID, quern_program_read_gradient(w.program, w.loss, &w.number, 4))                       \
    X(INVALID, quern_optimizer_create(NULL, w.parameters, NULL))                                   \
    X(INVALID, quern_optimizer_create(&optimizer, NULL, NULL))                                     \
    X(INVALID, OPTIMIZER(.kind = (quern_optimizer_kind)-1))                                        \
    X(INVALID, OPTIMIZER(.rule = &(quern_update_rule){0}))                                         \
    X(UNSUPPORTED, OPTIMIZER(.rule = &(quern_update_rule){.name = "mine"}))                        \
    X(INVALID, OPTIMIZER(.rule = &(quern_update_rule){.name = "mine", .state_count = 99}))         \
    X(INVALID, OPTIMIZER(.learning_rate = (double)NAN))                                            \
    X(INVALID, OPTIMIZER(.beta1 = 1))                                                              \
    X(INVALID, OPTIMIZER(.clip_norm = -1))                                                         \
    X(INVALID, OPTIMIZER(.momentum = 0.9))                                                         \
    X(INVALID, OPTIMIZER(.schedule = {.kind = (quern_schedule_kind)-1}))                           \
    X(INVALID, OPTIMIZER(.schedule = {.warmup = INT64_MIN}))                                       \
    X(INVALID, OPTIMIZER(.schedule = {.kind = QUERN_SCHEDULE_COSINE, .total = INT64_MIN}))         \
    X(INVALID, quern_optimizer_update(NULL))                                                       \
    X(INVALID, quern_optimizer_wait(NULL))                                                         \
    X(INVALID, quern_dataset_custom(NULL, w.device, &empty_type, NULL))                            \
    X(INVALID, SET(custom, NULL, &empty_type, NULL))                                               \
    X(INVALID, SET(custom, w.device, NULL, NULL))                                                  \
    X(INVALID, SET(custom, w.device, &empty_type, NULL))                                           \
    X(INVALID, SET(custom, w.device, &wrong_length, NULL))                                         \
    X(INVALID, SET(custom, w.device, &wrong_fields, NULL))                                         \
    X(INVALID, quern_dataset_idx(NULL, w.device, NULL))                                            \
    X(INVALID, SET(idx, NULL, &(quern_idx_desc){"a", "b", 0}))                                     \
    X(INVALID, SET(idx, w.device, NULL))                                                           \
    X(INVALID, SET(idx, w.device, &(quern_idx_desc){0}))                                           \
    X(INVALID, SET(idx, w.device, &(quern_idx_desc){"a", "b", INT64_MIN}))                         \
    X(INPUT, SET(idx, w.device, &(quern_idx_desc){"", "", 0}))                                     \
    X(INVALID, quern_dataset_mnist(NULL, w.device, "", false))                                     \
    X(INVALID, SET(mnist, NULL, "", false))                                                        \
    X(INVALID, SET(mnist, w.device, NULL, false))                                                  \
    X(INPUT, SET(mnist, w.device, "", true))                                                       \
    X(INVALID, quern_dataset_arrays(NULL, w.device, NULL))                                         \
    X(INVALID, SET(arrays, NULL, &(quern_arrays_desc){0}))                                         \
    X(INVALID, SET(arrays, w.device, NULL))                                                        \
    X(INPUT, SET(arrays, w.device, &(quern_arrays_desc){0}))                                       \
    X(INVALID, ARRAYS(.length = INT64_MIN))                                                        \
    X(INVALID, ARRAYS(.length = INT64_MAX))                                                        \
    X(INVALID, ARRAYS(.field_count = INT32_MIN))                                                   \
    X(INVALID, ARRAYS(.field_count = INT32_MAX))                                                   \
    X(INVALID, ARRAYS(.data = {NULL}))                                                             \
    X(INVALID, ARRAYS(.data = {(const char *)three + 1}))                                          \
    X(INVALID, ARRAYS(.fields = {{.name = NULL}}))                                                 \
    X(INVALID, ARRAYS(.fields = {{.name = "x", .dtype = (quern_dtype)99}}))                        \
    X(INVALID, ARRAYS(.fields = {{.name = "x", .rank = INT32_MIN}}))                               \
    X(INVALID, ARRAYS(.fields = {{.name = "x", .rank = INT32_MAX}}))                               \
    X(INVALID, ARRAYS(.fields = {{.name = "x", .dim = {28, 28}}}))                                 \
    X(INVALID, ARRAYS(.fields = {{.name = "x", .rank = 2, .dim = {INT64_MAX, INT64_MAX}}}))        \
    X(INVALID, ARRAYS(.fields = {{.name = "x", .class_count = 2}}))                                \
    X(INVALID, quern_dataset_npy(NULL, w.device, NULL))                                            \
    X(INVALID, SET(npy, NULL, NULL))                                                               \
    X(INVALID, SET(npy, w.device, &(quern_npy_desc){0}))                                           \
    X(INVALID, SET(npy, w.device, &(quern_npy_desc){.field_count = INT32_MAX}))                    \
    X(INVALID, SET(npy, w.device, &(quern_npy_desc){.field_count = 1}))                            \
    X(INVALID, quern_dataset_csv(NULL, w.device, NULL))                                            \
    X(INVALID, SET(csv, NULL, NULL))                                                               \
    X(INVALID, SET(csv, w.device, &(quern_csv_desc){0}))                                           \
    X(INVALID, SET(csv, w.device, &(quern_csv_desc){.path = "", .class_count = -1}))               \
    X(INPUT, SET(csv, w.device, &(quern_csv_desc){.path = ""}))                                    \
    X(INVALID, quern_dataset_synthetic(NULL, w.device, NULL))                                      \
    X(INVALID, SET(synthetic, NULL, NULL))                                                         \
    X(INVALID, SET(synthetic, w.device, &(quern_synthetic_desc){.length = INT64_MAX}))             \
    X(INVALID, SET(synthetic, w.device, &(quern_synthetic_desc){.first_index = INT64_MAX}))        \
    X(INVALID, SET(synthetic, w.device, &(quern_synthetic_desc){.class_count = INT64_MAX}))        \
    X(INVALID, quern_transform_measure(NULL, NULL))                                                \
    X(INVALID, quern_transform_measure(&(quern_transform){.field = "x"}, NULL))

#define PROGRAM(...)                                                                               \
    quern_program_create(&program, &(quern_program_desc){                                          \
                                       .graph = w.graph, .parameters = w.parameters, __VA_ARGS__})
#define OPTIMIZER(...)                                                                             \
    quern_optimizer_create(&optimizer, w.parameters, &(quern_optimizer_desc){__VA_ARGS__})
#define SET(format, ...) set_of(quern_dataset_##format(&set, __VA_ARGS__), set)
#define ARRAYS(...)                                                                                \
    SET(arrays, w.device,                                                                          \
        &(quern_arrays_desc){.length = 3,                                                          \
                             .field_count = 1,                                                     \
                             .fields = {{.name = "x"}},                                            \
                             .data = {three},                                                      \
                             __VA_ARGS__})

/* PROGRAM and ARRAYS set a field a second time, which is what makes a row one wrong field long. */
#pragma GCC diagnostic ignored "-Woverride-init"

TEST_CASE(NullAndAbsurd, a_status_and_a_sentence_come_back_from_every_function) {
    world w;
    world_open(&w);
    quern_device_info info;
    quern_memory memory;
    quern_graph *graph = NULL;
    quern_parameters *parameters = NULL;
    quern_program *program = NULL;
    quern_optimizer *optimizer = NULL;
    quern_dataset *set = NULL;
    quern_tensor *weight = quern_tensor_find(w.graph, "dense1.weight");
    REQUIRE(weight != NULL);
#define X(expected, call)                                                                          \
    (void)quern_fail(QUERN_OK, "%s", "");                                                          \
    CHECK_STATUS(call, QUERN_##expected);                                                          \
    CHECK_SAY(quern_error()[0] != 0, "%s left no sentence", #call);                                \
    CHECK_SAY(!graph && !parameters && !program && !optimizer, "%s made something", #call);
    STATUS_ROWS(X)
#undef X
    world_close(&w);
}

/* --- functions without one --- */

static void line_ignore(void *self, const char *line) { (void)self, (void)line; }

TEST_CASE(NullAndAbsurd, functions_without_a_status_do_nothing_and_return_nothing) {
    quern_device_destroy(NULL);
    quern_graph_destroy(NULL);
    quern_parameters_destroy(NULL);
    quern_program_destroy(NULL);
    quern_optimizer_destroy(NULL);
    quern_dataset_destroy(NULL);
    CHECK(quern_device_count((quern_device_kind)77, NULL, 0) == 0);
    char reason[64] = "x";
    CHECK(quern_device_count((quern_device_kind)-1, reason, sizeof reason) == 0);
    CHECK_HAS(reason, "does not exist");
    CHECK(quern_device_count(QUERN_DEVICE_CPU, reason, 0) == 1);
    CHECK_TEXT(quern_status_name((quern_status)-1), "QUERN_?");
    CHECK(quern_status_exit_code((quern_status)99) == 1);
    CHECK(quern_status_text((quern_status)99)[0] != 0);
    CHECK(quern_dtype_bytes((quern_dtype)-1) == 0);
    CHECK_TEXT(quern_dtype_name((quern_dtype)99), "?");
    CHECK(quern_tensor_shape(NULL).rank == -1);
    CHECK_TEXT(quern_tensor_name(NULL), "");
    CHECK(quern_tensor_find(NULL, "x") == NULL);
    CHECK(quern_loss_weight(NULL) == NULL);
    CHECK(quern_graph_parameter_count(NULL) == 0);
    CHECK(quern_graph_parameter(NULL, 0) == NULL);
    CHECK(quern_graph_parameter_elements(NULL) == 0);
    CHECK(quern_program_input(NULL, NULL) == NULL);
    CHECK(quern_dataset_length(NULL) == 0);
    CHECK(quern_dataset_fields(NULL, NULL) == 0);
    CHECK(quern_schedule_scale(NULL, INT64_MIN) > 0);
    CHECK(quern_optimizer_resolved(NULL).learning_rate == 0);
    quern_graph_dump(NULL, line_ignore, NULL);
    quern_program_dump(NULL, line_ignore, NULL);
    quern_scope_push(NULL, "x");
    quern_scope_pop(NULL);
    quern_split(NULL, NULL, 0, 3, NULL, NULL);
    world w;
    world_open(&w);
    quern_graph_dump(w.graph, NULL, NULL);
    quern_program_dump(w.program, NULL, NULL);
    CHECK(quern_tensor_find(w.graph, NULL) == NULL);
    CHECK(quern_graph_parameter(w.graph, INT32_MIN) == NULL);
    CHECK(quern_graph_parameter(w.graph, INT32_MAX) == NULL);
    CHECK(quern_program_input(w.program, NULL) == NULL);
    CHECK(quern_program_input(w.program, w.foreign) == NULL);
    world_close(&w);
}

/* --- builders --- */

#define NULLS_IN1(a) NULL
#define NULLS_IN2(a, b) NULL, NULL
#define NULLS_IN3_OPT1(a, b, c) NULL, NULL, NULL
#define NULLS_IN5(a, b, c, d, e) NULL, NULL, NULL, NULL, NULL
#define NULLS_IN_LIST(a) NULL, 3
#define CALL_DESC(name, in) quern_##name(graph, NULLS_##in, NULL)
#define CALL_NO_DESC(name, in) quern_##name(graph, NULLS_##in)
#define CALL_FUSED(name, in) NULL

TEST_CASE(NullAndAbsurd, every_op_builder_takes_a_null_graph_and_null_inputs) {
    quern_device *device = NULL;
    REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU}));
    for (int i = 0; i < 2; i++) {
        quern_graph *graph = NULL;
#define FUSED_DESC false
#define FUSED_NO_DESC false
#define FUSED_FUSED true
#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    if (i == 1) REQUIRE_OK(quern_graph_create(&graph, device, NULL));                              \
    CHECK_SAY(CALL_##desc(name, in) == NULL, "%s of nothing", #name);                              \
    if (i == 1 && !FUSED_##desc) {                                                                 \
        CHECK_STATUS(quern_graph_status(graph), QUERN_INVALID);                                    \
        CHECK_ERROR_HAS("NULL");                                                                   \
    }                                                                                              \
    quern_graph_destroy(graph);                                                                    \
    graph = NULL;
#include <quern/ops.def>
#undef QUERN_OP
    }
    quern_device_destroy(device);
}

static quern_status one_number(const quern_shape_args *args) {
    args->out[0] = (quern_shape){.dtype = args->dtype};
    return QUERN_OK;
}

static quern_status rank_nine(const quern_shape_args *args) {
    args->out[0] = (quern_shape){.rank = 9};
    return QUERN_OK;
}

static quern_tensor *split_of(quern_graph *graph, quern_tensor *x, int32_t axis, int32_t count,
                              const int64_t *sizes) {
    quern_tensor *parts[3];
    quern_split(graph, x, axis, count, sizes, parts);
    return parts[0];
}

static quern_tensor *second_batch_norm(quern_graph *g, quern_tensor *x) {
    quern_tensor *v[4];
    const char *names[4] = {"w", "b", "mean", "variance"};
    for (int i = 0; i < 4; i++) {
        const quern_parameter_desc d = {.name = names[i], .rank = 1, .dim = {4}};
        v[i] = i < 2 ? quern_parameter(g, &d) : quern_buffer(g, &d);
    }
    x = quern_batch_norm(g, x, v[0], v[1], v[2], v[3], NULL);
    return quern_batch_norm(g, x, v[0], v[1], v[2], v[3], NULL);
}

/* g is a fresh graph, x (B, 4, 8, 8), t (B) indices, h (B, 5) */
#define BUILDER_ROWS(X)                                                                            \
    X(INVALID, quern_input(g, NULL))                                                               \
    X(INVALID, quern_input(g, &(quern_input_desc){0}))                                             \
    X(SHAPE, quern_input(g, &(quern_input_desc){.name = "i", .dim = {QUERN_B, 3}}))                \
    X(SHAPE, quern_input(g, &(quern_input_desc){.name = "i", .rank = INT32_MIN}))                  \
    X(SHAPE, quern_input(g, &(quern_input_desc){.name = "i", .rank = INT32_MAX}))                  \
    X(SHAPE, quern_input(g, &(quern_input_desc){.name = "i", .rank = 1, .dim = {INT64_MIN}}))      \
    X(INVALID, quern_input(g, &(quern_input_desc){.name = "i", .dtype = (quern_dtype)77}))         \
    X(INVALID, quern_labels(g, NULL))                                                              \
    X(INVALID, quern_labels(g, "x"))                                                               \
    X(INVALID, quern_parameter(g, NULL))                                                           \
    X(INVALID, quern_parameter(g, &(quern_parameter_desc){0}))                                     \
    X(SHAPE, quern_parameter(g, &(quern_parameter_desc){.name = "p", .dim = {3}}))                 \
    X(SHAPE, quern_parameter(g, &(quern_parameter_desc){.name = "p", .rank = 1, .dim = {-1}}))     \
    X(INVALID, PARAMETER(.init = {.kind = (quern_init_kind)-1}))                                   \
    X(INVALID, PARAMETER(.init = {.a = 1}))                                                        \
    X(INVALID, PARAMETER(.init = {.kind = QUERN_INIT_CONSTANT, .b = 1}))                           \
    X(INVALID, PARAMETER(.init = {.kind = QUERN_INIT_XAVIER_NORMAL, .fan_out = true}))             \
    X(INVALID, PARAMETER(.init = {.kind = QUERN_INIT_NORMAL, .b = -1}))                            \
    X(INVALID, PARAMETER(.init = {.kind = QUERN_INIT_UNIFORM, .a = -3e38f, .b = 3e38f}))           \
    X(INVALID, PARAMETER(.learning_rate_scale = NAN))                                              \
    X(INVALID, PARAMETER(.weight_decay_scale = -1))                                                \
    X(INVALID, quern_buffer(g, NULL))                                                              \
    X(INVALID, quern_buffer(g, &(quern_parameter_desc){.name = "b", .frozen = true}))              \
    X(INVALID, (quern_scope_push(g, NULL), NULL))                                                  \
    X(INVALID, quern_custom(g, NULL, NULL, 0, NULL, NULL))                                         \
    X(INVALID, quern_custom(g, &(quern_op){0}, NULL, 0, NULL, NULL))                               \
    X(INVALID, CUSTOM(.flags = QUERN_OP_INPLACE))                                                  \
    X(INVALID, CUSTOM(.flags = QUERN_OP_GRAD_ALIKE))                                               \
    X(INVALID, CUSTOM(.flags = QUERN_OP_CHANNELS_LAST))                                            \
    X(INVALID, CUSTOM(.output_count = 99))                                                         \
    X(INVALID, CUSTOM(.shape = rank_nine))                                                         \
    X(INVALID, quern_custom(g, &(quern_op){.name = "c", .shape = rank_nine, .output_count = 1},    \
                            NULL, 1, NULL, NULL))                                                  \
    X(INVALID, (quern_split(g, x, 1, 2, NULL, NULL), NULL))                                        \
    X(INVALID, split_of(g, x, 9, 2, NULL))                                                         \
    X(INVALID, split_of(g, x, 1, INT32_MIN, NULL))                                                 \
    X(SHAPE, split_of(g, x, 1, 3, NULL))                                                           \
    X(SHAPE, split_of(g, x, 0, 2, NULL))                                                           \
    X(SHAPE, split_of(g, x, 1, 2, ((const int64_t[]){1, INT64_MAX})))                              \
    X(INVALID, quern_conv2d(g, x, window, NULL, &(quern_conv2d_desc){.stride = {INT32_MIN, 1}}))   \
    X(INVALID, quern_conv2d(g, x, window, NULL, &(quern_conv2d_desc){.padding = {-1, 0}}))         \
    X(SHAPE, quern_conv2d(g, x, window, NULL, &(quern_conv2d_desc){.groups = INT32_MAX}))          \
    X(SHAPE, quern_conv2d(g, x, huge, NULL, &(quern_conv2d_desc){.dilation = {INT32_MAX, 9}}))     \
    X(INVALID, quern_clamp(g, x, NULL))                                                            \
    X(INVALID, quern_clamp(g, x, &(quern_clamp_desc){.low = NAN, .high = NAN}))                    \
    X(INVALID, quern_cast(g, x, &(quern_cast_desc){(quern_dtype)-1}))                              \
    X(INVALID, quern_dropout(g, x, &(quern_dropout_desc){NAN}))                                    \
    X(SHAPE, quern_softmax(g, x, &(quern_softmax_desc){.axis = INT32_MIN}))                        \
    X(INVALID, quern_softmax(g, x, &(quern_softmax_desc){.axis = 2, .first = true}))               \
    X(SHAPE, quern_sum(g, x, &(quern_sum_desc){.axis_count = INT32_MIN}))                          \
    X(SHAPE, quern_sum(g, x, &(quern_sum_desc){.axis_count = INT32_MAX}))                          \
    X(INVALID, quern_mean(g, x, &(quern_mean_desc){.axes = {1}}))                                  \
    X(SHAPE, quern_reshape(g, x, &(quern_reshape_desc){.rank = INT32_MIN}))                        \
    X(SHAPE, quern_reshape(g, x, &(quern_reshape_desc){.rank = 1, .dim = {INT64_MIN}}))            \
    X(SHAPE, quern_reshape(g, x, &(quern_reshape_desc){.rank = 2, .dim = {INT64_MAX, INT64_MAX}})) \
    X(INVALID, quern_permute(g, x, &(quern_permute_desc){.order = {INT32_MIN, 1, 2, 3}}))          \
    X(SHAPE, quern_slice(g, x, &(quern_slice_desc){1, INT64_MIN, INT64_MAX}))                      \
    X(SHAPE, quern_concat(g, &x, 1, &(quern_concat_desc){INT32_MAX}))                              \
    X(INVALID, quern_concat(g, &x, INT32_MAX, NULL))                                               \
    X(INVALID, quern_concat(g, &x, INT32_MIN, NULL))                                               \
    X(SHAPE, quern_gather(g, x, h))                                                                \
    X(INVALID, quern_max_pool2d(g, x, &(quern_pool2d_desc){.window = {INT32_MIN, 2}}))             \
    X(SHAPE, quern_max_pool2d(g, x, &(quern_pool2d_desc){.window = {INT32_MAX, INT32_MAX}}))       \
    X(INVALID, quern_max_pool2d(                                                                   \
                   g, x, &(quern_pool2d_desc){.window = {2, 2}, .count_exclude_padding = true}))   \
    X(INVALID, quern_softmax_cross_entropy(                                                        \
                   g, h, t, &(quern_softmax_cross_entropy_desc){.label_smoothing = NAN}))          \
    X(INVALID, quern_huber(g, h, h, &(quern_huber_desc){NAN}))                                     \
    X(INVALID, quern_valid_count(g, t, &(quern_valid_count_desc){.ignore_index = 3}))              \
    X(INVALID, quern_top_k_correct(g, h, t, &(quern_top_k_correct_desc){.k = INT32_MIN}))          \
    X(INVALID, quern_top_k_correct(g, h, t, &(quern_top_k_correct_desc){.ignore_index = 3}))       \
    X(INVALID, quern_confusion_matrix(g, h, t, &(quern_confusion_matrix_desc){.ignore_index = 3})) \
    X(INVALID, second_batch_norm(g, x))                                                            \
    X(INVALID, quern_dense(g, NULL, NULL))                                                         \
    X(INVALID, quern_dense(g, h, NULL))                                                            \
    X(INVALID, quern_dense(g, h, &(quern_dense_desc){.units = INT64_MIN}))                         \
    X(INVALID, quern_conv(g, NULL, NULL))                                                          \
    X(INVALID, quern_conv(g, x, NULL))                                                             \
    X(SHAPE, quern_conv(g, wide, &(quern_conv_desc){1, {INT32_MAX, INT32_MAX}, .name = "c"}))      \
    X(SHAPE, quern_conv(g, x, &(quern_conv_desc){1, {3, 3}, .conv = {.groups = INT32_MIN}}))       \
    X(INVALID, quern_batch_normalize(g, NULL, NULL))                                               \
    X(INVALID,                                                                                     \
      quern_batch_normalize(g, x, &(quern_batch_normalize_desc){.norm = {.momentum = NAN}}))       \
    X(INVALID, quern_layer_normalize(g, NULL, NULL))                                               \
    X(INVALID,                                                                                     \
      quern_layer_normalize(g, x, &(quern_layer_normalize_desc){.norm = {.epsilon = -1}}))         \
    X(INVALID, quern_flatten(g, NULL))                                                             \
    X(INVALID, quern_mlp(g, NULL, NULL))                                                           \
    X(INVALID, quern_mlp(g, x, &(quern_mlp_desc){.hidden_count = INT32_MIN}))                      \
    X(INVALID, quern_mlp(g, x, &(quern_mlp_desc){.hidden = {INT64_MIN}}))                          \
    X(SHAPE, quern_lenet(g, NULL, NULL))                                                           \
    X(SHAPE, quern_lenet(g, x, NULL))

#define PARAMETER(...)                                                                             \
    quern_parameter(g, &(quern_parameter_desc){.name = "p", .rank = 1, .dim = {3}, __VA_ARGS__})
#define CUSTOM(...) /* as it is here, there is nothing against it */                               \
    quern_custom(g, &(quern_op){.name = "c", .shape = one_number, .output_count = 1, __VA_ARGS__}, \
                 NULL, 0, NULL, NULL)

static quern_tensor *images(quern_graph *g, const char *name, int64_t channels) {
    return quern_input(
        g, &(quern_input_desc){.name = name, .rank = 4, .dim = {QUERN_B, channels, 8, 8}});
}

static quern_tensor *filters(quern_graph *g, const char *name, int64_t side) {
    return quern_parameter(
        g, &(quern_parameter_desc){.name = name, .rank = 4, .dim = {2, 4, side, 3}});
}

TEST_CASE(NullAndAbsurd, every_builder_sticks_a_status_to_its_graph) {
    quern_device *device = NULL;
    REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU}));
#define X(expected, call)                                                                          \
    {                                                                                              \
        quern_graph *g = NULL;                                                                     \
        REQUIRE_OK(quern_graph_create(&g, device, NULL));                                          \
        quern_tensor *x = images(g, "x", 4), *wide = images(g, "wide", INT64_MAX);                 \
        quern_tensor *t = quern_labels(g, "t"), *window = filters(g, "window", 3);                 \
        quern_tensor *huge = filters(g, "huge", INT64_MAX);                                        \
        quern_tensor *h =                                                                          \
            quern_input(g, &(quern_input_desc){.name = "h", .rank = 2, .dim = {QUERN_B, 5}});      \
        REQUIRE_OK(quern_graph_status(g));                                                         \
        (void)x, (void)t, (void)h, (void)wide, (void)window, (void)huge;                           \
        CHECK_SAY((call) == NULL, "%s gave a tensor", #call);                                      \
        const quern_status found = quern_graph_status(g);                                          \
        CHECK_SAY(found == QUERN_##expected, "%s: %s, %s", #call, quern_status_name(found),        \
                  quern_error());                                                                  \
        quern_graph_destroy(g);                                                                    \
    }
    BUILDER_ROWS(X)
#undef X
    quern_device_destroy(device);
}
