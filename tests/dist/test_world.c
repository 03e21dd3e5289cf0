/* Every collective among ranks that are threads on the CPU, against sums made here. */
#include "rank.h"

#include "kernels/half_bits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* More than one piece, and not a multiple of anything. */
enum { LARGE = 70001, SMALL = 7 };

/* What rank `r` brings: small whole numbers, exact in every dtype, with U8's sum below 256. */
static double brought(int32_t r, int64_t i) { return (double)((i * 7 + r * 13) % 50); }

static void write_number(void *data, quern_dtype dtype, int64_t at, double value) {
    switch ((int)dtype) {
    case QUERN_F32: ((float *)data)[at] = (float)value; break;
    case QUERN_F64: ((double *)data)[at] = value; break;
    case QUERN_I32: ((int32_t *)data)[at] = (int32_t)value; break;
    case QUERN_I64: ((int64_t *)data)[at] = (int64_t)value; break;
    case QUERN_U8: ((uint8_t *)data)[at] = (uint8_t)value; break;
    default: ((uint16_t *)data)[at] = half_round((float)value, dtype); break;
    }
}

static double read_number(const void *data, quern_dtype dtype, int64_t at) {
    switch ((int)dtype) {
    case QUERN_F32: return (double)((const float *)data)[at];
    case QUERN_F64: return ((const double *)data)[at];
    case QUERN_I32: return (double)((const int32_t *)data)[at];
    case QUERN_I64: return (double)((const int64_t *)data)[at];
    case QUERN_U8: return (double)((const uint8_t *)data)[at];
    default: return (double)half_widen(((const uint16_t *)data)[at], dtype);
    }
}

static double expected(collective_reduction how, int32_t size, int64_t i) {
    double all = brought(0, i);
    for (int32_t r = 1; r < size; r++)
        all = how == COLLECTIVE_MAX ? fmax(all, brought(r, i)) : all + brought(r, i);
    return how == COLLECTIVE_MEAN ? all / size : all;
}

typedef struct one_case {
    collective what;
    collective_reduction how;
    quern_dtype dtype;
    int64_t count;
    int32_t root;
    bool in_place;
} one_case;

/* in_count elements from `in` of this rank; at i of the result there is `value`. */
static int64_t in_count_of(const one_case *c, int32_t size) {
    return c->what == COLLECTIVE_reduce_scatter ? c->count * size : c->count;
}
static int64_t out_count_of(const one_case *c, int32_t size) {
    return c->what == COLLECTIVE_all_gather ? c->count * size : c->count;
}
static double value_of(const one_case *c, int32_t rank_number, int32_t size, int64_t i) {
    switch (c->what) {
    case COLLECTIVE_all_reduce: return expected(c->how, size, i);
    case COLLECTIVE_reduce_scatter: return expected(c->how, size, rank_number * c->count + i);
    case COLLECTIVE_all_gather: return brought((int32_t)(i / c->count), i % c->count);
    default: return brought(c->root, i);
    }
}

static quern_status run_case(rank *r) {
    const one_case *c = r->context;
    const int32_t size = r->desc.place.size, own = r->desc.place.rank;
    const size_t element = quern_dtype_bytes(c->dtype);
    const int64_t in_count = in_count_of(c, size), out_count = out_count_of(c, size);
    const int64_t larger = in_count > out_count ? in_count : out_count;
    char *in = malloc((size_t)larger * element + 1), *out = malloc((size_t)larger * element + 1);
    char *from = in, *to = out;
    if (c->in_place) {
        const size_t part = (size_t)(own * c->count) * element;
        from = c->what == COLLECTIVE_all_gather ? in + part : in;
        to = c->what == COLLECTIVE_reduce_scatter ? in + part : in;
    }
    memset(out, 0xee, (size_t)larger * element);
    for (int64_t i = 0; i < in_count; i++) write_number(from, c->dtype, i, brought(own, i));
    const quern_status status =
        rank_collect(r, c->what, from, in_count, to, out_count, c->dtype,
                     (collective_call){.reduction = c->how, .root = c->root});
    for (int64_t i = 0; status == QUERN_OK && i < out_count; i++) {
        double right = value_of(c, own, size, i);
        const double found = read_number(to, c->dtype, i);
        if (c->dtype == QUERN_F32) right = (double)(float)right;
        if (half_is(c->dtype))
            right = (double)half_widen(half_round((float)right, c->dtype), c->dtype);
        CHECK_SAY(found == right, "collective %d, rank %d of %d, element %lld: %g, not %g",
                  (int)c->what, (int)own, (int)size, (long long)i, found, right);
        if (quern_test_failed()) break;
    }
    free(in), free(out);
    return status;
}

