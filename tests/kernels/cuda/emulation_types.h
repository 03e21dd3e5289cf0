/* emulation_types.h - CUDA's own types on the host: indices, and the two 16-bit reals, which round
 * to nearest even from F32 as the device's conversions do. */
#ifndef QUERN_TESTS_EMULATION_TYPES_H
#define QUERN_TESTS_EMULATION_TYPES_H

#include "kernels/half.h"

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct __half {
    uint16_t bits;
    __half() = default;
    __half(float value) : bits(half_bits(value)) {}
    operator float() const { return half_value(bits); }
};

struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float value) : bits(bfloat16_bits(value)) {}
    operator float() const { return bfloat16_value(bits); }
};

#endif
