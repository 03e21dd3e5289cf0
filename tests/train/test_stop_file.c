/* A stop file whose path is the trainer's own, or that cannot be looked for at all. */
#include "fault_host.h"
#include "quern_test.h"
#include "temporary.h"
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct warnings {
    int count;
    char text[512];
} warnings;

static void note_warning(void *self, quern_log_level level, const char *sentence) {
    warnings *w = self;
    if (level < QUERN_LOG_WARNING) return;
    w->count++;
    snprintf(w->text, sizeof w->text, "%s", sentence);
}

/* Looked for at fit_begin and at each epoch's end, told once in the life of a trainer. */
TEST_CASE(StopFile, that_cannot_be_looked_for_is_told_once_and_the_run_goes_on) {
    world w;
    quern_result r = {0};
    fault_host faults;
    warnings log = {.count = 0};
    fault_host_begin(&faults, NULL);
    faults.host.log = (quern_log_sink){note_warning, &log};
    faults.fault[FAULT_INFO] = (fault){.at = 1, .error = EACCES, .for_ever = true};
    REQUIRE_OK(world_open(&w, &(world_desc){.host = faults.host}));
    w.desc.stop_file = "/closed/stop";
    w.desc.epoch_count = 3;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    for (int fit = 1; fit <= 2; fit++) {
        CHECK_OK(quern_trainer_fit(w.trainer, &r));
        CHECK(r.reason == QUERN_STOPPED_EPOCHS && r.epochs == 3 * fit);
        CHECK_SAY(log.count == 1, "told %d times", log.count);
    }
    CHECK_TEXT(log.text, "the stop file cannot end the run: looking for /closed/stop: Permission "
                         "denied");
    world_close(&w);
    CHECK(fault_host_live(&faults) == 0);
}

/* A look that was interrupted is repeated. */
TEST_CASE(StopFile, is_looked_for_again_when_a_signal_came_between) {
    world w;
    quern_result r = {0};
    temporary files;
    fault_host faults;
    warnings log = {.count = 0};
    REQUIRE(temporary_begin(&files));
    CHECK(temporary_write(&files, "stop", "", 0));
    fault_host_begin(&faults, NULL);
    faults.host.log = (quern_log_sink){note_warning, &log};
    faults.fault[FAULT_INFO] = (fault){.at = 1, .error = EINTR};
    REQUIRE_OK(world_open(&w, &(world_desc){.host = faults.host}));
    w.desc.stop_file = temporary_join(&files, "stop");
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_FILE && r.step == 0 && log.count == 0);
    world_close(&w);
    temporary_end(&files);
}

/* The strings of the desc may be gone when create has returned. */
TEST_CASE(StopFile, is_the_one_that_was_named_when_the_trainer_was_created) {
    world w;
    quern_result r = {0};
    temporary files;
    char path[512], field[] = "x";
    const quern_transform transform = {.field = field, .scale = 2};
    REQUIRE(temporary_begin(&files));
    CHECK(temporary_write(&files, "stop", "", 0));
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    snprintf(path, sizeof path, "%s", temporary_join(&files, "stop"));
    w.desc.stop_file = path;
    w.desc.transforms = &transform;
    w.desc.transform_count = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    memset(path, 'x', sizeof path - 1);
    memset(field, 'y', 1);
    CHECK_TEXT(quern_trainer_resolved(w.trainer)->transforms[0].field, "x");
    CHECK_OK(quern_trainer_evaluate(w.trainer, w.valid ? w.valid : w.train, NULL, 0, NULL));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_FILE && r.step == 0);
    world_close(&w);
    temporary_end(&files);
}