static void check_case(const one_case *c, int32_t size) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, size, run_case, c, NULL);
    for (int32_t i = 0; i < size; i++)
        CHECK_SAY(ranks[i].status == QUERN_OK, "rank %d: %s", (int)i, ranks[i].sentence);
}

static void check_sizes(one_case c) {
    static const int64_t counts[] = {LARGE, SMALL, 1, 0, COLLECTIVE_COUNT};
    static const int32_t sizes[] = {1, 2, 4};
    for (int in_place = 0; in_place < 2; in_place++)
        for (int k = 0; k < 5; k++)
            for (int s = 0; s < 3 && !quern_test_failed(); s++) {
                c.count = counts[k], c.in_place = in_place != 0;
                c.root = sizes[s] - 1;
                check_case(&c, sizes[s]);
            }
}

TEST_CASE(World, all_reduce_gives_every_rank_the_sum) {
    check_sizes((one_case){.what = COLLECTIVE_all_reduce, .dtype = QUERN_F32});
}
TEST_CASE(World, reduce_scatter_gives_every_rank_its_part_of_the_sum) {
    check_sizes((one_case){.what = COLLECTIVE_reduce_scatter, .dtype = QUERN_F32});
}
TEST_CASE(World, all_gather_gives_every_rank_all_parts) {
    check_sizes((one_case){.what = COLLECTIVE_all_gather, .dtype = QUERN_F32});
}
TEST_CASE(World, broadcast_gives_every_rank_the_roots) {
    check_sizes((one_case){.what = COLLECTIVE_broadcast, .dtype = QUERN_F32});
    check_case(&(one_case){.what = COLLECTIVE_broadcast, .count = LARGE, .root = 0}, 4);
    check_case(&(one_case){.what = COLLECTIVE_broadcast, .count = LARGE, .root = 2}, 4);
}

TEST_CASE(World, every_dtype_and_reduction_is_right) {
    static const quern_dtype dtypes[] = {QUERN_F32, QUERN_F64, QUERN_BF16, QUERN_F16,
                                         QUERN_I32, QUERN_I64, QUERN_U8};
    for (int d = 0; d < QUERN_DTYPE_COUNT; d++)
        for (int how = 0; how < COLLECTIVE_REDUCTION_COUNT; how++) {
            if (how == COLLECTIVE_MEAN && d >= 4) continue;
            for (int what = COLLECTIVE_all_reduce; what <= COLLECTIVE_reduce_scatter; what++)
                check_case(&(one_case){.what = (collective)what,
                                       .how = (collective_reduction)how,
                                       .dtype = dtypes[d],
                                       .count = 33},
                           3);
        }
    check_case(&(one_case){.what = COLLECTIVE_all_gather, .dtype = QUERN_BF16, .count = 5}, 2);
    check_case(&(one_case){.what = COLLECTIVE_broadcast, .dtype = QUERN_F16, .count = 5}, 2);
}

/* Thirds have no last bit: another order, or a rounding between, shows. */
typedef struct bits {
    float sum[RANK_MAX][1000];
} bits;

static quern_status sum_thirds(rank *r) {
    bits *b = (bits *)(uintptr_t)r->context;
    float *own = b->sum[r->desc.place.rank];
    for (int i = 0; i < 1000; i++) own[i] = (float)(i + 1) / (3.0F + (float)r->desc.place.rank);
    return rank_collect(r, COLLECTIVE_all_reduce, own, 1000, own, 1000, QUERN_F32,
                        (collective_call){.reduction = COLLECTIVE_SUM});
}

