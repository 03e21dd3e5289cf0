/* rows.h - gather and embedding: rows of a table by index.
 *
 * y row i = table row index[i];  g table row v = sum of gy rows i with index[i] = v.
 * Forward copies any dtype and checks every index first: INPUT names the first bad one.
 * Cost: forward 1 read and 1 write per element of y; backward clears the table's gradient (unless
 * it accumulates), then reads gy and adds to its rows.
 * Deterministic: yes: a chunk owns a range of columns and adds the rows in the order of i. */
#ifndef QUERN_KERNELS_CPU_ROWS_H
#define QUERN_KERNELS_CPU_ROWS_H

#include "../kernel.h"

QUERN_MUST_CHECK quern_status rows_plan(quern_kernel_plan *plan);
QUERN_MUST_CHECK quern_status rows_forward(const quern_kernel_args *args);
QUERN_MUST_CHECK quern_status rows_backward(const quern_kernel_args *args);

#endif
