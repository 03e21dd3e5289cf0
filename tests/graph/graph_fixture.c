#include "graph_fixture.h"

#include "host/graph/graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

fixture fixture_open(quern_dtype dtype) {
    fixture f = {0};
    CHECK_STATUS(
        quern_device_create(&f.device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .seed = 7}),
        QUERN_OK);
    CHECK_STATUS(quern_graph_create(&f.graph, f.device, &(quern_graph_desc){.dtype = dtype}),
                 QUERN_OK);
    return f;
}

void fixture_close(fixture *f) {
    quern_graph_destroy(f->graph);
    quern_device_destroy(f->device);
}

quern_tensor *fixture_parameter(fixture *f, const char *name, int64_t a, int64_t b, int64_t c,
                                int64_t d) {
    quern_parameter_desc desc = {
        .name = name, .dim = {a, b, c, d}, .init = {QUERN_INIT_UNIFORM, -1, 1, false}};
    while (desc.rank < 4 && desc.dim[desc.rank] > 0) desc.rank++;
    return quern_parameter(f->graph, &desc);
}

static void write_inputs(fixture *f, quern_program *program, int64_t batch) {
    for (quern_tensor *t = f->graph->tensors; t; t = t->next) {
        quern_view view;
        if (t->role != ROLE_INPUT || !quern_program_input(program, t)) continue;
        REQUIRE_OK(shape_view(&t->shape, batch, &view));
        void *to = quern_program_input(program, t);
        for (int64_t i = 0; i < view.count; i++) {
            if (view.dtype == QUERN_I32)
                ((int32_t *)to)[i] = (int32_t)(i % 3);
            else
                ((double *)to)[i] = sin(1.7 * (double)i + 0.3);
        }
    }
}

/* loss / weight, or NaN */
static double mean_loss(quern_program *program, quern_tensor *loss, int64_t batch) {
    double sum = NAN, weight = (double)batch;
    quern_tensor *w = quern_loss_weight(loss);
    if (quern_program_forward(program, 3) != QUERN_OK ||
        quern_program_read(program, loss, &sum, sizeof sum) != QUERN_OK)
        return NAN;
    if (w && quern_program_read(program, w, &weight, sizeof weight) != QUERN_OK) return NAN;
    return sum / weight;
}

static void check_element(quern_parameters *values, quern_program *program, quern_tensor *loss,
                          quern_tensor *parameter, double *data, size_t bytes, int64_t i,
                          int64_t batch, double *numeric) {
    const double x = data[i], h = 1e-5 * fmax(1, fabs(x));
    data[i] = x + h;
    REQUIRE_OK(quern_parameters_write(values, parameter, data, bytes));
    const double up = mean_loss(program, loss, batch);
    data[i] = x - h;
    REQUIRE_OK(quern_parameters_write(values, parameter, data, bytes));
    *numeric = (up - mean_loss(program, loss, batch)) / (2 * h);
    data[i] = x;
    REQUIRE_OK(quern_parameters_write(values, parameter, data, bytes));
}

static void check_parameter(quern_parameters *values, quern_program *program, quern_tensor *loss,
                            quern_tensor *parameter, const double *analytic, int64_t count,
                            int64_t batch) {
    const size_t bytes = (size_t)count * sizeof(double);
    double *data = malloc(bytes + 1), worst = 0, scale = 1;
    REQUIRE(data);
    CHECK_STATUS(quern_parameters_read(values, parameter, data, bytes), QUERN_OK);
    for (int64_t i = 0; i < count; i++) {
        double numeric = NAN;
        check_element(values, program, loss, parameter, data, bytes, i, batch, &numeric);
        const double difference = fabs(analytic[i] - numeric);
        worst = difference <= worst ? worst : difference; /* NaN sticks */
        scale = fmax(scale, fmax(fabs(numeric), fabs(analytic[i])));
    }
    CHECK_SAY(worst <= 1e-7 * scale, "%s: gradient differs by %g (scale %g)",
              quern_tensor_name(parameter), worst, scale);
    free(data);
}

static void check_all(fixture *f, quern_parameters *values, quern_program *program,
                      quern_tensor *loss, int64_t batch, bool following) {
    (void)mean_loss(program, loss, batch);
    CHECK_STATUS(quern_program_backward(program, false), QUERN_OK);
    if (following) {
        (void)mean_loss(program, loss, batch); /* each backward follows a forward of its own */
        CHECK_STATUS(quern_program_backward(program, true), QUERN_OK);
    }
    for (int32_t k = 0; k < quern_graph_parameter_count(f->graph); k++) {
        quern_tensor *parameter = quern_graph_parameter(f->graph, k);
        quern_view view;
        if (!parameter->wants_gradient) continue;
        REQUIRE_OK(shape_view(&parameter->shape, 0, &view));
        const size_t bytes = (size_t)view.count * sizeof(double);
        double *gradient = malloc(bytes + 1);
        REQUIRE(gradient);
        CHECK_STATUS(quern_parameters_read_gradient(values, parameter, gradient, bytes), QUERN_OK);
        for (int64_t i = 0; following && i < view.count; i++) gradient[i] /= 2;
        check_parameter(values, program, loss, parameter, gradient, view.count, batch);
        free(gradient);
    }
}

void fixture_check_gradients(fixture *f, quern_tensor *loss, int64_t batch) {
    quern_parameters *values = NULL;
    REQUIRE_OK(quern_graph_status(f->graph));
    REQUIRE_OK(
        quern_parameters_create(&values, f->graph, &(quern_parameters_desc){.gradients = true}));
    for (int fused = 0; fused < 2; fused++) {
        quern_program *program = NULL;
        const quern_program_desc desc = {.graph = f->graph,
                                         .parameters = values,
                                         .batch_size = batch,
                                         .training = true,
                                         .loss = loss,
                                         .no_fusion = fused == 0};
        CHECK_STATUS(quern_program_create(&program, &desc), QUERN_OK);
        if (!program) break;
        write_inputs(f, program, batch);
        check_all(f, values, program, loss, batch, false);
        check_all(f, values, program, loss, batch, true);
        quern_program_destroy(program);
    }
    quern_parameters_destroy(values);
}
