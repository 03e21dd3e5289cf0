/* message.h - what ranks say to each other: a header of 40 bytes, behind it the bytes that it
 * announces. Whoever reads knows the most that it will take; a header that is none of ours, too
 * many bytes, silence beyond the limit and a closed connection are a failure, PEER_LOST, each with
 * a sentence that names the rank. Integers are little-endian. */
#ifndef QUERN_BASE_MESSAGE_H
#define QUERN_BASE_MESSAGE_H

#include "sockets.h"
#include <quern/host.h>

typedef enum message_kind {
    MESSAGE_HELLO = 1, /* to rank 0: rank, size, backend */
    MESSAGE_WELCOME,   /* from rank 0, when all are there: the id of the group */
    MESSAGE_REFUSED,   /* from rank 0: a sentence */
    MESSAGE_CALL,      /* to rank 0: which collective; the data follow it */
    MESSAGE_PIECE,     /* from rank 0: a part of the result */
    MESSAGE_FAILED,    /* from rank 0: a sentence */
    MESSAGE_LEAVING,   /* the last word of a rank that leaves in order */
} message_kind;

#define MESSAGE_VERSION 1
enum { MESSAGE_HEADER_BYTES = 40 };

typedef struct message {
    uint32_t kind;
    uint32_t rank;                        /* of the sender */
    uint32_t size;                        /* of the world; broadcast: the root */
    uint8_t collective, dtype, reduction; /* of a call */
    uint8_t code;                         /* hello: the backend; refused, failed: the status */
    uint32_t bytes;                       /* that follow */
    uint64_t sequence;                    /* of the call, from 1 */
    uint64_t count;                       /* of its elements */
} message;

/* One connection to one rank. */
typedef struct peer {
    const sockets *net;
    const quern_clock *clock;
    int64_t handle;     /* -1: none */
    int64_t timeout_ns; /* for one message, or one block of data */
    char name[80];      /* "rank 2", or "10.0.0.7:51334" before it is known */
} peer;

/* `doing` is what the sentence says failed: "rank 2 is gone in all_reduce 7: …". */
QUERN_MUST_CHECK quern_status peer_send(const peer *p, const void *from, size_t bytes,
                                        const char *doing);
QUERN_MUST_CHECK quern_status peer_receive(const peer *p, void *to, size_t bytes,
                                           const char *doing);

/* The header and `m->bytes` bytes. */
QUERN_MUST_CHECK quern_status message_send(const peer *p, const message *m, const void *payload,
                                           const char *doing);
/* For the last words to a peer: a message of this kind, with `sentence` (may be NULL) behind it. A
 * second is all it may take; who cannot be told finds the connection closed. This thread's own
 * sentence stays. */
void message_part(const peer *p, message_kind kind, quern_status status, const char *sentence);
/* The header alone; what it announces, at most `most` bytes, is read by peer_receive. */
QUERN_MUST_CHECK quern_status message_receive(const peer *p, message *out, uint32_t most,
                                              const char *doing);
/* The same, but *out_there is false where no message has begun to arrive. */
QUERN_MUST_CHECK quern_status message_look(const peer *p, message *out, bool *out_there,
                                           uint32_t most, const char *doing);
/* After a header that announces words: reads them, cut at `size`, with what does not print
 * replaced. */
QUERN_MUST_CHECK quern_status message_words(const peer *p, const message *m, char *to, size_t size,
                                            const char *doing);
/* The most that a message of words may hold. */
enum { MESSAGE_WORDS_MAX = 900 };

void peer_close(peer *p);

#endif
