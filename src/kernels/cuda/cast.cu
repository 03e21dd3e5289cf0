/* cast - y = x in another dtype;  gx = gy cast back.
 * A real number is cut towards zero and saturates at the ends of the integer type; NaN becomes 0;
 * integers to U8 or I32 saturate too, where C would wrap. To a narrower real type: to nearest even.
 * Gradients flow between real types only. Cost: 1 read and 1 write per element.
 * Deterministic: yes, no reduction. */
#include "map.h"

namespace {

template <typename F> quern_status any_dispatch(quern_dtype dtype, F f) {
    switch ((int)dtype) {
    case QUERN_I32: return f(int32_t());
    case QUERN_I64: return f(int64_t());
    case QUERN_U8: return f(uint8_t());
    default: return real_dispatch(dtype, f);
    }
}

template <typename T> struct ends; /* of an integer type */
template <> struct ends<uint8_t> { static constexpr int64_t low = 0, high = UINT8_MAX; };
template <> struct ends<int32_t> { static constexpr int64_t low = INT32_MIN, high = INT32_MAX; };
template <> struct ends<int64_t> { static constexpr int64_t low = INT64_MIN, high = INT64_MAX; };

/* To a real type, from anything. */
template <typename To> struct cast_to : map_op {
    template <typename From> __device__ real<To> operator()(int64_t, From x) const {
        return (real<To>)x;
    }
};

template <typename To> struct cast_to_integer : map_op {
    __device__ To operator()(int64_t, int64_t x) const {
        return (To)(x < ends<To>::low ? ends<To>::low : (x > ends<To>::high ? ends<To>::high : x));
    }
    __device__ To operator()(int64_t, double x) const {
        if (x != x) return 0;
        if (x >= (double)ends<To>::high) return (To)ends<To>::high; /* 2^63 is I64's, rounded up */
        return x <= (double)ends<To>::low ? (To)ends<To>::low : (To)x;
    }
    __device__ To operator()(int64_t i, float x) const { return (*this)(i, (double)x); }
    __device__ To operator()(int64_t i, int32_t x) const { return (*this)(i, (int64_t)x); }
    __device__ To operator()(int64_t i, uint8_t x) const { return (*this)(i, (int64_t)x); }
};

template <> struct cast_to<uint8_t> : cast_to_integer<uint8_t> {};
template <> struct cast_to<int32_t> : cast_to_integer<int32_t> {};
template <> struct cast_to<int64_t> : cast_to_integer<int64_t> {};

template <typename F>
quern_status run(const quern_kernel_args *args, const quern_view *from, const quern_view *to,
                 bool add, F dispatch) {
    return dispatch(from->dtype, [&](auto from_zero) {
        return dispatch(to->dtype, [&](auto to_zero) {
            typedef decltype(from_zero) From;
            typedef decltype(to_zero) To;
            return map(args->stream, to->count, cast_to<To>(), add, (To *)to->data,
                       (const From *)from->data);
        });
    });
}

quern_status plan(quern_kernel_plan *p) {
    const quern_dtype from = p->args->in[0].dtype, to = p->args->out[0].dtype;
    if (!p->backward || (dtype_is_real(from) && dtype_is_real(to))) return QUERN_OK;
    return cuda_fail(QUERN_UNSUPPORTED, "CUDA cannot cast %s to %s with a gradient",
                     dtype_name(from), dtype_name(to));
}

quern_status forward(const quern_kernel_args *args) {
    return run(args, &args->in[0], &args->out[0], false,
               [](quern_dtype dtype, auto f) { return any_dispatch(dtype, f); });
}

quern_status backward(const quern_kernel_args *args) {
    if (args->grad_in[0].data == NULL) return QUERN_OK;
    return run(args, &args->grad_out[0], &args->grad_in[0], args->accumulate[0],
               [](quern_dtype dtype, auto f) { return real_dispatch(dtype, f); });
}

} // namespace

const quern_kernel quern_cuda_cast = {plan, forward, backward, NULL};
