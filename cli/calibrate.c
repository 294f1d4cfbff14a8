/* cli/calibrate.c - reads a sample and runs a model over it. See calibrate.h.
 *
 * A file whose first character is { has a JSON object a line, as `compare` reads them: a text, or a chat with images.
 * Any other is one text. Texts are cut into pieces of PIECE tokens, which the model reads each by itself; chats stay
 * whole, up to the model's context. All are kept, and the model reads them in one pass. */
#include "cli/calibrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/compare_lines.h"
#include "selftest/together.h"
#include "selftest/trial.h"

enum { PIECE = 1024, MOST_LINE = 1 << 24, MOST_TEXT = 64 << 20, TOKEN_BYTES = 32, FEW_TOKENS = 1024 };

struct reader {
    struct sample *sample;
    struct lines lines;
    struct piece { struct prompt *p; float *features; } *piece;    /* owned (n_pieces) */
    size_t n_pieces, cap_pieces;
    struct together *part;     /* owned (n_parts): of the pieces' prompts */
    size_t n_parts, cap_parts;
};

/* ---- images ---- */

/* The features of the prompt's images, one after the other; free(). */
static int encode_images(const struct model *m, const struct prompt *p, float **out, struct err *e)
{
    struct trial t;
    int rc = 0;
    if (m->image_kv.layers)
        return err_set(e, "this model sees images by cross-attention, for which there is no calibration: give texts");
    trial_open(&t, m, p->n, F32);
    for (int i = 0; i < p->n_images && rc == 0; i++)
        rc = trial_views(&t, p->images[i].px.data, &p->images[i].plan, e);
    size_t bytes = (size_t)t.pool_first[t.n_images] * (size_t)m->image_row_width * sizeof(float);
    *out = rc == 0 ? malloc(bytes ? bytes : 1) : NULL;
    if (*out)
        memcpy(*out, t.pool, bytes);
    trial_close(&t);
    return *out || rc != 0 ? rc : err_memory(e);
}

/* ---- the file ---- */

/* Takes over the prompt: all of it, or in pieces, until there are as many tokens as are wanted. */
static int add_prompt(struct reader *r, struct prompt *p, bool whole, struct err *e)
{
    const struct model *m = r->lines.m;
    struct sample *s = r->sample;
    int piece = whole || m->context < PIECE ? m->context : PIECE;
    xgrow(&r->piece, &r->cap_pieces, r->n_pieces + 1, sizeof *r->piece);
    struct piece *to = &r->piece[r->n_pieces++];
    *to = (struct piece){ .p = p };
    if (p->n_images && encode_images(m, p, &to->features, e) != 0)
        return -1;
    for (int at = 0, n; at < p->n && s->tokens < s->max_tokens && (at == 0 || !whole); at += n) {
        n = p->n - at < piece ? p->n - at : piece;
        n = n < s->max_tokens - s->tokens ? n : s->max_tokens - s->tokens;
        xgrow(&r->part, &r->cap_parts, r->n_parts + 1, sizeof *r->part);
        r->part[r->n_parts++] = (struct together){ .ids = p->ids + at, .pos = whole ? p->pos : NULL,
                                                   .pos_stride = (size_t)p->n, .n = n, .features = to->features };
        s->tokens += n;
    }
    return 0;
}

/* All lines, or as many as are wanted. */
static int read_lines(struct reader *r, struct err *e)
{
    struct line line;
    int rc = 0;
    while (r->sample->tokens < r->sample->max_tokens && (rc = lines_next(&r->lines, &line, e)) == 1) {
        rc = add_prompt(r, line.prompt, line.chat, e);
        line.prompt = NULL;
        line_free(&line);
        if (rc != 0)
            return err_prefix(e, "%s: line %d", r->sample->path, r->lines.number);
    }
    return rc < 0 ? -1 : 0;
}

/* Is it text at all? Something in it must be no blank. */
static int check_text(const struct buf *text, const char *path, struct err *e)
{
    bool blank = true;
    for (size_t at = 0; at < text->len;) {
        int n;
        if (utf8_get(text->data + at, text->len - at, &n) == 0xFFFD && n == 1)
            return err_set(e, "%s: byte %zu is not UTF-8, so this is no text", path, at);
        blank = blank && strchr(" \t\r\n", text->data[at]);
        at += (size_t)n;
    }
    return blank ? err_set(e, "%s: there is nothing to calibrate with", path) : 0;
}

/* The file as one text, of which no more is read than the wanted tokens can need. */
static int read_text(struct reader *r, struct err *e)
{
    struct lines *l = &r->lines;
    struct prompt *p = NULL;
    struct buf text;
    buf_init(&text, MOST_TEXT);
    int rc = file_must_read(r->sample->path, &text, e);
    if (rc == 0)
        rc = check_text(&text, r->sample->path, e);
    if (rc == 0) {
        size_t enough = (size_t)r->sample->max_tokens * TOKEN_BYTES;
        enough = text.len < enough ? text.len : utf8_complete(text.data, enough);
        p = prompt_from_text(l->m, &l->text, &l->limits, text.data, enough, false, 0, e);
        rc = p ? add_prompt(r, p, false, e) : err_prefix(e, "%s", r->sample->path);
    }
    buf_free(&text);
    return rc;
}

/* Does the file hold JSON? It may be a pipe, which is not read twice. */
static bool has_objects(FILE *f)
{
    int c;
    do
        c = getc(f);
    while (c == ' ' || c == '\t' || c == '\r' || c == '\n');
    if (c != EOF)
        ungetc(c, f);
    return c == '{';
}

static void reader_free(struct reader *r)
{
    for (size_t i = 0; i < r->n_pieces; i++) {
        prompt_free(r->piece[i].p);
        free(r->piece[i].features);
    }
    free(r->piece);
    free(r->part);
    lines_close(&r->lines);
}

int sample_run(void *arg, struct model *m, bool *counts, struct err *e)
{
    struct sample *s = arg;
    struct reader r = { .sample = s };
    int rc = lines_open(&r.lines, s->path, m, s->dir, MOST_LINE, e);
    if (rc == 0)
        rc = has_objects(r.lines.file) ? read_lines(&r, e) : read_text(&r, e);
    if (rc == 0 && s->tokens == 0)
        rc = err_set(e, "%s: there is nothing to calibrate with", s->path);
    if (rc == 0 && s->tokens < FEW_TOKENS)
        log_warn("%s: only %d tokens; some thousands make better weights", s->path, s->tokens);
    s->prompts = (int)r.n_parts;
    *counts = true;
    if (rc == 0 && together_run(m, r.part, s->prompts, e) != 0)
        rc = err_prefix(e, "%s: %d tokens", s->path, s->tokens);
    reader_free(&r);
    return rc;
}
