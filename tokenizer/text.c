#include "tokenizer/text.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

void text_begin(struct text *t)
{
    memset(t, 0, sizeof *t);
    buf_init(&t->bytes, TEXT_MAX);
}

void text_free(struct text *t)
{
    buf_free(&t->bytes);
    free(t->piece);
    t->piece = NULL;
    t->n = t->cap = 0;
}

void text_clear(struct text *t)
{
    buf_clear(&t->bytes);
    t->n = 0;
}

int text_add_piece(struct text *t, struct piece p)
{
    if (t->n == t->cap && grow(&t->piece, &t->cap, t->n + 1, sizeof *t->piece) < 0)
        return -1;
    t->piece[t->n++] = p;
    return 0;
}

struct piece piece_cut(const struct piece *p, uint32_t from, uint32_t to)
{
    uint32_t len = to - from, head = p->head > from ? p->head - from : 0;
    return (struct piece){ p->at + from, len, head < len ? head : len, -1, head > 0 };
}

struct rewrite rewrite_begin(const char *in, const struct piece *p, struct text *out)
{
    return (struct rewrite){ in, p->len, p->head, p->origin, out, out->bytes.len, 0 };
}

void rewrite_add(struct rewrite *w, const char *s, size_t n, size_t from)
{
    bool first = from == REWRITE_START ? w->origin : from < w->head;
    if (first && w->start + w->out_head == w->out->bytes.len)
        w->out_head += n;
    buf_add(&w->out->bytes, s, n);
}

void rewrite_char(struct rewrite *w, uint32_t cp, size_t from)
{
    char u[4];
    rewrite_add(w, u, (size_t)utf8_put(u, cp), from);
}

void rewrite_copy(struct rewrite *w, size_t from, size_t to)
{
    size_t mid = w->head < from ? from : w->head > to ? to : w->head;
    if (mid > from)
        rewrite_add(w, w->in + from, mid - from, from);
    if (to > mid)
        buf_add(&w->out->bytes, w->in + mid, to - mid);
}

struct piece rewrite_end(struct rewrite *w)
{
    return (struct piece){ (uint32_t)w->start, (uint32_t)(w->out->bytes.len - w->start), (uint32_t)w->out_head, -1,
                           w->origin };
}
