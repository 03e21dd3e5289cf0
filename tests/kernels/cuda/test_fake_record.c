/* The algorithm record of whole runs on the fake device: it is saved, a resumed run follows it, and
 * one that cannot be followed is said and chosen anew. */
#include "quern_test.h"

#include "fake_cublaslt.h"
#include "fake_cudnn.h"
#include "gpu/image_run.h"
#include "host/train/checkpoint/algorithms.h"
#include "host/train/checkpoint/checkpoint.h"
#include "support/temporary.h"
#include "train/world.h"

#include <stdlib.h>
#include <string.h>

typedef struct record_world {
    temporary folder;
    image_run_desc desc;
    int breaks, added, ignored; /* what the log has said of the record */
    char sentence[1024];
    int64_t now, seen; /* of the clock: a product by proposal 1 takes 1, by another 100 */
} record_world;

static void listen(void *self, quern_log_level level, const char *sentence) {
    record_world *w = self;
    const bool warning = level == QUERN_LOG_WARNING && strstr(sentence, "algorithm record") != NULL;
    w->breaks += warning && strstr(sentence, "breaks exactness") != NULL;
    w->ignored += warning && strstr(sentence, "breaks exactness") == NULL;
    w->added += strstr(sentence, "algorithms are chosen that") != NULL;
    if (warning) memcpy(w->sentence, sentence, strnlen(sentence, sizeof w->sentence - 1) + 1);
}

static int64_t clock_of_products(void *self) {
    record_world *w = self;
    w->now += (fake_cublaslt.products - w->seen) * (fake_cublaslt.last_index == 1 ? 1 : 100);
    w->seen = fake_cublaslt.products;
    return w->now;
}

static bool record_begin(record_world *w) {
    *w = (record_world){.desc = {.build = build_normalised, .kind = QUERN_DEVICE_CUDA}};
    fake_cublaslt_begin();
    fake_cudnn_begin();
    if (!temporary_begin(&w->folder)) return false;
    w->desc.host = quern_host_default();
    w->desc.host.log = (quern_log_sink){listen, w};
    w->desc.save = w->folder.path;
    return true;
}

static void record_end(record_world *w) {
    temporary_end(&w->folder);
    fake_cublaslt_begin();
    fake_cudnn_begin();
}

/* One process: fits until `steps`, from what is saved where there is something. */
static void fit(record_world *w, int64_t steps, char bits[33]) {
    image_run r;
    w->desc.step_limit = steps;
    w->desc.resume = true;
    w->breaks = w->added = w->ignored = 0;
    REQUIRE_OK(image_run_fit(&r, &w->desc));
    memcpy(bits, r.digest, sizeof r.digest);
    image_run_release(&r);
}

/* The record of the newest checkpoint, to be freed. */
static char *record_of(record_world *w) {
    quern_checkpoint *c = NULL;
    char *record = NULL;
    if (checkpoint_latest(&c, &w->desc.host, w->folder.path, NULL, NULL) != QUERN_OK || c == NULL)
        abort();
    const char *from = quern_checkpoint_info_get(c).algorithms;
    record = malloc(strlen(from) + 1);
    if (record == NULL) abort();
    memcpy(record, from, strlen(from) + 1);
    quern_checkpoint_destroy(c);
    return record;
}

TEST_CASE(FakeRecord, a_resumed_run_follows_the_record_and_goes_on_bit_for_bit) {
    record_world w;
    char whole[33], resumed[33];
    REQUIRE(record_begin(&w));
    fit(&w, 1, resumed);
    CHECK(w.breaks + w.added + w.ignored == 0);
    char *before = record_of(&w);
    CHECK(algorithms_are_whole(before));
    CHECK_HAS(before, "cublasLt 130100; Fake H200 sm_90; product F32 ");
    CHECK_HAS(before, "cudnn 91900; Fake H200 sm_90; conv2d; ");
    fit(&w, 3, resumed);
    CHECK(w.breaks + w.added + w.ignored == 0);
    char *after = record_of(&w);
    CHECK_TEXT(after, before);
    temporary_end(&w.folder);
    REQUIRE(temporary_begin(&w.folder));
    fit(&w, 3, whole);
    CHECK_TEXT(resumed, whole);
    free(before);
    free(after);
    record_end(&w);
}

