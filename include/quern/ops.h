/* ops.h - a builder per op. Generated from ops.def by tools/make_ops_h.py: edit that, not this.
 *
 * A builder adds a node to the graph and returns its first output, or NULL once anything in the
 * graph has failed (quern_graph_status says what). Attributes: op_desc.h; NULL: all defaults. */
#ifndef QUERN_OPS_H
#define QUERN_OPS_H

#include <quern/graph.h>
#include <quern/op_desc.h>

QUERN_BEGIN_C

/* y = x weight^T + bias over the last axis; weight (out, in), bias (out) or NULL */
QUERN_API quern_tensor *quern_linear(quern_graph *graph, quern_tensor *x, quern_tensor *weight,
                                     quern_tensor *bias);
/* y = op(a) op(b) over the last two axes, op = transpose where asked; leading axes equal */
QUERN_API quern_tensor *quern_matmul(quern_graph *graph, quern_tensor *a, quern_tensor *b,
                                     const quern_matmul_desc *desc);
/* cross-correlation; x (N, C, H, W), weight (K, C / groups, R, S), bias (K) or NULL */
QUERN_API quern_tensor *quern_conv2d(quern_graph *graph, quern_tensor *x, quern_tensor *weight,
                                     quern_tensor *bias, const quern_conv2d_desc *desc);
/* y = a + b */
QUERN_API quern_tensor *quern_add(quern_graph *graph, quern_tensor *a, quern_tensor *b);
/* y = a - b */
QUERN_API quern_tensor *quern_sub(quern_graph *graph, quern_tensor *a, quern_tensor *b);
/* y = a b */
QUERN_API quern_tensor *quern_mul(quern_graph *graph, quern_tensor *a, quern_tensor *b);
/* y = a / b */
QUERN_API quern_tensor *quern_div(quern_graph *graph, quern_tensor *a, quern_tensor *b);
/* y = a ^ b, a > 0 or b constant integer */
QUERN_API quern_tensor *quern_pow(quern_graph *graph, quern_tensor *a, quern_tensor *b);
/* y = factor x + offset */
QUERN_API quern_tensor *quern_scale(quern_graph *graph, quern_tensor *x,
                                    const quern_scale_desc *desc);
/* y = -x */
QUERN_API quern_tensor *quern_neg(quern_graph *graph, quern_tensor *x);
/* y = e^x */
QUERN_API quern_tensor *quern_exp(quern_graph *graph, quern_tensor *x);
/* y = ln x */
QUERN_API quern_tensor *quern_log(quern_graph *graph, quern_tensor *x);
/* y = sqrt x */
QUERN_API quern_tensor *quern_sqrt(quern_graph *graph, quern_tensor *x);
/* y = min(max(x, low), high) */
QUERN_API quern_tensor *quern_clamp(quern_graph *graph, quern_tensor *x,
                                    const quern_clamp_desc *desc);
/* y = x in another dtype */
QUERN_API quern_tensor *quern_cast(quern_graph *graph, quern_tensor *x,
                                   const quern_cast_desc *desc);
/* y = max(x, 0) */
QUERN_API quern_tensor *quern_relu(quern_graph *graph, quern_tensor *x);
/* y = x > 0 ? x : slope x */
QUERN_API quern_tensor *quern_leaky_relu(quern_graph *graph, quern_tensor *x,
                                         const quern_leaky_relu_desc *desc);
/* y = x > 0 ? x : weight_c x; weight (C) along axis 1, or (1) */
QUERN_API quern_tensor *quern_prelu(quern_graph *graph, quern_tensor *x, quern_tensor *weight);
/* y = 1 / (1 + e^-x) */
QUERN_API quern_tensor *quern_sigmoid(quern_graph *graph, quern_tensor *x);
/* y = tanh x */
QUERN_API quern_tensor *quern_tanh(quern_graph *graph, quern_tensor *x);
/* y = x Phi(x), Phi by erf, or its tanh approximation */
QUERN_API quern_tensor *quern_gelu(quern_graph *graph, quern_tensor *x,
                                   const quern_gelu_desc *desc);
/* y = x / (1 + e^-x) */
QUERN_API quern_tensor *quern_silu(quern_graph *graph, quern_tensor *x);
/* training: y = x / (1 - p) with probability 1 - p, else 0; evaluation: y = x */
QUERN_API quern_tensor *quern_dropout(quern_graph *graph, quern_tensor *x,
                                      const quern_dropout_desc *desc);
/* y = e^x / sum e^x */
QUERN_API quern_tensor *quern_softmax(quern_graph *graph, quern_tensor *x,
                                      const quern_softmax_desc *desc);
/* y = x - log sum e^x */
QUERN_API quern_tensor *quern_log_softmax(quern_graph *graph, quern_tensor *x,
                                          const quern_log_softmax_desc *desc);
/* y = index of the largest x (the first of equals), I32, axis removed */
QUERN_API quern_tensor *quern_argmax(quern_graph *graph, quern_tensor *x,
                                     const quern_argmax_desc *desc);
/* y = sum of x over the axes */
QUERN_API quern_tensor *quern_sum(quern_graph *graph, quern_tensor *x, const quern_sum_desc *desc);
/* y = mean of x over the axes */
QUERN_API quern_tensor *quern_mean(quern_graph *graph, quern_tensor *x,
                                   const quern_mean_desc *desc);
