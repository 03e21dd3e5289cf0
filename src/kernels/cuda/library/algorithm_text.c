#include "algorithm_text.h"

#include <string.h>

void algorithm_text_write(const cublasLtMatmulAlgo_t *algorithm, char *to) {
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[sizeof *algorithm];
    memcpy(bytes, algorithm, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        to[2 * i] = digits[bytes[i] >> 4];
        to[2 * i + 1] = digits[bytes[i] & 15];
    }
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool algorithm_text_read(const char *text, cublasLtMatmulAlgo_t *out) {
    unsigned char bytes[sizeof *out];
    for (size_t i = 0; i < sizeof bytes; i++) {
        const int high = digit_of(text[2 * i]);
        const int low = high < 0 ? -1 : digit_of(text[2 * i + 1]);
        if (low < 0) return false;
        bytes[i] = (unsigned char)(16 * high + low);
    }
    memcpy(out, bytes, sizeof bytes);
    return true;
}
