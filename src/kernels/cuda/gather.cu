/* gather - y = rows x[index] along axis 0;  gx row v = sum of gy rows i with index[i] = v.
 * Shapes   x (V, ...), index (...) I32, y (index dims, x dims after the first).
 * Checks, cost, order: table_rows.h. */
#include "table_rows.h"

const quern_kernel quern_cuda_gather = TABLE_KERNEL(QUERN_OP_ID_gather);