/* y = largest x over the axes; equals share the gradient */
QUERN_API quern_tensor *quern_max(quern_graph *graph, quern_tensor *x, const quern_max_desc *desc);
/* y = smallest x over the axes; equals share the gradient */
QUERN_API quern_tensor *quern_min(quern_graph *graph, quern_tensor *x, const quern_min_desc *desc);
/* y = x with other dims, same order */
QUERN_API quern_tensor *quern_reshape(quern_graph *graph, quern_tensor *x,
                                      const quern_reshape_desc *desc);
/* y axis i = x axis order[i] */
QUERN_API quern_tensor *quern_permute(quern_graph *graph, quern_tensor *x,
                                      const quern_permute_desc *desc);
/* y = x[start : stop] along axis */
QUERN_API quern_tensor *quern_slice(quern_graph *graph, quern_tensor *x,
                                    const quern_slice_desc *desc);
/* y = x, row-major */
QUERN_API quern_tensor *quern_contiguous(quern_graph *graph, quern_tensor *x);
/* y = parts one after another */
QUERN_API quern_tensor *quern_concat(quern_graph *graph, quern_tensor *const *parts, int32_t count,
                                     const quern_concat_desc *desc);
/* y = rows x[index] along axis 0; index I32 */
QUERN_API quern_tensor *quern_gather(quern_graph *graph, quern_tensor *x, quern_tensor *index);
/* y = weight[index]; weight (V, C), index (…) I32, y (…, C) */
QUERN_API quern_tensor *quern_embedding(quern_graph *graph, quern_tensor *weight,
                                        quern_tensor *index);
/* y = largest x in each window */
QUERN_API quern_tensor *quern_max_pool2d(quern_graph *graph, quern_tensor *x,
                                         const quern_max_pool2d_desc *desc);
/* y = mean of x in each window; padding counts as zero unless count_exclude_padding */
QUERN_API quern_tensor *quern_avg_pool2d(quern_graph *graph, quern_tensor *x,
                                         const quern_avg_pool2d_desc *desc);
/* y (N, C) = mean of x over H and W */
QUERN_API quern_tensor *quern_global_avg_pool2d(quern_graph *graph, quern_tensor *x);
/* y = weight (x - mean) / sqrt(variance + epsilon) + bias per channel (axis 1) */
QUERN_API quern_tensor *quern_batch_norm(quern_graph *graph, quern_tensor *x, quern_tensor *weight,
                                         quern_tensor *bias, quern_tensor *running_mean,
                                         quern_tensor *running_variance,
                                         const quern_batch_norm_desc *desc);
/* y = weight (x - mean) / sqrt(variance + epsilon) + bias over the last axis */
QUERN_API quern_tensor *quern_layer_norm(quern_graph *graph, quern_tensor *x, quern_tensor *weight,
                                         quern_tensor *bias, const quern_layer_norm_desc *desc);
/* loss = sum_b (log sum_c e^z_bc - z_b,target); logits (…, C), target (…) */
QUERN_API quern_tensor *quern_softmax_cross_entropy(quern_graph *graph, quern_tensor *logits,
                                                    quern_tensor *target,
                                                    const quern_softmax_cross_entropy_desc *desc);
/* loss = sum max(z, 0) - z t + log(1 + e^-|z|) */
QUERN_API quern_tensor *quern_binary_cross_entropy_with_logits(quern_graph *graph,
                                                               quern_tensor *logits,
                                                               quern_tensor *target);
/* loss = sum (p - t)^2 */
QUERN_API quern_tensor *quern_mse(quern_graph *graph, quern_tensor *prediction,
                                  quern_tensor *target);
/* loss = sum |p - t| */
QUERN_API quern_tensor *quern_l1(quern_graph *graph, quern_tensor *prediction,
                                 quern_tensor *target);
/* loss = sum (|d| <= delta ? d^2 / 2 : delta (|d| - delta / 2)), d = p - t */
QUERN_API quern_tensor *quern_huber(quern_graph *graph, quern_tensor *prediction,
                                    quern_tensor *target, const quern_huber_desc *desc);
/* y = number of targets other than ignore_index */
QUERN_API quern_tensor *quern_valid_count(quern_graph *graph, quern_tensor *target,
                                          const quern_valid_count_desc *desc);
/* y = number of elements of x */
QUERN_API quern_tensor *quern_element_count(quern_graph *graph, quern_tensor *x);
/* y = number of rows whose target is among the k largest logits */
QUERN_API quern_tensor *quern_top_k_correct(quern_graph *graph, quern_tensor *logits,
                                            quern_tensor *target,
                                            const quern_top_k_correct_desc *desc);
/* y (C, C): y[t, p] = number of rows of class t predicted as p */
QUERN_API quern_tensor *quern_confusion_matrix(quern_graph *graph, quern_tensor *logits,
                                               quern_tensor *target,
                                               const quern_confusion_matrix_desc *desc);
/* y (4) F64 = sum (p - t)^2, sum t, sum t^2, number of elements */
QUERN_API quern_tensor *quern_regression_sums(quern_graph *graph, quern_tensor *prediction,
                                              quern_tensor *target);

QUERN_END_C
#endif
