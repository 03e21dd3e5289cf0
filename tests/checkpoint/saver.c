/* saver.c - the program that kill.sh kills.
 *   saver save DIRECTORY    five saves; writes the serial number of each once it is durable
 *   saver check DIRECTORY   begins as the next writer would; writes the serial of the latest one,
 *                           exit 1 when anything is damaged or left over */
#include "fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int say(int64_t serial) {
    char line[32];
    const int length = snprintf(line, sizeof line, "%lld\n", (long long)serial);
    return write(STDOUT_FILENO, line, (size_t)length) == length ? 0 : 1;
}

static int save(checkpoint_store *store) {
    static const int64_t steps[] = {10, 20, 30, 30, 30};
    for (int64_t i = 0; i < 5; i++)
        if (fixture_save(store, steps[i], i + 1) != QUERN_OK || say(i + 1) != 0) return 1;
    return 0;
}

static int check(const quern_host *host, const char *directory) {
    const int64_t serial = fixture_latest(host, directory, NULL);
    if (serial < 0 || fixture_damaged(host, directory) != 0) return 1;
    return fixture_leftovers(host, directory) != 0 ? 1 : say(serial);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    const quern_host host = quern_host_default();
    checkpoint_store *store = NULL;
    if (fixture_store(&store, &host, argv[2]) != QUERN_OK) {
        fprintf(stderr, "%s\n", quern_error());
        return 1;
    }
    const int code = strcmp(argv[1], "save") == 0 ? save(store) : check(&host, argv[2]);
    checkpoint_store_destroy(store);
    return code;
}
