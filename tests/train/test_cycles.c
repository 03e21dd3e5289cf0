/* A process that trains again and again: a thousand trainers with loader threads, a writer thread
 * and open files leave no memory, no descriptor and no thread behind. QUERN_TEST_CYCLES asks for
 * another number of them: fewer under valgrind, more in tools/nightly.sh. */
#include "quern_test.h"
#include "temporary.h"
#include "world.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Sanitizers and valgrind hold released memory back, and find leaks themselves. */
#if defined(__SANITIZE_THREAD__)
enum { CYCLES = 60, PAGE_SLACK = INT32_MAX };
#elif defined(__SANITIZE_ADDRESS__)
enum { CYCLES = 1000, PAGE_SLACK = INT32_MAX };
#else
enum { CYCLES = 1000, PAGE_SLACK = 128 };
#endif
enum { PAGES_FROM = 500 }; /* fewer cycles do not tell what grows from what settles */

typedef struct footprint {
    long pages, descriptors, threads;
} footprint;

static long entries(const char *path) {
    long count = 0;
    DIR *directory = opendir(path);
    if (!directory) return -1;
    while (readdir(directory)) count++;
    closedir(directory);
    return count;
}

static footprint footprint_now(void) {
    footprint f = {0};
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*s %ld", &f.pages) != 1) f.pages = -1;
    if (file) fclose(file);
    f.descriptors = entries("/proc/self/fd");
    f.threads = entries("/proc/self/task");
    return f;
}

static quern_status cycle(temporary *folder, int number) {
    world w;
    quern_jsonl *jsonl = NULL;
    char path[512], saves[512];
    snprintf(path, sizeof path, "%s", temporary_join(folder, "metrics.jsonl"));
    char name[32];
    snprintf(name, sizeof name, "checkpoints-%d", number);
    snprintf(saves, sizeof saves, "%s", temporary_join(folder, name));
    quern_status s = world_open(&w, &(world_desc){.thread_count = 2, .dropout = true});
    if (s != QUERN_OK) return s;
    s = quern_jsonl_create(&jsonl, w.device, &(quern_history_desc){.path = path});
    if (s == QUERN_OK) {
        const quern_callback callback = quern_jsonl_callback(jsonl);
        quern_trainer_desc desc = world_with(&w, &callback, 1);
        desc.worker_count = number % 3;
        desc.accumulate = 1 + number % 2;
        desc.average_decay = 0.9;
        if (number % 10 == 0) desc.save = (quern_save_desc){.directory = saves, .every = 1};
        s = quern_trainer_create(&w.trainer, &desc);
        if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, NULL);
    }
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_jsonl_destroy(jsonl);
    world_close(&w);
    return s;
}

static long cycle_count(void) {
    const char *asked = getenv("QUERN_TEST_CYCLES");
    const long count = asked ? atol(asked) : 0;
    return count > 0 ? count : CYCLES;
}

TEST_CASE(Cycles, a_thousand_trainers_leave_nothing_behind) {
    temporary folder;
    footprint settled = {0};
    const long count = cycle_count();
    REQUIRE(temporary_begin(&folder));
    for (int i = 0; i < count; i++) {
        REQUIRE_OK(cycle(&folder, i));
        if (i == count / 5) settled = footprint_now();
    }
    const footprint end = footprint_now();
    CHECK(settled.pages > 0 && settled.descriptors > 0 && settled.threads > 0);
    CHECK_SAY(count < PAGES_FROM || end.pages - settled.pages <= PAGE_SLACK, "%ld pages, then %ld",
              settled.pages, end.pages);
    CHECK_SAY(end.descriptors == settled.descriptors, "%ld descriptors, then %ld",
              settled.descriptors, end.descriptors);
    CHECK_SAY(end.threads == settled.threads, "%ld threads, then %ld", settled.threads,
              end.threads);
    temporary_end(&folder);
}
