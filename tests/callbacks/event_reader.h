/* event_reader.h - reads event files by the letter of their format, without the library under test:
 * the framing with a bitwise crc32c, the messages as bare protobuf fields. */
#ifndef QUERN_TESTS_CALLBACKS_EVENT_READER_H
#define QUERN_TESTS_CALLBACKS_EVENT_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { READ_SCALARS_MAX = 16 };

typedef struct read_scalar {
    char tag[64];
    float value;
} read_scalar;

typedef struct read_event {
    double wall_time;
    int64_t step;
    char version[32]; /* "" when it has none */
    int64_t session;  /* status of the session log, 0 when it has none */
    int scalar_count; /* -1: no summary */
    read_scalar scalars[READ_SCALARS_MAX];
} read_event;

uint32_t reader_crc32c(const uint8_t *data, size_t bytes);

/* Events of a whole file; -1 when a length, a checksum or a message is wrong or bytes are left. */
int reader_events(const uint8_t *data, size_t bytes, read_event *events, int capacity);

#endif
