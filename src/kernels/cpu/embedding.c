/* embedding - y = weight[index];  g weight row v = sum of gy rows i with index[i] = v.
 * Shapes   weight (V, C), index (...) I32, y (..., C).
 * Checks, cost, order: rows.h. */
#include "rows.h"

const quern_kernel quern_cpu_embedding = {
    .plan = rows_plan, .forward = rows_forward, .backward = rows_backward};
