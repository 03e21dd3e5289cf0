/* floor.c - see floor.h. */
#include "floor.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PRODUCT_MAX = 16, LARGE = 768, COPY_BYTES = 64 << 20, COPY_THREADS = 8 };

double clock_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* C (m, n) = op(A) op(B), `count` times; a dense layer's and, an image at a time, a convolution's
 * as the product with the columns of its windows. */
typedef struct product {
    int64_t count, m, n, k;
    bool transpose_a, transpose_b;
} product;

typedef struct layer {
    int64_t count;         /* 1, or the images of a convolution */
    int64_t rows, in, out; /* y (rows, out) = x (rows, in) w' */
    bool input_gradient;
} layer;

static int32_t model_layers(model_kind model, int64_t batch, layer layers[5]) {
    const layer mlp[] = {{1, batch, 784, 512, false}, {1, batch, 512, 10, true}};
    const layer lenet[] = {{batch, 28 * 28, 25, 6, false},
                           {batch, 10 * 10, 6 * 25, 16, true},
                           {1, batch, 400, 120, true},
                           {1, batch, 120, 84, true},
                           {1, batch, 84, 10, true}};
    const bool is_mlp = model == MODEL_MLP;
    memcpy(layers, is_mlp ? mlp : lenet, is_mlp ? sizeof mlp : sizeof lenet);
    return is_mlp ? 2 : 5;
}

/* Dense: y = x W', gW = gy' x, gx = gy W. Convolution: y = W columns, gW = gy columns',
 * gcolumns = W' gy. */
static int32_t layer_products(const layer *l, product *to) {
    int32_t n = 0;
    if (l->count == 1) {
        to[n++] = (product){1, l->rows, l->out, l->in, false, true};
        to[n++] = (product){1, l->out, l->in, l->rows, true, false};
        if (l->input_gradient) to[n++] = (product){1, l->rows, l->in, l->out, false, false};
    } else {
        to[n++] = (product){l->count, l->out, l->rows, l->in, false, false};
        to[n++] = (product){l->count, l->out, l->in, l->rows, false, true};
        if (l->input_gradient) to[n++] = (product){l->count, l->in, l->rows, l->out, true, false};
    }
    return n;
}

static int32_t model_products(model_kind model, int64_t batch, product to[PRODUCT_MAX]) {
    layer layers[5];
    const int32_t layer_count = model_layers(model, batch, layers);
    int32_t count = 0;
    for (int32_t i = 0; i < layer_count; i++) count += layer_products(&layers[i], to + count);
    return count;
}

static double product_flops(const product *p) {
    return 2.0 * (double)p->count * (double)p->m * (double)p->n * (double)p->k;
}

double model_flops(model_kind model, int64_t batch) {
    product list[PRODUCT_MAX];
    const int32_t count = model_products(model, batch, list);
    double flops = 0;
    for (int32_t i = 0; i < count; i++) flops += product_flops(&list[i]);
    return flops;
}

double model_bytes(int64_t parameter_count, int64_t sample_bytes, int64_t batch, int state_count) {
    const double passes = 2 + 3 + 2.0 * state_count;
    return (double)sizeof(float) * passes * (double)parameter_count +
           2.0 * (double)sample_bytes * (double)batch;
}

/* One graph and its program. */
typedef struct product_graph {
    quern_graph *graph;
    quern_parameters *values;
    quern_program *program;
    quern_tensor *last; /* one element, made after all products: reading it waits for them */
    double flops;
} product_graph;

struct products {
    product_graph own, large;
};

static quern_tensor *operand(quern_graph *g, int32_t number, char side, int64_t count, int64_t rows,
                             int64_t columns) {
    char name[16];
    snprintf(name, sizeof name, "%c%d", side, (int)number);
    return quern_parameter(g, &(quern_parameter_desc){.name = name,
                                                      .rank = 3,
                                                      .dim = {count, rows, columns},
                                                      .init = {QUERN_INIT_UNIFORM, -1, 1, false},
                                                      .frozen = true});
}

