/* server/framing.h - where the body of a request ends: after so many bytes, or
 * after its last chunk and the trailers.
 *
 * Bytes go in as they arrive, in pieces of any size; pieces of the body come
 * out, nothing is copied. Chunks are read as strictly as heads (see head.h):
 * a size is hexadecimal digits and nothing else, every line ends in CR LF. What
 * extensions and trailers say is checked for its form and then forgotten. */
#ifndef SERVER_FRAMING_H
#define SERVER_FRAMING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum {
    CHUNK_LINE_BYTES = 4096,   /* longest line with a chunk's size and extensions, or trailer */
    TRAILER_BYTES    = 16384,  /* all trailers together                                    */
};

struct framing {
    enum { FRAMING_DONE, FRAMING_LENGTH, FRAMING_SIZE, FRAMING_CHUNK, FRAMING_CHUNK_END, FRAMING_TRAILER } state;
    uint64_t left;             /* bytes of the body, or of this chunk, that have not come  */
    size_t   trailers;         /* bytes of trailers that have come                         */
    size_t   n_line;           /* bytes in `line`                                          */
    char     line[CHUNK_LINE_BYTES];         /* the line between chunks that is arriving   */
};

/* No body at all is a length of 0. */
void framing_begin(struct framing *f, bool chunked, uint64_t length);

static inline bool framing_done(const struct framing *f) { return f->state == FRAMING_DONE; }

/* Takes some of the n > 0 bytes that came and returns how many. Those of them
 * that belong to the body are *body (n_body of them, or none). -1: these are no
 * chunks, and where the body ends cannot be known. */
ssize_t framing_take(struct framing *f, const char *bytes, size_t n, const char **body, size_t *n_body, struct err *e);

#endif
