#include "message.h"

#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PART_NS INT64_C(1000000000)
#define MAGIC UINT32_C(0x31524e51) /* "QNR1" */

static void put(unsigned char *to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) to[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get(const unsigned char *from, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)from[i] << (8 * i);
    return value;
}

static void encode(unsigned char to[MESSAGE_HEADER_BYTES], const message *m) {
    put(to, MAGIC, 4);
    put(to + 4, m->kind, 4);
    put(to + 8, m->rank, 4);
    put(to + 12, m->size, 4);
    to[16] = m->collective;
    to[17] = m->dtype;
    to[18] = m->reduction;
    to[19] = m->code;
    put(to + 20, m->bytes, 4);
    put(to + 24, m->sequence, 8);
    put(to + 32, m->count, 8);
}

static void decode(message *m, const unsigned char from[MESSAGE_HEADER_BYTES]) {
    *m = (message){
        .kind = (uint32_t)get(from + 4, 4),
        .rank = (uint32_t)get(from + 8, 4),
        .size = (uint32_t)get(from + 12, 4),
        .collective = from[16],
        .dtype = from[17],
        .reduction = from[18],
        .code = from[19],
        .bytes = (uint32_t)get(from + 20, 4),
        .sequence = get(from + 24, 8),
        .count = get(from + 32, 8),
    };
}

static int64_t now_of(const peer *p) { return p->clock->monotonic_ns(p->clock->self); }

static quern_status fail_with(const peer *p, int64_t returned, const char *doing) {
    if (returned == 0)
        return quern_fail(QUERN_PEER_LOST, "%s: %s has closed the connection", doing, p->name);
    if (returned == -(int64_t)ETIMEDOUT)
        return quern_fail(QUERN_PEER_LOST, "%s: %s was silent for %.3g s", doing, p->name,
                          (double)p->timeout_ns / 1e9);
    return quern_fail(QUERN_PEER_LOST, "%s: %s is gone: %s", doing, p->name,
                      error_cause_of(returned).text);
}

static int64_t move(const peer *p, char *at, size_t bytes, int64_t left, bool sending) {
    if (sending) return p->net->send(p->net->self, p->handle, at, bytes, left);
    return p->net->receive(p->net->self, p->handle, at, bytes, left);
}

/* The limit is that of the whole block: who sends a byte now and then is silent too. */
static quern_status move_all(const peer *p, char *at, size_t bytes, bool sending,
                             const char *doing) {
    const int64_t deadline = now_of(p) + p->timeout_ns;
    while (bytes > 0) {
        const int64_t left = deadline - now_of(p);
        const int64_t moved = left > 0 ? move(p, at, bytes, left, sending) : -(int64_t)ETIMEDOUT;
        if (moved == -(int64_t)EINTR) continue;
        if (moved <= 0 || (uint64_t)moved > bytes) return fail_with(p, moved, doing);
        at += moved;
        bytes -= (size_t)moved;
    }
    return QUERN_OK;
}

quern_status peer_send(const peer *p, const void *from, size_t bytes, const char *doing) {
    return move_all(p, (char *)(uintptr_t)from, bytes, true, doing);
}

quern_status peer_receive(const peer *p, void *to, size_t bytes, const char *doing) {
    return move_all(p, to, bytes, false, doing);
}

quern_status message_send(const peer *p, const message *m, const void *payload, const char *doing) {
    unsigned char header[MESSAGE_HEADER_BYTES];
    encode(header, m);
    QUERN_TRY(peer_send(p, header, sizeof header, doing));
    return peer_send(p, payload, m->bytes, doing);
}

void message_part(const peer *p, message_kind kind, quern_status status, const char *sentence) {
    peer hasty = *p;
    error_text before;
    const size_t length = sentence != NULL ? strnlen(sentence, MESSAGE_WORDS_MAX) : 0;
    const message m = {.kind = kind, .code = (uint8_t)status, .bytes = (uint32_t)length};
    error_save(&before);
    if (hasty.timeout_ns > PART_NS) hasty.timeout_ns = PART_NS;
    if (message_send(&hasty, &m, sentence, "parting") != QUERN_OK) error_restore(&before);
}

static quern_status take_header(const peer *p, message *out,
                                const unsigned char header[MESSAGE_HEADER_BYTES], uint32_t most,
                                const char *doing) {
    if (get(header, 4) != MAGIC)
        return quern_fail(QUERN_PEER_LOST,
                          "%s: %s does not speak Quern's protocol (its first bytes: %02x %02x %02x "
                          "%02x)",
                          doing, p->name, header[0], header[1], header[2], header[3]);
    decode(out, header);
    if (out->bytes <= most) return QUERN_OK;
    return quern_fail(QUERN_PEER_LOST, "%s: %s announces %u bytes where at most %u belong", doing,
                      p->name, (unsigned)out->bytes, (unsigned)most);
}

quern_status message_receive(const peer *p, message *out, uint32_t most, const char *doing) {
    unsigned char header[MESSAGE_HEADER_BYTES];
    QUERN_TRY(peer_receive(p, header, sizeof header, doing));
    return take_header(p, out, header, most, doing);
}

quern_status message_look(const peer *p, message *out, bool *out_there, uint32_t most,
                          const char *doing) {
    unsigned char header[MESSAGE_HEADER_BYTES];
    const int64_t found = p->net->receive(p->net->self, p->handle, header, sizeof header, 0);
    *out_there = false;
    if (found == -(int64_t)ETIMEDOUT || found == -(int64_t)EINTR) return QUERN_OK;
    if (found <= 0 || found > (int64_t)sizeof header) return fail_with(p, found, doing);
    *out_there = true;
    QUERN_TRY(peer_receive(p, header + found, sizeof header - (size_t)found, doing));
    return take_header(p, out, header, most, doing);
}

quern_status message_words(const peer *p, const message *m, char *to, size_t size,
                           const char *doing) {
    char words[MESSAGE_WORDS_MAX] = {0};
    const size_t bytes = m->bytes < sizeof words ? m->bytes : sizeof words;
    QUERN_TRY(peer_receive(p, words, bytes, doing));
    const size_t kept = bytes < size ? bytes : size - 1;
    for (size_t i = 0; i < kept; i++) to[i] = words[i] >= 0x20 && words[i] < 0x7f ? words[i] : '?';
    to[kept] = 0;
    return QUERN_OK;
}

void peer_close(peer *p) {
    if (p->handle >= 0) (void)p->net->close(p->net->self, p->handle);
    p->handle = -1;
}