static quern_status product_graph_create(product_graph *out, quern_device *device,
                                         const product *list, int32_t count) {
    quern_tensor *results[PRODUCT_MAX + 1];
    quern_status s = quern_graph_create(&out->graph, device, NULL);
    if (s != QUERN_OK) return s;
    for (int32_t i = 0; i < count; i++) {
        const product *p = &list[i];
        quern_tensor *a = operand(out->graph, i, 'a', p->count, p->transpose_a ? p->k : p->m,
                                  p->transpose_a ? p->m : p->k);
        quern_tensor *b = operand(out->graph, i, 'b', p->count, p->transpose_b ? p->n : p->k,
                                  p->transpose_b ? p->k : p->n);
        results[i] =
            quern_matmul(out->graph, a, b, &(quern_matmul_desc){p->transpose_a, p->transpose_b});
        out->flops += product_flops(p);
    }
    results[count] = out->last =
        quern_scale(out->graph, operand(out->graph, 0, 'c', 1, 1, 1), NULL);
    if ((s = quern_graph_status(out->graph)) != QUERN_OK) return s;
    if ((s = quern_parameters_create(&out->values, out->graph, NULL)) != QUERN_OK) return s;
    return quern_program_create(&out->program, &(quern_program_desc){.graph = out->graph,
                                                                     .parameters = out->values,
                                                                     .batch_size = 1,
                                                                     .outputs = results,
                                                                     .output_count = count + 1});
}

static void product_graph_release(product_graph *p) {
    quern_program_destroy(p->program);
    quern_parameters_destroy(p->values);
    quern_graph_destroy(p->graph);
}

quern_status products_create(products **out, quern_device *device, model_kind model,
                             int64_t batch) {
    product list[PRODUCT_MAX];
    const product large = {1, LARGE, LARGE, LARGE, false, false};
    const int32_t count = model_products(model, batch, list);
    products *p = calloc(1, sizeof *p);
    *out = p;
    if (p == NULL) return quern_fail(QUERN_HOST_MEMORY, "no memory for the products");
    const quern_status s = product_graph_create(&p->own, device, list, count);
    return s != QUERN_OK ? s : product_graph_create(&p->large, device, &large, 1);
}

void products_destroy(products *p) {
    if (p == NULL) return;
    product_graph_release(&p->own);
    product_graph_release(&p->large);
    free(p);
}

static quern_status product_graph_measure(product_graph *p, double seconds, double *rate) {
    const double begin = clock_seconds();
    double spent = 0;
    int64_t runs = 0;
    for (int64_t batch = 1; spent < seconds; batch = runs) {
        float element;
        for (int64_t i = 0; i < batch; i++, runs++) {
            const quern_status s = quern_program_forward(p->program, runs);
            if (s != QUERN_OK) return s;
        }
        const quern_status s = quern_program_read(p->program, p->last, &element, sizeof element);
        if (s != QUERN_OK) return s;
        spent = clock_seconds() - begin;
        if (runs > 0 && spent > seconds / 2) break;
    }
    *rate = p->flops * (double)runs / spent;
    return QUERN_OK;
}

quern_status products_measure(products *p, double seconds, product_rates *out) {
    const quern_status s = product_graph_measure(&p->own, seconds, &out->own);
    return s != QUERN_OK ? s : product_graph_measure(&p->large, seconds, &out->large);
}

typedef struct copier {
    pthread_t thread;
    char *from, *to;
    int64_t copies;
    double seconds;
} copier;

static void *copy_blocks(void *context) {
    copier *c = context;
    const double begin = clock_seconds();
    for (double now = begin; now - begin < c->seconds; now = clock_seconds()) {
        memcpy(c->to, c->from, COPY_BYTES);
        c->from[c->copies % COPY_BYTES] ^= c->to[0]; /* each copy is needed by the next */
        c->copies++;
    }
    c->seconds = clock_seconds() - begin;
    return NULL;
}

double copy_rate(int32_t thread_count, double seconds) {
    copier copiers[COPY_THREADS] = {{0}};
    const int32_t wanted = thread_count < COPY_THREADS ? thread_count : COPY_THREADS;
    int32_t count = 0;
    for (; count < wanted; count++) {
        copier *c = &copiers[count];
        *c = (copier){.from = malloc(COPY_BYTES), .to = malloc(COPY_BYTES), .seconds = seconds};
        if (c->from == NULL || c->to == NULL) break;
        memset(c->from, 1, COPY_BYTES);
        memset(c->to, 2, COPY_BYTES);
        if (pthread_create(&c->thread, NULL, copy_blocks, c) != 0) break;
    }
    double rate = 0;
    for (int32_t i = 0; i < count; i++) {
        pthread_join(copiers[i].thread, NULL);
        rate += 2.0 * COPY_BYTES * (double)copiers[i].copies / copiers[i].seconds;
    }
    for (int32_t i = 0; i < wanted; i++) {
        free(copiers[i].from);
        free(copiers[i].to);
    }
    return count == wanted ? rate : 0;
}
