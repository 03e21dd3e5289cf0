/* unary_loops.h - the two loops of a unary op over REAL; see unary.h. No include guard: it is
 * compiled once per type. */
static void REAL_NAME(forward_chunk)(void *context, int64_t chunk) {
    const quern_kernel_args *args = context;
    const cpu_range range = cpu_parallel_range(chunk, args->out[0].count);
    const REAL *in = args->in[0].data;
    REAL *out = args->out[0].data;
#ifdef ATTRIBUTES
    const ATTRIBUTES p = *(const ATTRIBUTES *)args->attributes;
#endif
    VECTOR_LOOP
    for (int64_t i = range.start; i < range.end; i++) {
        const REAL x = in[i];
        out[i] = VALUE(x);
    }
}

static void REAL_NAME(backward_chunk)(void *context, int64_t chunk) {
    const quern_kernel_args *args = context;
    const cpu_range range = cpu_parallel_range(chunk, args->grad_in[0].count);
    const REAL *read = args->BACKWARD_READS[0].data, *grad_out = args->grad_out[0].data;
    REAL *grad_in = args->grad_in[0].data;
#ifdef ATTRIBUTES
    const ATTRIBUTES p = *(const ATTRIBUTES *)args->attributes;
#endif
    if (args->accumulate[0]) {
        VECTOR_LOOP
        for (int64_t i = range.start; i < range.end; i++) {
            const REAL g = grad_out[i], v = read[i];
            (void)v; /* an op whose slope is constant does not read it */
            grad_in[i] += GRADIENT(g, v);
        }
    } else {
        VECTOR_LOOP
        for (int64_t i = range.start; i < range.end; i++) {
            const REAL g = grad_out[i], v = read[i];
            (void)v;
            grad_in[i] = GRADIENT(g, v);
        }
    }
}
