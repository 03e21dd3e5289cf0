/* softmax - y = e^x / sum e^x along an axis;  gx = y (gy - sum gy y).
 * A row of -infinity only is NaN, as in PyTorch. Shapes, cost, order: softmax.h. */
#define KEEP(shifted, e) (e)
#define PREPARE(sum) (1.0 / (sum))
#define FINISH(kept, inverse) ((kept) * (inverse))
#define TERM(g, y) ((g) * (y))
#define GRADIENT(g, y, total) ((y) * ((g) - (total)))
#include "softmax.h"

const quern_kernel quern_cpu_softmax = SOFTMAX_KERNEL;
