/* cli/stream.h - a streamed answer of any server that speaks OpenAI's API, and when its parts came.
 *
 *     struct stream_answer a;
 *     stream_begin(&a, now);
 *     stream_take(&a, bytes, n, now);             // as they come, cut anywhere
 *     stream_end(&a, status, &e);                 // -1: it is no whole answer, and e says why
 *     stream_free(&a); */
#ifndef CLI_STREAM_H
#define CLI_STREAM_H
#include <stdbool.h>

#include "base/buf.h"

enum { STREAM_LINE = 4 << 20, STREAM_GAPS = 1 << 20 };     /* most bytes of an event; most gaps that are kept */

struct stream_answer {
    double began, first, last;     /* seconds: of the request, of the first and the last piece of text; 0: none */
    int    pieces;                 /* events with text, thoughts or calls                   */
    int    prompt_tokens, completion_tokens;       /* as the server counts them; -1: it has not said */
    bool   finished;               /* a reason to finish came                               */
    bool   done;                   /* [DONE] came                                           */
    struct buf line;               /* the event that is still coming; all of a body that is no stream */
    struct buf fault;              /* what the server says is wrong                         */
    float *gap;                    /* owned, (n_gaps): seconds between two pieces           */
    size_t n_gaps, cap_gaps;
};

void stream_begin(struct stream_answer *a, double now);
/* -1: an event is too long, or memory is out. */
int  stream_take(struct stream_answer *a, const void *data, size_t n, double now);
int  stream_end(struct stream_answer *a, int status, struct err *e);
void stream_free(struct stream_answer *a);

#endif
