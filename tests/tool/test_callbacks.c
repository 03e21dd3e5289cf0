/* The command's callbacks: the event file in every run folder, and --patience. */
#include "fixture.h"
#include "quern_test.h"

#include <dirent.h>
#include <string.h>

/* How many event files the folder holds. */
static int event_files(temporary *t, const char *folder) {
    int count = 0;
    DIR *directory = opendir(temporary_join(t, folder));
    if (!directory) return -1;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += strncmp(entry->d_name, "events.out.tfevents.", 20) == 0;
    closedir(directory);
    return count;
}

static bool built_with_tensorboard(void) {
#ifdef QUERN_TENSORBOARD
    return true;
#else
    return false;
#endif
}

/* With a learning rate of 0 the loss stands still: the first evaluation improves on nothing, the
 * next two do not improve on it. */
TEST_CASE(TrainCallbacks, patience_ends_a_run_that_does_not_improve) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_mnist(&t, "images", 40, 20));
    const run_result *r =
        COMMAND(&t, "train", "--model", "mlp", "--data", "images", "--epochs", "50", "--lr", "0",
                "--batch-size", "20", "--patience", "2", "--run-dir", "run", "--json");
    CHECK(r->exit_code == 0);
    json_t *object = fixture_json(r);
    CHECK(fixture_json_number(object, "epochs") == 3);
    CHECK_TEXT(fixture_json_text(object, "reason"), "early stop (--patience)");
    CHECK_TEXT(fixture_json_text(object, "stop_reason"), "callback");
    json_decref(object);
    CHECK(event_files(&t, "run") == (built_with_tensorboard() ? 1 : 0));
    static char page[1 << 18];
    memset(page, 0, sizeof page);
    CHECK(temporary_read(&t, "run/report.html", page, sizeof page - 1) > 0);
    CHECK_HAS(page, "<td>callback</td></tr>\n<tr><th>callback</th><td>early_stop</td></tr>");
    r = COMMAND(&t, "train", "--resume", "--run-dir", "run");
    CHECK_HAS(r->error, "the run was over, ended by early stop (--patience): nothing was left");
    CHECK_HAS(r->out, "6 updates, 3 epochs in ");
    CHECK_HAS(r->out, "ended by            early stop (--patience)\n");
    r = COMMAND(&t, "train", "--model", "mlp", "--data", "images", "--epochs", "1", "--batch-size",
                "40", "--run-dir", "short");
    CHECK_HAS(r->out, "1 update, 1 epoch in ");
    temporary_end(&t);
}

TEST_CASE(TrainCallbacks, patience_is_refused_without_something_to_judge_by) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(fixture_csv(&t, "table.csv", 60));
    const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv",
                                  "--batch-size", "10", "--patience", "2", "--run-dir", "run");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "--patience: table.csv has no validation part");
    CHECK(event_files(&t, "run") == -1); /* no folder was made */
    r = COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv", "--patience", "0");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "--patience");
    temporary_end(&t);
}
