/* Whether a resume notices that samples of a set in memory are others than they were. */
#include "quern_test.h"
#include "temporary.h"
#include "world.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Labels, values, and a field of more than 64 MiB that no op reads. */
enum { MANY = 200, BULK_SAMPLES = 65, BULK_BYTES = 1 << 20 };
typedef struct many {
    float x[MANY][WORLD_FEATURES];
    int32_t label[MANY];
    uint8_t *bulk;
} many;

static quern_status many_open(world *w, quern_dataset **set, const many *m) {
    const quern_status s = world_open(w, &(world_desc){0});
    if (s != QUERN_OK) return s;
    return quern_dataset_arrays(
        set, w->device,
        &(quern_arrays_desc){
            .length = m->bulk ? BULK_SAMPLES : MANY,
            .field_count = m->bulk ? 3 : 2,
            .fields = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                       {.name = "label", .dtype = QUERN_I32},
                       {.name = "bulk", .dtype = QUERN_U8, .rank = 1, .dim = {BULK_BYTES}}},
            .data = {m->x, m->label, m->bulk}});
}

static void many_close(world *w, quern_dataset *set) {
    quern_trainer_destroy(w->trainer);
    w->trainer = NULL;
    quern_dataset_destroy(set);
    world_close(w);
}

static quern_status many_fit(const char *directory, const many *m, bool as_valid) {
    world w;
    quern_dataset *set = NULL;
    CHECK_OK(many_open(&w, &set, m));
    if (as_valid)
        w.desc.valid = set;
    else
        w.desc.train = set;
    w.desc.step_limit = 3;
    w.desc.save = (quern_save_desc){.directory = directory, .resume = true};
    quern_status s = quern_trainer_create(&w.trainer, &w.desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, NULL);
    many_close(&w, set);
    return s;
}

/* Sample 100 is none of the 64. */
TEST_CASE(ResumeData, one_corrected_label_of_many_samples) {
    static many first, other;
    static const char *const says[2][2] = {
        {"the training set holds other samples: data_digests.label was \"",
         "the training set holds other samples: data_digests.x was \""},
        {"an evaluation set holds other data: evaluation_digests.val.label was \"",
         "an evaluation set holds other data: evaluation_digests.val.x was \""}};
    for (int as_valid = 0; as_valid < 2; as_valid++) {
        temporary t = {{0}, {0}};
        REQUIRE(temporary_begin(&t));
        CHECK_OK(many_fit(t.path, &first, as_valid));
        CHECK_OK(many_fit(t.path, &first, as_valid));
        other = first;
        other.label[100] = 1;
        CHECK_STATUS(many_fit(t.path, &other, as_valid), QUERN_INPUT);
        CHECK_ERROR_HAS(says[as_valid][0]);
        other = first;
        other.x[100][3] = 1;
        CHECK_STATUS(many_fit(t.path, &other, as_valid), QUERN_INPUT);
        CHECK_ERROR_HAS(says[as_valid][1]);
        temporary_end(&t);
    }
}

TEST_CASE(ResumeData, of_a_large_field_other_ends_of_samples) {
    static many first;
    static char manifest[65536];
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    first.bulk = calloc(BULK_SAMPLES, BULK_BYTES);
    REQUIRE(first.bulk != NULL);
    CHECK_OK(many_fit(t.path, &first, false));
    CHECK(temporary_read(&t, "step-3/manifest.json", manifest, sizeof manifest - 1) > 0);
    const char *digests = strstr(manifest, "\"data_digests\": {\"x\": \"");
    REQUIRE(digests != NULL);
    CHECK(strstr(digests, "\"bulk\"") == NULL);
    first.bulk[BULK_BYTES + BULK_BYTES / 2] = 1;
    CHECK_OK(many_fit(t.path, &first, false));
    first.bulk[BULK_BYTES + BULK_BYTES - 1] = 1;
    CHECK_STATUS(many_fit(t.path, &first, false), QUERN_INPUT);
    CHECK_ERROR_HAS("the training set holds other samples: data.sample_digest was \"");
    free(first.bulk);
    temporary_end(&t);
}

/* The bulk, which no op reads, cannot be read: what is not saved is not told from anything. */
TEST_CASE(ResumeData, nothing_is_read_where_nothing_is_saved) {
    static many first;
    temporary t = {{0}, {0}};
    const size_t bytes = (size_t)BULK_SAMPLES * BULK_BYTES;
    REQUIRE(temporary_begin(&t));
    void *at = NULL;
    REQUIRE(posix_memalign(&at, BULK_BYTES, bytes) == 0 && mprotect(at, bytes, PROT_NONE) == 0);
    first.bulk = at;
    for (int quick = 0; quick < 2; quick++) {
        world w;
        quern_dataset *set = NULL;
        CHECK_OK(many_open(&w, &set, &first));
        w.desc.valid = set;
        w.desc.fast_dev_run = quick;
        w.desc.save.directory = quick ? t.path : NULL;
        CHECK_OK(quern_trainer_create(&w.trainer, &w.desc));
        many_close(&w, set);
    }
    REQUIRE(mprotect(at, bytes, PROT_READ | PROT_WRITE) == 0);
    free(at);
    temporary_end(&t);
}
