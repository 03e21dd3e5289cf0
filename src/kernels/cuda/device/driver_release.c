#include "driver_release.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* "550.54.15": digits and points alone, with a point between digits. */
static bool is_release(const char *word, size_t length) {
    bool point = false;
    for (size_t i = 0; i < length; i++) {
        if (word[i] != '.' && !isdigit((unsigned char)word[i])) return false;
        point = point || (word[i] == '.' && i > 0 && i + 1 < length);
    }
    return point && word[0] != '.';
}

static void find_release(const char *line, char *to, size_t bytes) {
    while (*line != 0) {
        line += strspn(line, " \t\n");
        const size_t length = strcspn(line, " \t\n");
        if (length < bytes && is_release(line, length)) {
            memcpy(to, line, length);
            to[length] = 0;
            return;
        }
        line += length;
    }
}

/* The release stands in the first line, which is about a hundred bytes long. */
void driver_release_read(const char *path, char *to, size_t bytes) {
    char text[512];
    to[0] = 0;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    const ssize_t length = read(file, text, sizeof text - 1);
    (void)close(file);
    text[length > 0 ? length : 0] = 0;
    find_release(text, to, bytes);
}
