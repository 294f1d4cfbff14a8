/* server/sse.h - the framing of server-sent events.
 *
 * An event is one line "data: ..." and an empty line. JSON written by reply.c
 * has no line breaks, so it needs no escaping here. */
#ifndef SERVER_SSE_H
#define SERVER_SSE_H
#include "base/buf.h"

static inline void sse_begin(struct buf *out) { buf_str(out, "data: "); }
static inline void sse_end(struct buf *out) { buf_str(out, "\n\n"); }
static inline void sse_done(struct buf *out) { buf_str(out, "data: [DONE]\n\n"); }
static inline void sse_comment(struct buf *out, const char *text) { buf_printf(out, ": %s\n\n", text); }

#endif