TEST_CASE(FakeRecord, what_was_measured_once_is_used_without_tuning_later) {
    record_world w;
    char bits[33];
    REQUIRE(record_begin(&w));
    w.desc.host.clock.monotonic_ns = clock_of_products;
    w.desc.host.clock.self = &w;
    w.desc.tune = true;
    fit(&w, 1, bits);
    CHECK(fake_cublaslt.last_index == 1);
    w.desc.tune = false;
    fit(&w, 2, bits);
    CHECK(fake_cublaslt.last_index == 1 && w.breaks == 0);
    temporary_end(&w.folder);
    REQUIRE(temporary_begin(&w.folder));
    fit(&w, 1, bits); /* without a record: the first proposal */
    CHECK(fake_cublaslt.last_index == 0);
    record_end(&w);
}

TEST_CASE(FakeRecord, another_library_is_said_to_break_exactness_and_is_recorded_then) {
    record_world w;
    char bits[33];
    REQUIRE(record_begin(&w));
    fit(&w, 1, bits);
    fake_cudnn.version = 92000;
    fit(&w, 2, bits);
    CHECK(w.breaks == 1);
    CHECK_HAS(w.sentence, "cudnn 92000; Fake H200 sm_90; conv2d");
    fit(&w, 3, bits);
    CHECK(w.breaks == 0);
    char *record = record_of(&w);
    CHECK_HAS(record, "cudnn 92000");
    CHECK(strstr(record, "cudnn 91900") == NULL);
    free(record);
    record_end(&w);
}

TEST_CASE(FakeRecord, an_engine_that_is_refused_now_is_said_and_replaced) {
    record_world w;
    char bits[33];
    REQUIRE(record_begin(&w));
    fit(&w, 1, bits);
    fake_cudnn.refused = UINT32_MAX;
    fit(&w, 2, bits);
    CHECK(w.breaks == 1 && w.ignored == 1);
    char *record = record_of(&w);
    CHECK_HAS(record, " none\n");
    free(record);
    record_end(&w);
}

TEST_CASE(FakeRecord, the_cpu_has_none_and_changing_to_it_or_from_it_is_said) {
    record_world w;
    char bits[33];
    REQUIRE(record_begin(&w));
    w.desc.kind = QUERN_DEVICE_CPU;
    fit(&w, 1, bits);
    char *record = record_of(&w);
    CHECK_TEXT(record, "");
    free(record);
    w.desc.kind = QUERN_DEVICE_CUDA;
    fit(&w, 2, bits);
    CHECK(w.breaks == 1);
    w.desc.kind = QUERN_DEVICE_CPU;
    fit(&w, 3, bits);
    CHECK(w.breaks == 1);
    record_end(&w);
}

static int lines_of(const char *record) {
    int count = 0;
    for (; *record != 0; record++) count += *record == '\n';
    return count;
}

TEST_CASE(FakeRecord, a_program_compiled_later_is_in_the_next_checkpoint) {
    record_world r;
    world w;
    float out[7 * WORLD_CLASSES];
    REQUIRE(record_begin(&r));
    REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .valid_length = 7}));
    w.desc.valid = NULL; /* batches of 4 and 3, to be predicted */
    w.desc.save.directory = r.folder.path;
    w.desc.step_limit = 1;
    w.desc.outputs = &w.logits;
    w.desc.output_count = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    char *before = record_of(&r);
    REQUIRE_OK(quern_trainer_predict(w.trainer, w.valid, w.logits, out, sizeof out));
    REQUIRE_OK(quern_trainer_save(w.trainer));
    char *after = record_of(&r);
    CHECK(lines_of(before) > 4 && lines_of(after) > lines_of(before));
    CHECK(strncmp(before, after, strlen(before)) == 0);
    free(before);
    free(after);
    world_close(&w);
    record_end(&r);
}
