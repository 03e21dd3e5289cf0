/* layer_norm - y = w n + b over the last axis, n = (x - mean) inverse, inverse = 1 / sqrt(variance
 * + epsilon), per row. With h = gy w:  gx = inverse (h - mean(h) - n mean(h n));  gw = sum gy n;
 * gb = sum gy over rows.
 * Shapes   x (..., C), w (C), b (C) or absent.   Saved: mean, then inverse, of each row.
 * Cost, order of sums: layer_norm.h.
 * Source: Ba, Kiros, Hinton, "Layer normalization" (2016). */
#include "layer_norm.h"

const quern_kernel quern_cuda_layer_norm = NORM_KERNEL(false);
