/* base/buf.c - bytes that grow by doubling, up to a maximum. See buf.h for how failure is told. */
#include "base/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t max)
{
    memset(b, 0, sizeof *b);
    b->max = max;
}

void buf_free(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max);
}

/* Keeps the memory for the next use. */
void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = b->starved = false;
    if (b->data)
        b->data[0] = 0;
}

/* As buf_clear(), but a large block goes back: one long answer must not be paid for by all that follow. */
void buf_reuse(struct buf *b, size_t most)
{
    if (b->cap > most)
        buf_free(b);
    else
        buf_clear(b);
}

/* Makes room for n more bytes and the NUL behind them. After a failure nothing is added any more, so what the buffer
 * holds is always the beginning of what was written, without a hole. */
static bool reserve(struct buf *b, size_t n)
{
    if (b->failed || n > b->max - b->len) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + n + 1;
    if (need <= b->cap)
        return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    char *p = realloc(b->data, cap);
    if (!p) {
        b->failed = b->starved = true;
        return false;
    }
    b->data = p;
    b->cap = cap;
    return true;
}

/* After each addition a NUL stands behind the bytes, so that text can be used as a string. */
void buf_add(struct buf *b, const void *data, size_t n)
{
    if (!reserve(b, n))
        return;
    if (n)
        memcpy(b->data + b->len, data, n);
    b->len += n;
    b->data[b->len] = 0;
}

void buf_str(struct buf *b, const char *s) { buf_add(b, s, strlen(s)); }

void buf_byte(struct buf *b, char c) { buf_add(b, &c, 1); }

/* The length is measured first, because there is room only for what fits. Text that is being measured must not change
 * until it is written. */
void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        b->failed = b->starved = true;     /* the C library had no memory for it */
    if (n < 0 || !reserve(b, (size_t)n))
        return;
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void buf_fail(struct buf *b, const struct buf *why)
{
    b->failed = true;
    b->starved |= why->starved;
}

/* "out of memory" or the caller's words for "too long", whichever it was. */
int buf_error(const struct buf *b, struct err *e, const char *too_long)
{
    return b->starved ? err_memory(e) : err_set(e, "%s", too_long);
}

/* Gives the caller the bytes, also of a buffer that nothing was added to, and leaves the buffer empty. */
char *buf_take(struct buf *b)
{
    char *p = NULL;
    if (reserve(b, 0)) {
        b->data[b->len] = 0;
        p = b->data;
        b->data = NULL;
    }
    buf_free(b);
    return p;
}
