/* What a resume tells of a parameter that no longer moves as it did. */
#include "quern_test.h"
#include "temporary.h"
#include "world.h"

#include <stdio.h>
#include <string.h>

static void note_sentence(void *self, quern_log_level level, const char *sentence) {
    char *to = self;
    const size_t length = strlen(to);
    (void)level;
    snprintf(to + length, 4096 - length, "%s\n", sentence);
}

/* One weight, with a learning rate of its own. */
static quern_status weight_run(const char *directory, float rate, char log[4096]) {
    world w;
    const quern_host host = {.log = {note_sentence, log}};
    quern_status s = world_open(&w, &(world_desc){.valid_length = -1, .host = host});
    if (s != QUERN_OK) return s;
    quern_graph *g = NULL;
    CHECK_OK(quern_graph_create(&g, w.device, NULL));
    quern_tensor *x = quern_input(
        g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, WORLD_FEATURES}});
    const quern_parameter_desc weight = {.name = "w",
                                         .rank = 2,
                                         .dim = {WORLD_CLASSES, WORLD_FEATURES},
                                         .learning_rate_scale = rate};
    quern_tensor *z = quern_linear(g, x, quern_parameter(g, &weight), NULL);
    const quern_trainer_desc d = {
        .graph = g,
        .loss = quern_softmax_cross_entropy(g, z, quern_labels(g, "label"), NULL),
        .train = w.train,
        .batch_size = 4,
        .save = {.directory = directory, .resume = true}};
    s = quern_trainer_create(&w.trainer, &d);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, NULL);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_graph_destroy(g);
    world_close(&w);
    return s;
}

TEST_CASE(ResumeParameter, a_parameters_changed_learning_rate_is_diagnosed) {
    temporary t = {{0}, {0}};
    char log[4096] = "";
    REQUIRE(temporary_begin(&t));
    CHECK_OK(weight_run(t.path, 0.5F, log));
    log[0] = '\0';
    CHECK_OK(weight_run(t.path, 0.25F, log));
    CHECK_HAS(log, "optimizer.groups.w.learning_rate_scale was 0.5, is 0.25: the run is no "
                   "longer bit-identical");
    temporary_end(&t);
}
