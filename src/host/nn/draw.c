/* draw.c - distributions over the counter-based generator.
 *
 * Element i of a parameter takes the draw at index i; the parameter's name, hashed to 40 bits
 * (FNV-1a), is the counter's `attempt`. Uniform: 24 bits, exact in float. Normal: Box and Muller
 * 1958 over the draws of an even index and the next, in double. A truncated normal that falls
 * outside is drawn again with the next `microbatch`. */
#include "draw.h"

#include <math.h>

enum { BLOCK = 4, REDRAW_MAX = 64 };

/* FNV-1a, 64 bits folded to 40. */
static int64_t name_hash(const char *name) {
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    for (; *name; name++) h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001B3);
    return (int64_t)((h ^ (h >> 40)) & ((UINT64_C(1) << 40) - 1));
}

static double fan_in(const quern_shape *shape) {
    double fan = 1;
    for (int32_t i = 1; i < shape->rank; i++) fan *= (double)shape->dim[i];
    return fan > 0 ? fan : 1;
}

static double fan_out(const quern_shape *shape) {
    double fan = shape->rank > 0 ? (double)shape->dim[0] : 1;
    for (int32_t i = 2; i < shape->rank; i++) fan *= (double)shape->dim[i];
    return fan > 0 ? fan : 1;
}

static double gain_of(const quern_init *init, double fallback) {
    return init->a == 0 && !signbit(init->a) ? fallback : (double)init->a + 0.0;
}

draw draw_of(const quern_init *init, const quern_shape *shape, const char *name, uint64_t seed) {
    const double in = fan_in(shape), out = fan_out(shape);
    const double xavier = gain_of(init, 1) * sqrt(2 / (in + out));
    const double kaiming = gain_of(init, sqrt(2.0)) / sqrt(init->fan_out ? out : in);
    const float x_bound = (float)(xavier * sqrt(3.0)), k_bound = (float)(kaiming * sqrt(3.0));
    draw d = {{seed, RANDOM_INIT, name_hash(name), 0}, init->kind, init->a, init->b};
    switch (init->kind) {
    case QUERN_INIT_XAVIER_UNIFORM:
        d.kind = QUERN_INIT_UNIFORM, d.a = -x_bound, d.b = x_bound;
        break;
    case QUERN_INIT_KAIMING_UNIFORM:
        d.kind = QUERN_INIT_UNIFORM, d.a = -k_bound, d.b = k_bound;
        break;
    case QUERN_INIT_XAVIER_NORMAL: d.kind = QUERN_INIT_NORMAL, d.a = 0, d.b = (float)xavier; break;
    case QUERN_INIT_KAIMING_NORMAL:
        d.kind = QUERN_INIT_NORMAL, d.a = 0, d.b = (float)kaiming;
        break;
    case QUERN_INIT_ZERO: d.kind = QUERN_INIT_CONSTANT, d.a = 0; break;
    default: break;
    }
    return d;
}

static void uniform(const draw *d, const uint32_t bits[BLOCK], float out[BLOCK]) {
    for (int i = 0; i < BLOCK; i++) {
        const float value = d->a + (d->b - d->a) * random_uniform(bits[i]);
        /* rounding may reach b, which is outside */
        out[i] = value < d->b || d->a == d->b ? value : nextafterf(d->b, d->a);
    }
}

/* Two independent standard normals from two draws; the first is in (0, 1]. */
static void standard_pair(const uint32_t bits[2], double out[2]) {
    const double radius = sqrt(-2 * log(((double)bits[0] + 1) / 4294967296.0));
    const double angle = 6.28318530717958647692 * ((double)bits[1] / 4294967296.0);
    out[0] = radius * cos(angle);
    out[1] = radius * sin(angle);
}

static void normal(const uint32_t bits[BLOCK], double out[BLOCK]) {
    standard_pair(bits, out);
    standard_pair(bits + 2, out + 2);
}

/* The bound on redraws is never met in practice: 0.046 ^ 64. */
static double truncated(const draw *d, int64_t index, double z) {
    random_key key = d->key;
    for (int i = 0; i < REDRAW_MAX && !(fabs(z) <= 2); i++) {
        uint32_t bits[BLOCK];
        double block[BLOCK];
        key.microbatch++;
        random_block(&key, index / BLOCK, bits);
        normal(bits, block);
        z = block[index % BLOCK];
    }
    return fabs(z) <= 2 ? z : 0;
}

static void draw_block(const draw *d, int64_t start, float out[BLOCK]) {
    uint32_t bits[BLOCK];
    double z[BLOCK];
    random_block(&d->key, start / BLOCK, bits);
    if (d->kind == QUERN_INIT_UNIFORM) {
        uniform(d, bits, out);
        return;
    }
    normal(bits, z);
    for (int i = 0; i < BLOCK; i++) {
        if (d->kind == QUERN_INIT_TRUNCATED_NORMAL) z[i] = truncated(d, start + i, z[i]);
        out[i] = (float)((double)d->a + (double)d->b * z[i]);
    }
}

void draw_values(const draw *d, int64_t start, int64_t count, float *out) {
    if (d->kind == QUERN_INIT_CONSTANT) {
        for (int64_t i = 0; i < count; i++) out[i] = d->a;
        return;
    }
    for (int64_t i = 0; i < count; i += BLOCK) {
        float block[BLOCK];
        draw_block(d, start + i, block);
        for (int64_t j = 0; j < BLOCK && i + j < count; j++) out[i + j] = block[j];
    }
}
