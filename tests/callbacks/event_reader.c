/* event_reader.c - the format's text, turned into code as plainly as it goes. */
#include "event_reader.h"

#include <string.h>

uint32_t reader_crc32c(const uint8_t *data, size_t bytes) {
    uint32_t crc = UINT32_C(0xFFFFFFFF);
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ UINT32_C(0x82F63B78) : crc >> 1;
    }
    return ~crc;
}

static uint64_t little(const uint8_t *data, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)data[i] << 8 * i;
    return value;
}

static bool checksum_holds(const uint8_t *data, size_t bytes, const uint8_t *stored) {
    const uint32_t crc = reader_crc32c(data, bytes);
    return (uint32_t)little(stored, 4) == (uint32_t)((crc >> 15 | crc << 17) + 0xA282EAD8u);
}

typedef struct field {
    uint64_t number, value; /* of a varint or fixed field */
    const uint8_t *data;    /* of a length-delimited one */
    size_t bytes;
} field;

static bool varint_take(const uint8_t **at, const uint8_t *end, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 64 && *at < end; shift += 7) {
        const uint8_t byte = *(*at)++;
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

static bool field_take(const uint8_t **at, const uint8_t *end, field *f) {
    uint64_t key, bytes = 0;
    *f = (field){0};
    if (!varint_take(at, end, &key)) return false;
    f->number = key >> 3;
    switch (key & 7) {
    case 0: return varint_take(at, end, &f->value);
    case 1: bytes = 8; break;
    case 5: bytes = 4; break;
    case 2:
        if (!varint_take(at, end, &bytes)) return false;
        break;
    default: return false;
    }
    if (bytes > (uint64_t)(end - *at)) return false;
    f->data = *at;
    f->bytes = (size_t)bytes;
    if ((key & 7) != 2) f->value = little(f->data, (int)bytes);
    *at += bytes;
    return true;
}

static bool text_store(char *to, size_t room, const field *f) {
    if (f->bytes >= room) return false;
    memcpy(to, f->data, f->bytes);
    to[f->bytes] = '\0';
    return true;
}

static bool scalar_read(const field *whole, read_scalar *out) {
    const uint8_t *at = whole->data, *end = at + whole->bytes;
    bool tag = false, value = false;
    for (field f; at < end;) {
        if (!field_take(&at, end, &f)) return false;
        if (f.number == 1) tag = text_store(out->tag, sizeof out->tag, &f);
        if (f.number == 2) {
            const uint32_t bits = (uint32_t)f.value;
            memcpy(&out->value, &bits, sizeof bits);
            value = true;
        }
    }
    return tag && value;
}

static bool summary_read(const field *whole, read_event *out) {
    const uint8_t *at = whole->data, *end = at + whole->bytes;
    out->scalar_count = 0;
    for (field f; at < end;) {
        if (!field_take(&at, end, &f) || f.number != 1) return false;
        if (out->scalar_count == READ_SCALARS_MAX) return false;
        if (!scalar_read(&f, &out->scalars[out->scalar_count++])) return false;
    }
    return true;
}

static bool session_read(const field *whole, read_event *out) {
    const uint8_t *at = whole->data, *end = at + whole->bytes;
    for (field f; at < end;) {
        if (!field_take(&at, end, &f)) return false;
        if (f.number == 1) out->session = (int64_t)f.value;
    }
    return true;
}

static bool event_read(const uint8_t *at, size_t bytes, read_event *out) {
    const uint8_t *end = at + bytes;
    *out = (read_event){.scalar_count = -1};
    for (field f; at < end;) {
        if (!field_take(&at, end, &f)) return false;
        if (f.number == 1) memcpy(&out->wall_time, f.data, sizeof out->wall_time);
        if (f.number == 2) out->step = (int64_t)f.value;
        if (f.number == 3 && !text_store(out->version, sizeof out->version, &f)) return false;
        if (f.number == 5 && !summary_read(&f, out)) return false;
        if (f.number == 7 && !session_read(&f, out)) return false;
    }
    return true;
}

int reader_events(const uint8_t *data, size_t bytes, read_event *events, int capacity) {
    int count = 0;
    size_t at = 0;
    while (at < bytes) {
        if (bytes - at < 16 || !checksum_holds(data + at, 8, data + at + 8)) return -1;
        const uint64_t length = little(data + at, 8);
        if (length > bytes - at - 16 || count == capacity) return -1;
        const uint8_t *message = data + at + 12;
        if (!checksum_holds(message, (size_t)length, message + length)) return -1;
        if (!event_read(message, (size_t)length, &events[count++])) return -1;
        at += 16 + (size_t)length;
    }
    return count;
}
