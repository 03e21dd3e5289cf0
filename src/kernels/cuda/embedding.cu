/* embedding - y = weight[index];  g weight row v = sum of gy rows i with index[i] = v.
 * Shapes   weight (V, C), index (...) I32, y (..., C).
 * Checks, cost, order: table_rows.h. */
#include "table_rows.h"

const quern_kernel quern_cuda_embedding = TABLE_KERNEL(QUERN_OP_ID_embedding);
