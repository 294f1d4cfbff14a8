/* tokenizer/text.c - see text.h. */
#include "tokenizer/text.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* Short texts may grow more than long ones, as a normal form may make eighteen characters of one; nobody has a long
 * text of these alone. */
struct effort effort_for(size_t n, size_t spare)
{
    enum { LONG = 1 << 20, SHORT_GROWTH = 16, LONG_GROWTH = 4, STAGES = 128, SPARE_STAGES = 16 };
    size_t some = n < LONG ? n : LONG, stage = some * SHORT_GROWTH + (n - some) * LONG_GROWTH + spare;
    return (struct effort){ stage < TEXT_MAX ? stage : TEXT_MAX, n * STAGES + spare * SPARE_STAGES };
}

bool effort_spend(struct effort *e, size_t n)
{
    bool enough = n <= e->left;
    e->left = enough ? e->left - n : 0;
    return enough;
}

int effort_error(struct err *e) { return err_set(e, "the model's tokenizer makes too much of this text"); }

void text_begin(struct text *t, struct effort *effort)
{
    memset(t, 0, sizeof *t);
    t->effort = effort;
    buf_init(&t->bytes, effort->stage);
    buf_init(&t->from, effort->stage);
}

void text_free(struct text *t)
{
    buf_free(&t->bytes);
    buf_free(&t->from);
    free(t->piece);
    t->piece = NULL;
    t->n = t->cap = 0;
}

void text_clear(struct text *t)
{
    buf_clear(&t->bytes);
    buf_clear(&t->from);
    t->n = 0;
}

int text_add_piece(struct text *t, struct piece p)
{
    if (t->n == t->cap && grow(&t->piece, &t->cap, t->n + 1, sizeof *t->piece) < 0)
        return -1;
    t->piece[t->n++] = p;
    return 0;
}

void text_take_pieces(struct text *t, struct text *spare)
{
    struct piece *old = t->piece;
    size_t cap = t->cap;
    t->piece = spare->piece;
    t->n = spare->n;
    t->cap = spare->cap;
    spare->piece = old;
    spare->cap = cap;
    spare->n = 0;
}

int text_error(const struct text *t, struct err *e)
{
    return t->bytes.failed && !t->bytes.starved ? effort_error(e) : err_memory(e);
}

/* The head of the part is what falls into it of the piece's head; the part stands where the original begins if its
 * first byte does. */
struct piece piece_cut(const struct piece *p, uint32_t from, uint32_t to)
{
    uint32_t len = to - from, head = p->head > from ? p->head - from : 0;
    return (struct piece){ p->at + from, len, head < len ? head : len, -1, head > 0 };
}

struct rewrite rewrite_begin(const char *in, const uint8_t *from, const struct piece *p, struct text *out)
{
    return (struct rewrite){ in, from, p->len, p->head, p->origin, out, out->bytes.len, 0 };
}

/* Adds n bytes of one origin to the origins of the output. */
static void add_origin(struct rewrite *w, enum origin origin, size_t n)
{
    static const char all[3][64] = { { 0 }, { [0 ... 63] = FROM_REQUEST }, { [0 ... 63] = FROM_OTHERS } };
    for (size_t some; n; n -= some) {
        some = n < sizeof all[0] ? n : sizeof all[0];
        buf_add(&w->out->from, all[origin], some);
    }
}

/* Adds bytes to the output and, where it is traced, their origin. `first`: they stand for the first character of the
 * original. They count for the head only as long as nothing else stands before them. */
static void add_as(struct rewrite *w, const char *s, size_t n, bool first, enum origin origin)
{
    if (first && w->start + w->out_head == w->out->bytes.len)
        w->out_head += n;
    buf_add(&w->out->bytes, s, n);
    if (w->from)
        add_origin(w, origin, n);
}

/* A byte that was put in has the origin of the input's byte that it stands for. */
void rewrite_add(struct rewrite *w, const char *s, size_t n, size_t from)
{
    if (from == REWRITE_START)
        add_as(w, s, n, w->origin, FROM_TEMPLATE);
    else
        add_as(w, s, n, from < w->head, w->from && from < w->n ? w->from[from] : FROM_TEMPLATE);
}

/* Of several bytes the greatest origin counts; with none, the new bytes go with the byte before them. */
void rewrite_for(struct rewrite *w, const char *s, size_t n, size_t at, size_t end)
{
    if (end > at)
        add_as(w, s, n, end - 1 < w->head, w->from ? origin_most(w->from + at, end - at) : FROM_TEMPLATE);
    else
        rewrite_add(w, s, n, end ? end - 1 : REWRITE_START);
}

void rewrite_char(struct rewrite *w, uint32_t cp, size_t from)
{
    char u[4];
    rewrite_add(w, u, (size_t)utf8_put(u, cp), from);
}

/* The part of the head that is among the bytes is copied on its own. add_as() makes room for the origins, and then
 * the real ones of the input are put there. */
void rewrite_copy(struct rewrite *w, size_t from, size_t to)
{
    size_t mid = w->head > to ? to : w->head;
    if (w->head < from)
        mid = from;
    if (mid > from)
        add_as(w, w->in + from, mid - from, true, FROM_TEMPLATE);
    if (to > mid)
        add_as(w, w->in + mid, to - mid, false, FROM_TEMPLATE);
    if (w->from && to > from && buf_ok(&w->out->from))
        memcpy(w->out->from.data + w->out->from.len - (to - from), w->from + from, to - from);
}

/* Reading the input and making the output are both charged here, once for the whole piece. */
struct piece rewrite_end(struct rewrite *w)
{
    if (!effort_spend(w->out->effort, w->n + w->out->bytes.len - w->start))
        w->out->bytes.failed = true;
    return (struct piece){ (uint32_t)w->start, (uint32_t)(w->out->bytes.len - w->start), (uint32_t)w->out_head, -1,
                           w->origin };
}
