/* gather - y = rows x[index] along axis 0;  gx row v = sum of gy rows i with index[i] = v.
 * Shapes   x (V, ...), index (...) I32, y (index dims, x dims after the first).
 * Checks, cost, order: rows.h. */
#include "rows.h"

const quern_kernel quern_cpu_gather = {
    .plan = rows_plan, .forward = rows_forward, .backward = rows_backward};
