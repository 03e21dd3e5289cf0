/* The memory plan: no two buffers that live at the same time overlap, aliases and in-place steps
 * share, evaluation holds no gradients, and the bytes asked for beforehand are the bytes used. */
#include "graph_fixture.h"

#include "host/graph/compile.h"

#include <math.h>
#include <string.h>

static quern_tensor *deep_network(fixture *f, int32_t layers, quern_tensor **labels) {
    quern_tensor *h =
        quern_input(f->graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 64}});
    for (int32_t i = 0; i < layers; i++)
        h = quern_relu(f->graph, quern_dense(f->graph, h, &(quern_dense_desc){.units = 64}));
    *labels = quern_labels(f->graph, "y");
    return h;
}

static int32_t owner(const quern_program *p, int32_t item) {
    while (p->items[item].shares >= 0) item = p->items[item].shares;
    return item;
}

static void check_no_overlap(const quern_program *p) {
    for (int32_t a = 0; a < p->item_count; a++)
        for (int32_t b = a + 1; b < p->item_count; b++) {
            const arena_item *x = &p->items[a], *y = &p->items[b];
            const bool together = x->first <= y->last && y->first <= x->last;
            const bool overlap =
                x->offset < y->offset + y->bytes && y->offset < x->offset + x->bytes;
            CHECK_SAY(!together || !overlap || owner(p, a) == owner(p, b),
                      "%s %s and %s %s overlap", x->what, x->name, y->what, y->name);
        }
    for (int32_t a = 0; a < p->item_count; a++) {
        const arena_item *x = &p->items[a];
        const size_t alignment = strcmp(x->what, "scratch") == 0 ? QUERN_SCRATCH_ALIGNMENT : 64;
        CHECK_SAY(x->offset % alignment == 0, "%s %s at %zu", x->what, x->name, x->offset);
        CHECK(x->offset + x->bytes <= p->arena_bytes);
    }
}

static quern_program *compile(fixture *f, quern_parameters *values, quern_tensor *loss,
                              int64_t batch, bool training) {
    quern_program *p = NULL;
    CHECK_STATUS(quern_program_create(&p, &(quern_program_desc){.graph = f->graph,
                                                                .parameters = values,
                                                                .batch_size = batch,
                                                                .training = training,
                                                                .loss = loss}),
                 QUERN_OK);
    return p;
}

TEST_CASE(MemoryPlan, never_overlaps_what_lives_together) {
    for (int64_t batch = 0; batch < 130; batch += 43) {
        fixture f = fixture_open(QUERN_F32);
        quern_parameters *values = NULL;
        quern_tensor *labels, *h = deep_network(&f, 6, &labels), *parts[2];
        quern_split(f.graph, quern_sigmoid(f.graph, h), 1, 2, NULL, parts);
        quern_tensor *z = quern_add(f.graph, parts[0], quern_exp(f.graph, parts[1]));
        quern_tensor *loss = quern_softmax_cross_entropy(f.graph, z, labels, NULL);
        REQUIRE_OK(
            quern_parameters_create(&values, f.graph, &(quern_parameters_desc){.gradients = true}));
        for (int training = 0; training < 2; training++) {
            quern_program *p = compile(&f, values, loss, batch, training != 0);
            REQUIRE(p);
            check_no_overlap(p);
            quern_program_destroy(p);
        }
        quern_parameters_destroy(values);
        fixture_close(&f);
    }
}

TEST_CASE(MemoryPlan, of_an_evaluation_does_not_grow_with_depth) {
    size_t bytes[2][2];
    for (int deep = 0; deep < 2; deep++) {
        fixture f = fixture_open(QUERN_F32);
        quern_tensor *labels, *h = deep_network(&f, deep ? 24 : 6, &labels);
        quern_tensor *loss = quern_softmax_cross_entropy(f.graph, h, labels, NULL);
        for (int training = 0; training < 2; training++) {
            quern_memory memory;
            REQUIRE_OK(quern_program_memory(
                &memory,
                &(quern_program_desc){
                    .graph = f.graph, .batch_size = 128, .training = training != 0, .loss = loss}));
            bytes[training][deep] = memory.activation_bytes;
            CHECK(training ? memory.gradient_bytes > 0 : memory.gradient_bytes == 0);
        }
        fixture_close(&f);
    }
    CHECK(bytes[0][0] == bytes[0][1]);    /* two activations at a time */
    CHECK(bytes[1][1] > 2 * bytes[1][0]); /* every activation until its backward */
    CHECK(bytes[0][0] <= 3 * 128 * 64 * sizeof(float));
}