TEST_CASE(World, a_sum_has_the_same_bits_on_every_rank_and_in_every_run) {
    static rank ranks[RANK_MAX];
    static bits first, again;
    for (int run = 0; run < 5; run++) {
        ranks_run(ranks, 4, sum_thirds, run == 0 ? &first : &again, NULL);
        for (int i = 0; i < 4; i++) CHECK_OK(ranks[i].status);
        const bits *b = run == 0 ? &first : &again;
        for (int i = 0; i < 4; i++) CHECK(memcmp(b->sum[i], first.sum[0], sizeof b->sum[i]) == 0);
    }
    for (int i = 0; i < 1000; i++) {
        double right = 0;
        for (int k = 0; k < 4; k++) right += (double)((float)(i + 1) / (3.0F + (float)k));
        CHECK(first.sum[2][i] == (float)right);
    }
}

/* A barrier: nobody is behind it before everybody has come. */
static atomic_int arrived;
static quern_status meet_often(rank *r) {
    const collective_call c = {.group = world_group(r->world)};
    const quern_kernel_args args = {.attributes = &c, .stream = r->stream};
    for (int i = 1; i <= 20; i++) {
        atomic_fetch_add(&arrived, 1);
        quern_status s = world_issue(r->world, r->stream, COLLECTIVE_barrier, &args);
        if (s == QUERN_OK) s = quern_backend_cpu.stream_wait(r->stream);
        if (s != QUERN_OK) return s;
        CHECK(atomic_load(&arrived) >= i * r->desc.place.size);
        s = world_issue(r->world, r->stream, COLLECTIVE_barrier, &args);
        if (s == QUERN_OK) s = quern_backend_cpu.stream_wait(r->stream);
        if (s != QUERN_OK) return s;
        CHECK(atomic_load(&arrived) <= (i + 1) * r->desc.place.size);
    }
    return QUERN_OK;
}

TEST_CASE(World, nobody_passes_a_barrier_alone) {
    static rank ranks[RANK_MAX];
    for (int32_t size = 1; size <= 4; size++) {
        atomic_store(&arrived, 0);
        ranks_run(ranks, size, meet_often, NULL, NULL);
        for (int32_t i = 0; i < size; i++)
            CHECK_SAY(ranks[i].status == QUERN_OK, "%s", ranks[i].sentence);
    }
}

/* Two gradients and a scalar in one call, among other work of the stream, recorded once and
 * launched three times. */
static quern_status record_and_launch(rank *r) {
    const quern_backend *b = &quern_backend_cpu;
    float first[5], second[3] = {1, 2, 3}, third[1], doubled[3];
    quern_view views[3] = {{.data = first, .count = 5, .rank = 1, .dim = {5}, .stride = {1}},
                           {.data = second, .count = 3, .rank = 1, .dim = {3}, .stride = {1}},
                           {.data = third, .count = 1}};
    for (int i = 0; i < 5; i++) first[i] = (float)(i + r->desc.place.rank);
    third[0] = 1;
    const collective_call c = {.group = world_group(r->world), .reduction = COLLECTIVE_SUM};
    const quern_kernel_args args = {.attributes = &c,
                                    .in = views,
                                    .out = views,
                                    .input_count = 3,
                                    .output_count = 3,
                                    .stream = r->stream};
    backend_capture *capture = NULL;
    quern_status s = b->capture_begin(r->stream);
    if (s == QUERN_OK) s = world_issue(r->world, r->stream, COLLECTIVE_all_reduce, &args);
    if (s == QUERN_OK) s = b->copy(r->stream, doubled, second, sizeof doubled);
    if (s == QUERN_OK) s = b->capture_end(r->stream, &capture);
    for (int i = 0; i < 3 && s == QUERN_OK; i++) s = b->capture_launch(capture, r->stream);
    if (s == QUERN_OK) s = b->stream_wait(r->stream);
    b->capture_destroy(capture);
    CHECK(third[0] == 64.0F); /* four ranks, three times */
    CHECK(second[2] == 192.0F && doubled[2] == 192.0F);
    CHECK(first[4] == 22.0F * 16.0F);
    return s;
}

TEST_CASE(World, a_recorded_collective_is_run_by_every_launch) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, 4, record_and_launch, NULL, NULL);
    for (int i = 0; i < 4; i++) CHECK_SAY(ranks[i].status == QUERN_OK, "%s", ranks[i].sentence);
}

