/* add_layer_norm - sum = a + b, y = layer_norm(sum): a residual and the norm behind it. With gx of
 * layer_norm at x = sum and gsum, what reaches the sum from elsewhere:  ga = gb = gsum + gx.
 * Shapes   a, b, sum, y (..., C), w (C), bias (C) or absent.   Saved: mean, then inverse, of each
 *          row.
 * Cost     forward 2 reads and 2 writes; backward 3 reads (gy, sum, gsum) and 1 write, or 2 where
 *          ga and gb are not one buffer. The floors; apart they are 5 passes and 6 to 8.
 * ga may lie over gsum; ga and gb may be one. Order of sums: layer_norm.h. */
#include "layer_norm.h"

const quern_kernel quern_cuda_add_layer_norm = NORM_KERNEL(true);
