#include "fake_library.h"

#include "kernels/half.h"

#include <stdarg.h>
#include <stdio.h>

static bool is_planned(fake_library *l, int64_t n) {
    const bool fails = l->fail_at > 0 && (n == l->fail_at || (l->for_ever && n > l->fail_at));
    l->fired += fails;
    return fails;
}

bool fake_library_enter(fake_library *l) {
    l->calls++;
    if (l->forbidden) fake_library_misuse(l, "a call of the library after the device was lost");
    return !l->teardown && is_planned(l, l->calls);
}

bool fake_library_is_lost(const fake_library *l) {
    if (l->out_of_memory) return false;
    if (l->when_lost != NULL) l->when_lost();
    return true;
}

bool fake_library_leave(fake_library *l) {
    l->teardowns++;
    return l->teardown && is_planned(l, l->teardowns);
}

void fake_library_misuse(fake_library *l, const char *format, ...) {
    if (l->misuse[0] != 0) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(l->misuse, sizeof l->misuse, format, arguments);
    va_end(arguments);
}

double fake_number_read(const void *data, quern_dtype dtype, int64_t at) {
    switch ((int)dtype) {
    case QUERN_F32: return (double)((const float *)data)[at];
    case QUERN_F64: return ((const double *)data)[at];
    case QUERN_F16: return (double)half_value(((const uint16_t *)data)[at]);
    default: return (double)bfloat16_value(((const uint16_t *)data)[at]);
    }
}

void fake_number_write(void *data, quern_dtype dtype, int64_t at, double value) {
    switch ((int)dtype) {
    case QUERN_F32: ((float *)data)[at] = (float)value; break;
    case QUERN_F64: ((double *)data)[at] = value; break;
    case QUERN_F16: ((uint16_t *)data)[at] = half_bits((float)value); break;
    default: ((uint16_t *)data)[at] = bfloat16_bits((float)value); break;
    }
}
