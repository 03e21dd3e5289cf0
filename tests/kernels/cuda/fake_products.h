/* fake_products.h - a product on the fake device that goes wrong there and nowhere else. */
#ifndef QUERN_TESTS_KERNELS_CUDA_FAKE_PRODUCTS_H
#define QUERN_TESTS_KERNELS_CUDA_FAKE_PRODUCTS_H

#include <stdint.h>

/* The n-th product of F32 from now on has a wrong first element; 0: none. */
extern int64_t fake_products_wrong;

#endif
