/* engine/detok.c - see detok.h. New bytes are collected in `held` and leave it when it is certain that they belong to
 * the answer: when they end no character in its middle, and when they cannot be the beginning of a stop string. Most
 * tokenizers give a token's bytes whatever stands beside it; for the others the last tokens are decoded together each
 * time. */
#include "engine/detok.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { MAX_TEXT = 1 << 26, TAIL = 24 };

/* -1: memory is out. Everything may be freed all the same. */
int detok_init(struct detok *d, const struct tokenizer *t, const struct params *p)
{
    *d = (struct detok){ .t = t, .stop = p->stop, .n_stop = p->n_stop, .keep_special = p->keep_special_tokens,
                         .include_stop = p->include_stop, .least = p->min_tokens };
    for (int i = 0; i < ENGINE_MAX_SHOWN && p->shown[i]; i++) {
        int32_t id = tokenizer_id(t, p->shown[i]);
        if (id >= 0)
            d->shown[d->n_shown_ids++] = id;
    }
    buf_init(&d->held, MAX_TEXT);
    if (!tokenizer_streams(t))
        d->tail = malloc(TAIL * sizeof *d->tail);
    return d->tail || tokenizer_streams(t) ? 0 : -1;
}

void detok_free(struct detok *d)
{
    buf_free(&d->held);
    free(d->tail);
    d->tail = NULL;
}

/* Whether a token has no text in the answer: special tokens, but not those that mark calls and thoughts, which output/
 * has to see. */
static bool is_hidden(const struct detok *d, int32_t id)
{
    if (d->keep_special || !tokenizer_is_special(d->t, id))
        return false;
    for (int i = 0; i < d->n_shown_ids; i++)
        if (d->shown[i] == id)
            return false;
    return true;
}

/* Where the text of a token depends on its neighbours: the text of the last few tokens minus the text of those that are
 * shown already. An unfinished sequence at its end (U+FFFD) waits for more, unless `all`. */
static void show_tail(struct detok *d, bool all)
{
    enum { PATIENCE = 8 };             /* tokens that one code point may take */
    struct buf before, after;
    struct err e = { 0 };
    buf_init(&before, MAX_TEXT);
    buf_init(&after, MAX_TEXT);
    if (tokenizer_decode(d->t, d->tail, (size_t)d->n_shown, false, &before, &e) < 0 ||
        tokenizer_decode(d->t, d->tail, (size_t)d->n_tail, false, &after, &e) < 0) {
        d->held.failed = true;
        d->held.starved |= e.status == 503;
    }
    bool unfinished = after.len >= 3 && memcmp(after.data + after.len - 3, "\xef\xbf\xbd", 3) == 0;
    if (after.len > before.len && (!unfinished || all || d->n_tail - d->n_shown > PATIENCE)) {
        buf_add(&d->held, after.data + before.len, after.len - before.len);
        d->n_shown = d->n_tail;
    }
    buf_free(&before);
    buf_free(&after);
}

/* Remembers one more token of the text, and shows what it has made certain. */
static void add_in_context(struct detok *d, int32_t id)
{
    if (d->n_tail == TAIL) {           /* forget the older half; nothing there can still be waiting */
        memmove(d->tail, d->tail + TAIL / 2, (size_t)(TAIL - TAIL / 2) * sizeof *d->tail);
        d->n_tail -= TAIL / 2;
        d->n_shown = d->n_shown > TAIL / 2 ? d->n_shown - TAIL / 2 : 0;
    }
    d->tail[d->n_tail++] = id;
    show_tail(d, false);
}

/* The stop string that is complete earliest in the held bytes, and where it begins. NULL: there is none yet, and *at is
 * the end. */
static const char *find_stop(const struct detok *d, size_t *at)
{
    const char *found = NULL;
    *at = d->held.len;
    for (int i = 0; i < d->n_stop && d->held.len; i++) {
        const char *p = memmem(d->held.data, d->held.len, d->stop[i], strlen(d->stop[i]));
        if (p && (size_t)(p - d->held.data) < *at) {
            *at = (size_t)(p - d->held.data);
            found = d->stop[i];
        }
    }
    return found;
}

/* How many held bytes can go: not those that may turn out to begin a stop string. */
static size_t sendable(const struct detok *d)
{
    size_t end = d->held.len;
    for (int i = 0; i < d->n_stop; i++) {
        size_t n = strlen(d->stop[i]);
        for (size_t k = n - 1 < d->held.len ? n - 1 : d->held.len; k > 0; k--)
            if (memcmp(d->held.data + d->held.len - k, d->stop[i], k) == 0) {
                end = d->held.len - k < end ? d->held.len - k : end;
                break;
            }
    }
    return utf8_complete(d->held.data, end);
}

/* Moves the first n held bytes to `out`. Bytes that are no UTF-8 become replacement characters: what leaves here is
 * text. */
static void send(struct detok *d, size_t n, struct buf *out)
{
    if (!n)
        return;
    char *clean = malloc(3 * n);
    if (!clean) {
        out->failed = out->starved = true;
        return;
    }
    buf_add(out, clean, utf8_sanitize(clean, d->held.data, n));
    free(clean);
    memmove(d->held.data, d->held.data + n, d->held.len - n);
    d->held.len -= n;
}

/* What is new goes to the end of what is held. A stop string there ends the text; otherwise all is sent but what might
 * still become a stop string or is a part of a character. Memory that ran out in `held` makes `out` fail too. */
const char *detok_add(struct detok *d, int32_t id, struct buf *out)
{
    if (!d->tail) {
        if (!is_hidden(d, id))
            tokenizer_piece(d->t, id, &d->held);
    } else if (!is_hidden(d, id))
        add_in_context(d, id);
    if (!buf_ok(&d->held)) {
        buf_fail(out, &d->held);
        return NULL;
    }
    size_t at;
    const char *stop = d->least > 0 ? NULL : find_stop(d, &at);
    d->least -= d->least > 0;
    if (stop) {
        send(d, d->include_stop ? at + strlen(stop) : at, out);
        d->held.len = 0;
        return stop;
    }
    if (d->held.len)
        send(d, sendable(d), out);
    return NULL;
}

/* Nothing more will come: what was held back for a stop string is text after all, and an unfinished character becomes
 * U+FFFD. */
void detok_end(struct detok *d, struct buf *out)
{
    if (d->tail && d->n_shown < d->n_tail)
        show_tail(d, true);
    if (!buf_ok(&d->held))
        buf_fail(out, &d->held);
    send(d, d->held.len, out);
}