/* A world that is zero in its desc, without a network. */
TEST_CASE(World, of_one_needs_no_network) {
    static rank r;
    memset(&r, 0, sizeof r);
    fault_host_begin(&r.faults, NULL);
    const backend_open_desc open = {.thread_count = 1, .host = &r.faults.host};
    REQUIRE_OK(quern_backend_cpu.open(&r.device, &open));
    REQUIRE_OK(quern_backend_cpu.stream_create(r.device, &r.stream, "test"));
    const sockets none = {.self = NULL};
    REQUIRE_OK(world_create(&r.world, &(world_desc){.host = &r.faults.host,
                                                    .backend = &quern_backend_cpu,
                                                    .device = r.device,
                                                    .net = &none}));
    CHECK(world_place_of(r.world)->size == 1 && world_place_of(r.world)->rank == 0);
    CHECK_TEXT(world_library(r.world), "sockets");
    double x[3] = {1, 2, 4}, y[3] = {0};
    CHECK_OK(rank_collect(&r, COLLECTIVE_all_reduce, x, 3, y, 3, QUERN_F64,
                          (collective_call){.reduction = COLLECTIVE_MEAN}));
    CHECK(y[0] == 1 && y[1] == 2 && y[2] == 4);
    CHECK_OK(world_status(r.world));
    world_destroy(r.world);
    world_destroy(NULL);
    quern_backend_cpu.stream_destroy(r.stream);
    quern_backend_cpu.close(r.device);
    CHECK(fault_host_live(&r.faults) == 0);
}

static quern_status make_no_sense(rank *r) {
    float x[8] = {0};
    static const struct {
        collective what;
        int64_t in, out;
        quern_dtype dtype;
        collective_call call;
        quern_status status;
        const char *words;
    } bad[] = {
        {COLLECTIVE_all_reduce, 4, 3, QUERN_F32, {0}, QUERN_SHAPE, "tensor 0 has 4 F32"},
        {COLLECTIVE_reduce_scatter, 5, 2, QUERN_F32, {0}, QUERN_SHAPE, "among 2 ranks"},
        {COLLECTIVE_all_gather, 2, 5, QUERN_F32, {0}, QUERN_SHAPE, "its result 5 F32"},
        {COLLECTIVE_broadcast, 2, 2, QUERN_F32, {.root = 2}, QUERN_INVALID, "from rank 2"},
        {COLLECTIVE_broadcast, 2, 2, QUERN_F32, {.root = -1}, QUERN_INVALID, "from rank -1"},
        {COLLECTIVE_all_reduce,
         2,
         2,
         QUERN_I32,
         {.reduction = COLLECTIVE_MEAN},
         QUERN_INVALID,
         "no mean of I32"},
        {COLLECTIVE_all_reduce,
         2,
         2,
         QUERN_F32,
         {.reduction = (collective_reduction)9},
         QUERN_INVALID,
         "reduction 9"},
        {(collective)77, 2, 2, QUERN_F32, {0}, QUERN_INVALID, "collective 77"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(
            rank_collect(r, bad[i].what, x, bad[i].in, x, bad[i].out, bad[i].dtype, bad[i].call),
            bad[i].status);
        CHECK_ERROR_HAS(bad[i].words);
    }
    return QUERN_OK; /* and nothing has been said to the other rank */
}

TEST_CASE(World, a_collective_that_makes_no_sense_is_refused_before_it_is_issued) {
    static rank ranks[RANK_MAX];
    ranks_run(ranks, 2, make_no_sense, NULL, NULL);
    for (int i = 0; i < 2; i++) CHECK_OK(ranks[i].status);
}

TEST_CASE(World, a_limit_that_is_none_is_refused) {
    static rank r;
    static const double bad[] = {-1, 2e6, (double)NAN};
    fault_host_begin(&r.faults, NULL);
    for (int i = 0; i < 3; i++) {
        world *w;
        const world_desc desc = {
            .host = &r.faults.host, .backend = &quern_backend_cpu, .timeout_s = bad[i]};
        CHECK_STATUS(world_create(&w, &desc), QUERN_INVALID);
        CHECK_ERROR_HAS("timeout_s");
        CHECK(w == NULL);
    }
    CHECK(fault_host_live(&r.faults) == 0);
}
