/* log_softmax - y = x - log sum e^x along an axis;  gx = gy - e^y sum gy.
 * Shapes, cost, order: softmax.h. */
#define KEEP(shifted, e) (shifted)
#define PREPARE(sum) log(sum)
#define FINISH(kept, logarithm) ((kept) - (logarithm))
#define TERM(g, y) (g)
#define GRADIENT(g, y, total) ((g)-REAL_NAME(exp)(y) * (total))
#include "softmax.h"

const quern_kernel quern_cpu_log_softmax = SOFTMAX_KERNEL;
