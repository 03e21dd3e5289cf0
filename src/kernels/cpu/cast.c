/* cast - y = x in another dtype;  gx = gy cast back.
 * F32, F64, I32, I64 and U8. A real number is cut towards zero and saturates at the ends of the
 * integer type; NaN becomes 0; integers to U8 or I32 saturate too, where C would wrap.
 * Gradients flow between F32 and F64 only. Cost: 1 read and 1 write per element.
 * Deterministic: yes, no reduction. */
#include "cpu.h"
#include "../../host/base/report.h"

typedef struct cast_work {
    const void *from;
    void *to;
    int64_t count;
    quern_dtype from_dtype, to_dtype;
} cast_work;

/* low and high are exact in double: the ends of I32 and U8, the neighbours of I64's. */
static inline int64_t saturate_real(double x, double low, double high) {
    if (x != x) return 0;
    return (int64_t)(x < low ? low : x > high ? high : x);
}

static inline int64_t saturate_integer(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

#define REAL_TO_F32(x) ((float)(x))
#define REAL_TO_F64(x) ((double)(x))
#define REAL_TO_I32(x) ((int32_t)saturate_real((double)(x), INT32_MIN, INT32_MAX))
#define REAL_TO_I64(x)                                                                             \
    ((double)(x) >= 0x1p63 ? INT64_MAX : saturate_real((double)(x), -0x1p63, 9223372036854774784.0))
#define REAL_TO_U8(x) ((uint8_t)saturate_real((double)(x), 0, UINT8_MAX))
#define INTEGER_TO_F32(x) ((float)(x))
#define INTEGER_TO_F64(x) ((double)(x))
#define INTEGER_TO_I32(x) ((int32_t)saturate_integer((int64_t)(x), INT32_MIN, INT32_MAX))
#define INTEGER_TO_I64(x) ((int64_t)(x))
#define INTEGER_TO_U8(x) ((uint8_t)saturate_integer((int64_t)(x), 0, UINT8_MAX))

#define LOOP(from_type, to_type, convert)                                                          \
    {                                                                                              \
        const from_type *from = w->from;                                                           \
        to_type *to = w->to;                                                                       \
        for (int64_t i = range.start; i < range.end; i++) to[i] = convert(from[i]);                \
        return;                                                                                    \
    }

#define CAST_FROM(name, type, kind)                                                                \
    static void name(const cast_work *w, cpu_range range) {                                        \
        switch ((int)w->to_dtype) {                                                                \
        case QUERN_F32: LOOP(type, float, kind##_TO_F32)                                           \
        case QUERN_F64: LOOP(type, double, kind##_TO_F64)                                          \
        case QUERN_I32: LOOP(type, int32_t, kind##_TO_I32)                                         \
        case QUERN_I64: LOOP(type, int64_t, kind##_TO_I64)                                         \
        case QUERN_U8: LOOP(type, uint8_t, kind##_TO_U8)                                           \
        }                                                                                          \
    }

CAST_FROM(cast_f32, float, REAL)
CAST_FROM(cast_f64, double, REAL)
CAST_FROM(cast_i32, int32_t, INTEGER)
CAST_FROM(cast_i64, int64_t, INTEGER)
CAST_FROM(cast_u8, uint8_t, INTEGER)

static void cast_chunk(void *context, int64_t chunk) {
    const cast_work *w = context;
    const cpu_range range = cpu_parallel_range(chunk, w->count);
    switch ((int)w->from_dtype) {
    case QUERN_F32: cast_f32(w, range); break;
    case QUERN_F64: cast_f64(w, range); break;
    case QUERN_I32: cast_i32(w, range); break;
    case QUERN_I64: cast_i64(w, range); break;
    case QUERN_U8: cast_u8(w, range); break;
    }
}

#define ADD(from_type, to_type)                                                                    \
    {                                                                                              \
        const from_type *from = w->from;                                                           \
        to_type *to = w->to;                                                                       \
        for (int64_t i = range.start; i < range.end; i++) to[i] += (to_type)from[i];               \
    }

static void add_chunk(void *context, int64_t chunk) {
    const cast_work *w = context;
    const cpu_range range = cpu_parallel_range(chunk, w->count);
    if (w->from_dtype == QUERN_F32 && w->to_dtype == QUERN_F32) ADD(float, float)
    if (w->from_dtype == QUERN_F32 && w->to_dtype == QUERN_F64) ADD(float, double)
    if (w->from_dtype == QUERN_F64 && w->to_dtype == QUERN_F32) ADD(double, float)
    if (w->from_dtype == QUERN_F64 && w->to_dtype == QUERN_F64) ADD(double, double)
}

static bool is_real(quern_dtype dtype) { return dtype == QUERN_F32 || dtype == QUERN_F64; }

static quern_status plan(quern_kernel_plan *p) {
    const quern_dtype from = p->args->in[0].dtype, to = p->args->out[0].dtype;
    const bool half =
        from == QUERN_BF16 || from == QUERN_F16 || to == QUERN_BF16 || to == QUERN_F16;
    if (half || (p->backward && !(is_real(from) && is_real(to))))
        return quern_fail(QUERN_UNSUPPORTED, "the CPU cannot cast %s to %s%s",
                          quern_dtype_name(from), quern_dtype_name(to),
                          half ? "" : " with a gradient");
    return QUERN_OK;
}

static quern_status forward(const quern_kernel_args *args) {
    const quern_view *x = &args->in[0], *y = &args->out[0];
    cast_work work = {x->data, y->data, y->count, x->dtype, y->dtype};
    cpu_parallel(args->stream, y->count, cast_chunk, &work);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    const quern_view *gx = &args->grad_in[0], *gy = &args->grad_out[0];
    if (gx->data == NULL) return QUERN_OK;
    cast_work work = {gy->data, gx->data, gx->count, gy->dtype, gx->dtype};
    cpu_parallel(args->stream, gx->count, args->accumulate[0] ? add_chunk : cast_chunk, &work);
    return QUERN_OK;
}

const quern_kernel quern_cpu_cast = {.plan = plan, .forward = forward, .backward = backward};
