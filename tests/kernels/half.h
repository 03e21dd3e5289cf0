/* half.h - the 16-bit reals as floats and back: IEEE 754 binary16, and the upper half of binary32.
 * To 16 bits rounds to nearest even, as the device's conversions do. */
#ifndef QUERN_TESTS_KERNELS_HALF_H
#define QUERN_TESTS_KERNELS_HALF_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

uint16_t half_bits(float value);
float half_value(uint16_t bits);
uint16_t bfloat16_bits(float value);
float bfloat16_value(uint16_t bits);

#ifdef __cplusplus
}
#endif
#endif
