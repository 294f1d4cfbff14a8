/* base/buf.h - bytes that grow up to a maximum given at the start.
 *
 * Failure (maximum passed or memory out) sticks: later calls do nothing and
 * buf_ok() is false, so a writer checks once at the end. The bytes always end
 * in a NUL that `len` does not count. */
#ifndef BASE_BUF_H
#define BASE_BUF_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct buf {
    char  *data;    /* owned; NULL while empty */
    size_t len;     /* bytes in use, without the NUL */
    size_t cap;     /* bytes that `data` has room for */
    size_t max;     /* most bytes that `len` may become */
    bool   failed;  /* the maximum was passed, or memory ran out */
    bool   starved; /* it failed because memory ran out */
};

void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b); /* also resets to empty with the same maximum */
void buf_clear(struct buf *b); /* empty again, memory kept, failure forgotten */
void buf_add(struct buf *b, const void *data, size_t n);
void buf_str(struct buf *b, const char *s);
void buf_byte(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_reuse(struct buf *b, size_t most); /* buf_clear(), but more than `most` bytes of memory are not kept */
char *buf_take(struct buf *b); /* the bytes become the caller's (free()); NULL if failed */

void buf_fail(struct buf *b, const struct buf *why); /* what was to be added is not there: fails as `why` did */
int  buf_error(const struct buf *b, struct err *e, const char *too_long); /* why it failed; -1 */

static inline bool buf_ok(const struct buf *b) { return !b->failed; }

#endif
