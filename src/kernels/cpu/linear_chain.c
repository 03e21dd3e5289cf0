#include "linear_chain.h"

#include "../../host/base/report.h"
#include "../../host/base/size.h"
#include "cpu.h"

enum { FIRST_INPUTS = 3 };

/* The two kernels' arguments, their memory cut out of the fused op's. */
typedef struct links {
    quern_view h, gh;                                         /* gh: of h, in backward's scratch */
    quern_view in[QUERN_INPUT_MAX], grad_in[QUERN_INPUT_MAX]; /* of the second */
    bool accumulate[QUERN_INPUT_MAX];
    quern_kernel_args first, second;
    quern_kernel_plan first_plan, second_plan;
    size_t h_bytes, saved_bytes, forward_scratch_bytes, backward_scratch_bytes;
    bool fits;
} links;

static quern_view view_of_h(const quern_kernel_args *args) {
    const quern_view *x = &args->in[0], *weight = &args->in[1];
    quern_view h = *x;
    h.data = NULL;
    h.dim[h.rank - 1] = weight->dim[0];
    h.count = 1;
    for (int32_t i = h.rank - 1; i >= 0; h.count *= h.dim[i--]) h.stride[i] = h.count;
    return h;
}

static void make_args(links *l, const quern_kernel_args *args) {
    l->in[0] = l->h;
    for (int32_t i = FIRST_INPUTS; i < args->input_count; i++)
        l->in[i - FIRST_INPUTS + 1] = args->in[i];
    l->first = l->second = *args;
    l->first.input_count = FIRST_INPUTS;
    l->first.out = &l->h;
    l->second.input_count = args->input_count - FIRST_INPUTS + 1;
    l->second.in = l->in;
    l->first.grad_in = l->first.grad_out = l->second.grad_in = l->second.grad_out = NULL;
}

static bool add_aligned(size_t *to, size_t bytes) {
    return size_align(bytes, &bytes) && size_add(*to, bytes, to);
}

/* wanted: bits of the fused op's inputs. */
static quern_status make_plans(links *l, linear_chain ops, bool backward, uint32_t wanted) {
    const uint32_t of_first = wanted & ((UINT32_C(1) << FIRST_INPUTS) - 1);
    l->first_plan =
        (quern_kernel_plan){.args = &l->first, .backward = backward, .wanted = of_first};
    l->second_plan = (quern_kernel_plan){.args = &l->second,
                                         .backward = backward,
                                         .wanted = wanted >> FIRST_INPUTS << 1 | (of_first != 0)};
    QUERN_TRY(cpu_kernels[ops.first]->plan(&l->first_plan));
    return cpu_kernels[ops.second]->plan(&l->second_plan);
}

static quern_status links_make(links *l, const quern_kernel_args *args, linear_chain ops,
                               bool backward, uint32_t wanted) {
    *l = (links){.h = view_of_h(args)};
    make_args(l, args);
    QUERN_TRY(make_plans(l, ops, backward, wanted));
    const quern_kernel_plan *a = &l->first_plan, *b = &l->second_plan;
    size_t between = 0; /* h, and what the two save */
    l->fits = count_bytes(l->h.count, quern_dtype_bytes(l->h.dtype), &l->h_bytes) &&
              size_align(l->h_bytes, &l->h_bytes) && add_aligned(&between, l->h_bytes) &&
              add_aligned(&between, a->saved_bytes) && add_aligned(&between, b->saved_bytes);
    l->saved_bytes = backward ? between : 0;
    l->forward_scratch_bytes = backward ? 0 : between;
    l->backward_scratch_bytes = backward ? l->h_bytes : 0;
    l->fits = l->fits &&
              add_aligned(&l->forward_scratch_bytes,
                          size_larger(a->forward_scratch_bytes, b->forward_scratch_bytes)) &&
              add_aligned(&l->backward_scratch_bytes,
                          size_larger(a->backward_scratch_bytes, b->backward_scratch_bytes));
    return QUERN_OK;
}

