/* pair_loss_real.h - the loops of pair_loss.h for one REAL; included by the losses' files. */

static void REAL_NAME(forward_chunk)(void *context, int64_t chunk) {
    const pair_loss_work *w = context;
    const cpu_range range = cpu_parallel_range(chunk, w->args->in[0].count);
    const REAL *p = w->args->in[0].data, *t = w->args->in[1].data;
    const REAL parameter = (REAL)w->parameter;
    REAL lane[SUM_LANES] = {0}, rest = 0;
    int64_t i = range.start;
    for (; i + SUM_LANES <= range.end; i += SUM_LANES)
        for (int j = 0; j < SUM_LANES; j++)
            lane[j] += REAL_NAME(value)(p[i + j], t[i + j], parameter);
    for (; i < range.end; i++) rest += REAL_NAME(value)(p[i], t[i], parameter);
    ((double *)w->args->scratch)[chunk] = (double)(REAL_NAME(sum_of_lanes)(lane) + rest);
}

static void REAL_NAME(backward_chunk)(void *context, int64_t chunk) {
    const pair_loss_work *w = context;
    const quern_kernel_args *args = w->args;
    const cpu_range range = cpu_parallel_range(chunk, args->in[0].count);
    const REAL *p = args->in[0].data, *t = args->in[1].data;
    const REAL parameter = (REAL)w->parameter, seed = *(const REAL *)args->grad_out[0].data;
    REAL *gp = args->grad_in[0].data, *gt = args->grad_in[1].data;
    for (int64_t i = range.start; i < range.end && gp != NULL; i++) {
        const REAL g = seed * REAL_NAME(slope)(p[i], t[i], parameter);
        gp[i] = args->accumulate[0] ? gp[i] + g : g;
    }
    for (int64_t i = range.start; i < range.end && gt != NULL; i++) {
        const REAL g = seed * REAL_NAME(target_slope)(p[i], t[i], parameter);
        gt[i] = args->accumulate[1] ? gt[i] + g : g;
    }
}
