/* An application outside the tree. It has a BLAS of its own, which aborts: the library's products
 * must run on the private copy. */
#include <quern/quern.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cblas_sgemm(void);
void cblas_sgemm(void) { abort(); }
void cblas_sgemv(void);
void cblas_sgemv(void) { abort(); }

/* y = x w^T with x = (1, 2), w = (3, 3). */
static quern_status multiply(quern_device *device, float *y) {
    const float values[2] = {1, 2};
    quern_graph *graph = NULL;
    quern_parameters *parameters = NULL;
    quern_program *program = NULL;
    quern_status status = quern_graph_create(&graph, device, NULL);
    if (status != QUERN_OK) return status;
    quern_tensor *x =
        quern_input(graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 2}});
    quern_tensor *weight = quern_parameter(
        graph,
        &(quern_parameter_desc){
            .name = "w", .rank = 2, .dim = {1, 2}, .init = {.kind = QUERN_INIT_CONSTANT, .a = 3}});
    quern_tensor *product = quern_linear(graph, x, weight, NULL);
    if ((status = quern_parameters_create(&parameters, graph, NULL))) goto done;
    if ((status = quern_program_create(&program, &(quern_program_desc){.graph = graph,
                                                                       .parameters = parameters,
                                                                       .batch_size = 1,
                                                                       .outputs = &product,
                                                                       .output_count = 1})))
        goto done;
    if ((status = quern_program_write(program, x, values, sizeof values))) goto done;
    if ((status = quern_program_forward(program, 0))) goto done;
    status = quern_program_read(program, product, y, sizeof *y);
done:
    quern_program_destroy(program);
    quern_parameters_destroy(parameters);
    quern_graph_destroy(graph);
    return status;
}

int main(int argc, char **argv) {
    float y = 0;
    quern_device *device = NULL;
    quern_status status = quern_device_create(
        &device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 2});
    if (status == QUERN_OK) status = multiply(device, &y);
    if (status != QUERN_OK) fprintf(stderr, "%s: %s\n", quern_status_name(status), quern_error());
    quern_device_destroy(device);
    printf("quern %s: %g\n", quern_version(), (double)y);
    return status != QUERN_OK || y != 9 || argc != 2 || strcmp(argv[1], quern_version()) != 0;
}
