#include "random_fill.h"

#include "../../host/base/random.h"
#include "map.h"

namespace {

struct uniform_op : map_op {
    random_key key;
    __device__ float operator()(int64_t i) const {
        return 2 * random_uniform(random_u32(&key, i)) - 1;
    }
};

} // namespace

quern_status random_fill(quern_stream *stream, quern_dtype dtype, void *to, int64_t count,
                         uint64_t seed) {
    uniform_op op = {};
    op.key = {seed, RANDOM_MEASURE, 0, 0};
    return real_dispatch(dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return map(stream, count, op, false, (T *)to);
    });
}