TEST_CASE(MemoryPlan, shares_memory_in_place) {
    fixture f = fixture_open(QUERN_F32);
    quern_tensor *x =
        quern_input(f.graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 64}});
    quern_tensor *h = quern_linear(f.graph, x, fixture_parameter(&f, "w", 64, 64, 0, 0), NULL);
    for (int i = 0; i < 5; i++) h = quern_relu(f.graph, quern_neg(f.graph, h));
    quern_memory memory;
    REQUIRE_OK(quern_program_memory(&memory, &(quern_program_desc){.graph = f.graph,
                                                                   .batch_size = 100,
                                                                   .outputs = &h,
                                                                   .output_count = 1,
                                                                   .no_fusion = true}));
    CHECK_SAY(memory.activation_bytes == 100 * 64 * sizeof(float), "%zu", memory.activation_bytes);
    fixture_close(&f);
}

/* A classifier whose logits are also squared, and read by that in the backward pass too. */
typedef enum reader { READ_BY_NOBODY, READ_BEFORE, READ_BEHIND, READ_BY_APPLICATION } reader;

static void check_gradient_on_logits(reader who) {
    enum { CLASSES = 500, ROWS = 32 };
    const size_t logits_bytes = CLASSES * ROWS * sizeof(float);
    fixture f = fixture_open(QUERN_F32);
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    quern_tensor *x =
        quern_input(f.graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 8}});
    quern_tensor *y = quern_labels(f.graph, "y");
    quern_tensor *z = quern_dense(f.graph, x, &(quern_dense_desc){.units = CLASSES, .name = "z"});
    quern_tensor *square = NULL, *loss = NULL;
    if (who == READ_BEHIND) square = quern_sum(f.graph, quern_mul(f.graph, z, z), NULL);
    loss = quern_softmax_cross_entropy(f.graph, z, y, NULL);
    if (who == READ_BEFORE) square = quern_sum(f.graph, quern_mul(f.graph, z, z), NULL);
    if (square) loss = quern_add(f.graph, loss, square);
    REQUIRE_OK(
        quern_parameters_create(&values, f.graph, &(quern_parameters_desc){.gradients = true}));
    REQUIRE_OK(quern_program_create(
        &p, &(quern_program_desc){.graph = f.graph,
                                  .parameters = values,
                                  .batch_size = ROWS,
                                  .training = true,
                                  .loss = loss,
                                  .outputs = &z,
                                  .output_count = who == READ_BY_APPLICATION ? 1 : 0}));
    const tensor_plan *logits = plan_of(p, z);
    const bool on = owner(p, logits->gradient.item) == owner(p, logits->value.item);
    check_no_overlap(p);
    CHECK_SAY(on == (who == READ_BY_NOBODY), "reader %d: %d", who, on);
    CHECK((p->arena_bytes < 2 * logits_bytes) == on);
    quern_program_destroy(p);
    quern_parameters_destroy(values);
    fixture_close(&f);
}

TEST_CASE(MemoryPlan, puts_the_classifiers_gradient_on_the_logits_where_nobody_reads_them_again) {
    check_gradient_on_logits(READ_BY_NOBODY);
    check_gradient_on_logits(READ_BEFORE); /* then the classifier adds to a gradient */
    check_gradient_on_logits(READ_BEHIND);
    check_gradient_on_logits(READ_BY_APPLICATION);
}

TEST_CASE(MemoryPlan, refuses_sizes_that_do_not_fit) {
    fixture f = fixture_open(QUERN_F32);
    quern_tensor *x = quern_input(
        f.graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, INT64_C(1) << 40}});
    quern_memory memory;
    CHECK_STATUS(quern_program_memory(&memory, &(quern_program_desc){.graph = f.graph,
                                                                     .batch_size = 1 << 22,
                                                                     .outputs = &x,
                                                                     .output_count = 1}),
                 QUERN_SHAPE);
    CHECK_ERROR_HAS("more bytes than fit");
    fixture_close(&f);
}
