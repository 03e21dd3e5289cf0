/* What is chosen for a CUDA device before a run, through the public interface, on a GPU as on the
 * fake device: algorithms that were measured, the record that a resumed run follows, and the plan
 * that says what does not fit. */
#include "gpu_device.h"
#include "image_run.h"
#include "quern_test.h"

#include "support/temporary.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Another algorithm sums in another order: three updates of SGD from the same weights. */
#define TOL_OTHER_ALGORITHM 1e-4

static quern_status fit(image_run *out, const char *folder, bool tune, int64_t steps) {
    return image_run_fit(out, &(image_run_desc){.build = build_normalised,
                                                .kind = QUERN_DEVICE_CUDA,
                                                .tune = tune,
                                                .save = folder,
                                                .resume = folder != NULL,
                                                .step_limit = steps});
}

/* Nothing that an earlier test has measured. */
static bool cache_begin(temporary *cache) {
    return temporary_begin(cache) && setenv("QUERN_CACHE", cache->path, 1) == 0;
}

static void cache_end(temporary *cache) {
    CHECK(setenv("QUERN_CACHE", "", 1) == 0);
    temporary_end(cache);
}

/* Files of algorithms that were measured. */
static int files_measured(const temporary *cache) {
    int count = 0;
    DIR *folder = opendir(cache->path);
    if (folder == NULL) return -1;
    for (const struct dirent *e; (e = readdir(folder)) != NULL;)
        count += strncmp(e->d_name, "products-", 9) == 0;
    closedir(folder);
    return count;
}

TEST_CASE(GpuChoices, what_was_measured_trains_as_what_was_not) {
    temporary cache;
    image_run plain, tuned;
    if (!gpu_has_device()) return;
    REQUIRE(cache_begin(&cache));
    REQUIRE_OK(fit(&plain, NULL, false, 3));
    CHECK(files_measured(&cache) == 0);
    REQUIRE_OK(fit(&tuned, NULL, true, 3));
    CHECK(files_measured(&cache) > 0);
    const double distance = image_run_distance(&plain, &tuned);
    CHECK_SAY(distance <= TOL_OTHER_ALGORITHM, "off by %g", distance);
    image_run_release(&plain);
    image_run_release(&tuned);
    cache_end(&cache);
}

/* The algorithm record of a run's checkpoint, to be freed. */
static char *record_of(temporary *run, const char *step) {
    quern_device *device = NULL;
    quern_checkpoint *c = NULL;
    char *record = NULL;
    CHECK_OK(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU}));
    CHECK_OK(quern_checkpoint_open(&c, device, temporary_join(run, step)));
    const char *from = c != NULL ? quern_checkpoint_info_get(c).algorithms : "";
    record = malloc(strlen(from) + 1);
    if (record == NULL) abort();
    memcpy(record, from, strlen(from) + 1);
    quern_checkpoint_destroy(c);
    quern_device_destroy(device);
    return record;
}

/* Resumed without --tune and with nothing remembered on the disk, from the record alone. */
TEST_CASE(GpuChoices, a_resumed_run_follows_the_record_bit_for_bit) {
    temporary cache, whole, parts;
    image_run first, second, expected;
    if (!gpu_has_device()) return;
    REQUIRE(cache_begin(&cache) && temporary_begin(&whole) && temporary_begin(&parts));
    REQUIRE_OK(fit(&first, parts.path, true, 3));
    REQUIRE_OK(fit(&expected, whole.path, true, 5)); /* by what the first has measured */
    image_run_release(&first);
    cache_end(&cache);
    REQUIRE_OK(fit(&second, parts.path, false, 5));
    CHECK_TEXT(second.digest, expected.digest);
    char *of_whole = record_of(&whole, "step-5"), *of_parts = record_of(&parts, "step-5");
    char *before = record_of(&parts, "step-3");
    CHECK_HAS(of_whole, "product F32 ");
    CHECK_TEXT(of_parts, before); /* nothing was chosen anew */
    CHECK_TEXT(of_whole, before);
    free(before);
    free(of_parts);
    free(of_whole);
    image_run_release(&second);
    image_run_release(&expected);
    temporary_end(&parts);
    temporary_end(&whole);
}

/* Samples of a megabyte, so that a GPU's whole memory is no number that a library does not take. */
static quern_tensor *wide_loss(quern_graph *g) {
    quern_tensor *x =
        quern_input(g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 1 << 18}});
    quern_tensor *y = quern_dense(g, quern_relu(g, x), &(quern_dense_desc){.units = 2});
    return quern_softmax_cross_entropy(g, y, quern_labels(g, "label"), NULL);
}

/* A little more than the whole device: what is advised in its place does fit. */
TEST_CASE(GpuChoices, a_batch_that_does_not_fit_is_refused_with_the_largest_that_does) {
    quern_device *device = NULL;
    quern_graph *g = NULL;
    quern_device_info info;
    quern_memory plan;
    quern_trainer *trainer = NULL;
    int64_t found = 0;
    if (!gpu_has_device()) return;
    REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CUDA}));
    REQUIRE_OK(quern_device_info_get(device, &info));
    REQUIRE_OK(quern_graph_create(&g, device, NULL));
    const int64_t too_large = info.memory_bytes / (1 << 20) / 50 * 51;
    const quern_trainer_desc desc = {.graph = g, .loss = wide_loss(g), .batch_size = too_large};
    CHECK_STATUS(quern_trainer_create(&trainer, &desc), QUERN_DEVICE_MEMORY);
    CHECK_ERROR_HAS("the trainer needs");
    CHECK_ERROR_HAS("would fit");
    CHECK_OK(quern_find_batch_size(
        &found, &plan, &desc, &(quern_find_batch_size_desc){.largest = too_large, .any = true}));
    CHECK_SAY(found > 1 && found < too_large && plan.peak_bytes <= (size_t)info.memory_bytes,
              "%" PRId64 " samples of at most %" PRId64, found, too_large);
    quern_graph_destroy(g);
    quern_device_destroy(device);
}