quern_status linear_chain_plan(quern_kernel_plan *plan, linear_chain ops) {
    links l;
    QUERN_TRY(links_make(&l, plan->args, ops, plan->backward, plan->wanted));
    plan->saved_bytes = l.saved_bytes;
    plan->forward_scratch_bytes = l.forward_scratch_bytes;
    plan->backward_scratch_bytes = l.backward_scratch_bytes;
    return l.fits ? QUERN_OK
                  : quern_fail(QUERN_SHAPE, "the bytes between its parts do not fit in 64 bits");
}

/* Where everything lies: h, what the first saves, what the second saves; in front of the two's
 * scratch, if nothing is saved. */
static void links_bind(links *l, const quern_kernel_args *args, bool saved) {
    char *at = saved ? args->saved : args->scratch;
    size_t first_bytes = 0;
    (void)size_align(l->first_plan.saved_bytes, &first_bytes); /* fitted when it was planned */
    l->h.data = l->in[0].data = at;
    l->first.saved = l->first_plan.saved_bytes > 0 ? at + l->h_bytes : NULL;
    l->second.saved = l->second_plan.saved_bytes > 0 ? at + l->h_bytes + first_bytes : NULL;
}

/* Where nothing is needed in front there may be no scratch at all. */
static void *scratch_behind(void *scratch, size_t bytes) {
    return bytes > 0 ? (char *)scratch + bytes : scratch;
}

quern_status linear_chain_forward(const quern_kernel_args *args, linear_chain ops) {
    links l;
    const bool saved = args->saved != NULL;
    QUERN_TRY(links_make(&l, args, ops, saved, 0));
    links_bind(&l, args, saved);
    const size_t behind =
        saved ? 0
              : l.forward_scratch_bytes - size_larger(l.first_plan.forward_scratch_bytes,
                                                      l.second_plan.forward_scratch_bytes);
    l.first.scratch = l.second.scratch = scratch_behind(args->scratch, behind);
    QUERN_TRY(cpu_kernels[ops.first]->forward(&l.first));
    return cpu_kernels[ops.second]->forward(&l.second);
}

/* The second's backward for h alone, or for all but h. */
static quern_status second_backward(links *l, const quern_kernel_args *args, linear_chain ops,
                                    bool for_h) {
    bool any = for_h;
    l->grad_in[0] = l->gh;
    if (!for_h) l->grad_in[0].data = NULL;
    for (int32_t i = 1; i < l->second.input_count; i++) {
        l->grad_in[i] = args->grad_in[i + FIRST_INPUTS - 1];
        l->accumulate[i] = args->accumulate[i + FIRST_INPUTS - 1];
        if (for_h) l->grad_in[i].data = NULL;
        any |= l->grad_in[i].data != NULL;
    }
    return any ? cpu_kernels[ops.second]->backward(&l->second) : QUERN_OK;
}

/* Gradients are written in the order of the inputs: two of them may be one buffer. */
quern_status linear_chain_backward(const quern_kernel_args *args, linear_chain ops) {
    links l;
    bool first = false;
    QUERN_TRY(links_make(&l, args, ops, true, 0));
    links_bind(&l, args, true);
    l.gh = l.h;
    l.gh.data = args->scratch;
    l.first.scratch = l.second.scratch = scratch_behind(args->scratch, l.h_bytes);
    l.first.grad_in = args->grad_in;
    l.first.grad_out = &l.gh;
    l.second.grad_in = l.grad_in;
    l.second.grad_out = args->grad_out;
    l.second.accumulate = l.accumulate;
    for (int32_t i = 0; i < FIRST_INPUTS; i++) first |= args->grad_in[i].data != NULL;
    if (first) {
        QUERN_TRY(second_backward(&l, args, ops, true));
        QUERN_TRY(cpu_kernels[ops.first]->backward(&l.first));
    }
    return second_backward(&l, args, ops, false);
}
