/* server/thoughts.c - see thoughts.h. Thoughts begin where an answer begins, behind blanks, or not at all. */
#include "server/thoughts.h"

#include <string.h>

void thought_tokens_init(struct thought_tokens *t, const struct reasoning_format *format, bool begun)
{
    *t = (struct thought_tokens){ .format = format, .state = begun ? THOUGHTS_INSIDE : THOUGHTS_AWAITED };
}

/* Appends to what was seen; what is too long loses its beginning, which no mark needs any more. */
static void see(struct thought_tokens *t, const char *s, size_t n)
{
    enum { KEPT = THOUGHTS_SEEN / 2 };
    if (n > KEPT) {
        s += n - KEPT;
        n = KEPT;
    }
    if ((size_t)t->n_seen + n > THOUGHTS_SEEN) {
        int kept = t->n_seen < KEPT ? t->n_seen : KEPT;
        memmove(t->seen, t->seen + t->n_seen - kept, (size_t)kept);
        t->n_seen = kept;
    }
    memcpy(t->seen + t->n_seen, s, n);
    t->n_seen += (int)n;
}

/* Before anything but blanks and the beginning of the opening mark was seen. */
static void await_opening(struct thought_tokens *t)
{
    const char *mark = reasoning_format_opening(t->format);
    int blanks = 0, n = (int)strlen(mark);
    while (blanks < t->n_seen && strchr(" \t\r\n", t->seen[blanks]))
        blanks++;
    t->n_seen -= blanks;
    memmove(t->seen, t->seen + blanks, (size_t)t->n_seen);
    if (memcmp(t->seen, mark, (size_t)(t->n_seen < n ? t->n_seen : n)) != 0)
        t->state = THOUGHTS_BEHIND;
    else if (t->n_seen >= n) {
        t->state = THOUGHTS_INSIDE;
        t->n_seen -= n;
        memmove(t->seen, t->seen + n, (size_t)t->n_seen);
    }
}

/* Counts tokens between the marks of the thoughts, which may be cut by tokens anywhere; tokens of the marks themselves
 * do not count. */
void thought_tokens_add(struct thought_tokens *t, const struct engine *g, const int32_t *ids, int n)
{
    const char *end = t->format ? reasoning_format_closing(t->format) : "";
    struct buf  piece;
    buf_init(&piece, 1 << 16);
    for (int i = 0; i < n && t->format && t->state != THOUGHTS_BEHIND; i++) {
        bool inside = t->state == THOUGHTS_INSIDE;
        buf_clear(&piece);
        engine_piece(g, ids[i], &piece);
        see(t, piece.data ? piece.data : "", piece.len);
        if (!inside)
            await_opening(t);
        if (t->state == THOUGHTS_INSIDE && memmem(t->seen, (size_t)t->n_seen, end, strlen(end)))
            t->state = THOUGHTS_BEHIND;
        t->n += inside && t->state == THOUGHTS_INSIDE;
    }
    buf_free(&piece);
}
