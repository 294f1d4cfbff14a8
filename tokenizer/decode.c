/* tokenizer/decode.c - see decode.h.
 *
 * A decoder is a list of steps; each makes a new list of strings out of the one before it. Both lists are the pieces
 * of a struct text, whose other fields nobody needs here. */
#include "tokenizer/decode.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/bytelevel.h"
#include "tokenizer/fields.h"
#include "tokenizer/replace.h"

enum step_type { STEP_BYTELEVEL, STEP_BYTEFALLBACK, STEP_FUSE, STEP_STRIP, STEP_REPLACE, STEP_METASPACE,
                 STEP_BPE };

/* One step, with the fields that its type uses. */
struct decode_step {
    enum step_type type;
    uint32_t cp;             /* Strip's character, Metaspace's replacement    */
    int64_t  start, stop;    /* Strip                                         */
    bool     flag;           /* Metaspace: the first token loses its marks */
    bool     fused;          /* everything is one string by now               */
    char    *suffix;         /* owned; BPEDecoder's suffix                    */
    size_t   suffix_len;
    struct replace *replace; /* owned                                         */
};

struct token_decoder {
    struct decode_step *step; /* owned, (n); none: the tokens are joined by spaces */
    size_t n, cap;
    bool   streams;    /* see decoder_streams()                             */
    bool   any;        /* the file has a decoder                            */
};

enum { MAX_STEPS = 64, MAX_DEPTH = 8 };

/* The state of one run. */
struct run {
    bool inner;                /* see decoder_run()                         */
    struct regex_match *match; /* owned; NULL until a Replace needs it      */
    struct err *e;             /* borrowed                                  */
};

/* ---- the steps: pieces of `in` to pieces of `out` ---- */

/* Adds a string to the pieces of out. Returns -1 when the memory runs out; whether the bytes fit, the caller of the
 * step asks in the end. */
static int add(struct text *out, const char *s, size_t n)
{
    uint32_t at = (uint32_t)out->bytes.len;
    buf_add(&out->bytes, s, n);
    return text_add_piece(out, (struct piece){ at, (uint32_t)n, 0, -1, false });
}

static const char *bytes_of(const struct text *t, size_t i) { return t->bytes.data + t->piece[i].at; }

/* The bytes of a buffer, which has none before something is added. */
static const char *text_of(const struct buf *b) { return b->data ? b->data : ""; }

/* Adds bytes as text: what is no valid UTF-8 becomes U+FFFD. */
static int add_lossy(struct text *out, const char *s, size_t n)
{
    char *clean = malloc(3 * n + 1);
    if (!clean)
        return -1;
    int rc = add(out, clean, utf8_sanitize(clean, s, n));
    free(clean);
    return rc;
}

/* ByteLevel: all tokens become one string of the bytes that their characters stand for. A token with a character that
 * stands for none is taken as it is. At the start of a text malformed UTF-8 becomes U+FFFD; inside a text it stays,
 * as the next token may complete it. */
static int bytelevel(struct run *r, const struct text *in, struct text *out)
{
    struct buf raw;
    char *one = NULL;
    size_t cap = 0;
    int rc = 0;
    buf_init(&raw, TEXT_MAX);
    for (size_t i = 0; i < in->n && rc == 0; i++) {
        size_t n = in->piece[i].len;
        if ((rc = grow(&one, &cap, n + 1, 1)) < 0)
            break;
        long k = bytelevel_decode(one, bytes_of(in, i), n);
        buf_add(&raw, k < 0 ? bytes_of(in, i) : one, k < 0 ? n : (size_t)k);
    }
    if (rc == 0 && buf_ok(&raw))
        rc = r->inner ? add(out, raw.data, raw.len) : add_lossy(out, text_of(&raw), raw.len);
    else
        rc = -1;
    free(one);
    buf_free(&raw);
    return rc;
}

/* The byte of a token such as <0x41>, or -1 where it is none. The reference's parser takes a plus sign for a digit,
 * and so <0x+4> is the byte 4. */
static int byte_token(const char *s, size_t n)
{
    if (n != 6 || memcmp(s, "<0x", 3) || s[5] != '>')
        return -1;
    int high = s[3] == '+' ? 0 : hex_digit(s[3]), low = hex_digit(s[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Adds the text of a run of byte tokens and empties the run. Where the bytes are no valid UTF-8, each becomes one
 * U+FFFD, but inside a text they stay as they are. */
static int flush_bytes(struct run *r, struct text *out, struct buf *run)
{
    int rc = buf_ok(run) ? 0 : -1, len;
    bool valid = true;
    for (size_t i = 0; i < run->len && valid; i += (size_t)len)
        valid = !(utf8_get(run->data + i, run->len - i, &len) == 0xfffd && len == 1);
    if (rc == 0 && run->len && (valid || r->inner))
        rc = add(out, run->data, run->len);
    for (size_t i = 0; !valid && !r->inner && i < run->len && rc == 0; i++)
        rc = add(out, "\xef\xbf\xbd", 3);
    buf_clear(run);
    return rc;
}

/* ByteFallback: tokens such as <0x41> become bytes; runs of them become text together, as a character may take
 * several. */
static int bytefallback(struct run *r, const struct text *in, struct text *out)
{
    struct buf run;
    int rc = 0;
    buf_init(&run, TEXT_MAX);
    for (size_t i = 0; i < in->n && rc == 0; i++) {
        int b = byte_token(bytes_of(in, i), in->piece[i].len);
        if (b >= 0)
            buf_byte(&run, (char)b);
        else if ((rc = flush_bytes(r, out, &run)) == 0)
            rc = add(out, bytes_of(in, i), in->piece[i].len);
    }
    if (rc == 0)
        rc = flush_bytes(r, out, &run);
    buf_free(&run);
    return rc;
}

/* Strip: cuts the character s->cp off the start at most s->start times and off the end at most s->stop times. */
static int strip(const struct decode_step *s, const char *p, size_t n, struct text *out)
{
    char c[4];
    size_t len = (size_t)utf8_put(c, s->cp), from = 0, to = n;
    for (int64_t i = 0; i < s->start && to - from >= len && !memcmp(p + from, c, len); i++)
        from += len;
    for (int64_t i = 0; i < s->stop && to - from >= len && !memcmp(p + to - len, c, len); i++)
        to -= len;
    return add(out, p + from, to - from);
}

/* Metaspace: the mark s->cp becomes a space. In the first token of a text whose scheme puts a mark in front, marks
 * vanish instead. */
static int metaspace(const struct decode_step *s, const char *p, size_t n, bool first, struct text *out)
{
    uint32_t at = (uint32_t)out->bytes.len;
    int len;
    for (size_t i = 0; i < n; i += (size_t)len) {
        if (utf8_get(p + i, n - i, &len) != s->cp)
            buf_add(&out->bytes, p + i, (size_t)len);
        else if (!(first && s->flag))
            buf_byte(&out->bytes, ' ');
    }
    return text_add_piece(out, (struct piece){ at, (uint32_t)(out->bytes.len - at), 0, -1, false });
}

/* Replaces all places in b where the n bytes of `what` stand by `with`. A failure shows in b, as with any addition to
 * it. */
static void substitute(struct buf *b, const char *what, size_t n, const char *with)
{
    struct buf out;
    const char *at = b->data, *end = b->data + b->len, *hit;
    if (!b->len || !n || !memmem(at, b->len, what, n))
        return;
    buf_init(&out, b->max);
    while ((hit = memmem(at, (size_t)(end - at), what, n))) {
        buf_add(&out, at, (size_t)(hit - at));
        buf_str(&out, with);
        at = hit + n;
    }
    buf_add(&out, at, (size_t)(end - at));
    buf_free(b);
    *b = out;
}

/* BPEDecoder: the suffix that ends a word becomes a space, or nothing in the last token. An empty suffix stands
 * between all characters, as in Rust's replace(). */
static int bpe(const struct decode_step *s, const char *p, size_t n, bool last, struct text *out)
{
    struct buf b;
    int len;
    buf_init(&b, TEXT_MAX);
    if (s->suffix_len) {
        buf_add(&b, p, n);
        substitute(&b, s->suffix, s->suffix_len, last ? "" : " ");
    } else {
        buf_str(&b, last ? "" : " ");
        for (size_t i = 0; i < n; i += (size_t)len) {
            utf8_get(p + i, n - i, &len);
            buf_add(&b, p + i, (size_t)len);
            buf_str(&b, last ? "" : " ");
        }
    }
    int rc = buf_ok(&b) ? add(out, b.data, b.len) : -1;
    buf_free(&b);
    return rc;
}

/* Fuse: all tokens become one string. */
static int fuse(const struct text *in, struct text *out)
{
    for (size_t i = 0; i < in->n; i++)
        buf_add(&out->bytes, bytes_of(in, i), in->piece[i].len);
    return text_add_piece(out, (struct piece){ 0, (uint32_t)out->bytes.len, 0, -1, false });
}

/* Replace: the pattern is searched for in each string on its own. Unlike the other steps this one sets the error
 * itself, as a pattern may fail for more reasons than memory. */
static int replace(const struct decode_step *s, struct run *r, const struct text *in, struct text *out)
{
    for (size_t i = 0; i < in->n; i++) {
        struct rewrite w = rewrite_begin(bytes_of(in, i), NULL, &in->piece[i], out);
        if (replace_run(s->replace, &w, r->match, r->e) < 0)
            return -1;
        if (text_add_piece(out, rewrite_end(&w)) < 0)
            return err_memory(r->e);
    }
    return 0;
}

/* Runs one step: some steps see all strings together, the others one at a time. Returns -1 when the memory runs out;
 * only Replace then has set the error already. */
static int run_step(const struct decode_step *s, struct run *r, const struct text *in, struct text *out)
{
    switch (s->type) {
    case STEP_BYTELEVEL:    return bytelevel(r, in, out);
    case STEP_BYTEFALLBACK: return bytefallback(r, in, out);
    case STEP_FUSE:         return fuse(in, out);
    case STEP_REPLACE:      return replace(s, r, in, out);
    default: break;
    }
    int rc = 0;
    for (size_t i = 0; i < in->n && rc == 0; i++) {
        const char *p = bytes_of(in, i);
        size_t n = in->piece[i].len;
        bool first = i == 0 && !r->inner;
        if (s->type == STEP_METASPACE)
            rc = metaspace(s, p, n, first, out);
        else if (s->type == STEP_BPE)
            rc = bpe(s, p, n, i + 1 == in->n && !r->inner, out);
        else /* Strip; a token inside a text is not at the start or the end of it */
            rc = s->fused && r->inner ? add(out, p, n) : strip(s, p, n, out);
    }
    return rc;
}

/* ---- parsing ---- */

/* The fields of Metaspace. Files of older versions have add_prefix_space, and newer ones must not contradict it. */
static int parse_metaspace(struct decode_step *s, const json_t *o, const char *where, struct err *e)
{
    static const char *const words[] = { "first", "never", "always" };
    int scheme = 2;
    bool prefix = true;
    if (field_char(o, where, "replacement", &s->cp, e) < 0 ||
        field_bool_or(o, where, "add_prefix_space", &prefix, e) < 0 ||
        (json_object_get(o, "prepend_scheme") && field_word(o, where, "prepend_scheme", words, 3, &scheme, e) < 0))
        return -1;
    if (!prefix && scheme != 1)
        return err_set(e, "%s: add_prefix_space does not match prepend_scheme", where);
    s->flag = scheme != 1;
    return 0;
}

/* BPEDecoder's suffix, of which the step keeps a copy. */
static int parse_suffix(struct decode_step *s, const json_t *o, const char *where, struct err *e)
{
    const char *suffix;
    if (field_string(o, where, "suffix", &suffix, &s->suffix_len, e) < 0)
        return -1;
    s->suffix = xmalloc(s->suffix_len + 1);
    memcpy(s->suffix, suffix, s->suffix_len + 1);
    return 0;
}

/* Reads the fields that belong to the type of the step; types without fields are done. */
static int parse_fields(struct decode_step *s, const json_t *o, const char *where, struct err *e)
{
    switch (s->type) {
    case STEP_STRIP:
        return field_char(o, where, "content", &s->cp, e) < 0 ||
               field_int(o, where, "start", 0, INT32_MAX, &s->start, e) < 0 ||
               field_int(o, where, "stop", 0, INT32_MAX, &s->stop, e) < 0 ? -1 : 0;
    case STEP_REPLACE:
        return (s->replace = replace_new(o, where, e)) ? 0 : -1;
    case STEP_METASPACE:
        return parse_metaspace(s, o, where, e);
    case STEP_BPE:
        return parse_suffix(s, o, where, e);
    default:
        return 0;
    }
}

/* Adds the steps of one decoder of the file to d. A Sequence stands for its members; `depth` and the number of steps
 * bound what a file may nest. `where` is the place in the file, for messages. */
static int parse(struct token_decoder *d, const json_t *o, const char *where, int depth, struct err *e)
{
    static const char *const words[] = { "ByteLevel", "ByteFallback", "Fuse", "Strip", "Replace", "Metaspace",
                                         "BPEDecoder", "Sequence" };
    enum { TYPES = sizeof words / sizeof *words };
    int type;
    json_t *list;
    char at[PATH_MAX_LEN];
    if (!json_is_object(o))
        return err_set(e, "%s: expected an object", where);
    if (depth > MAX_DEPTH || d->n > MAX_STEPS)
        return err_set(e, "%s: too many decoders", where);
    if (field_word(o, where, "type", words, TYPES, &type, e) < 0)
        return -1;
    if (type < TYPES - 1) { /* all but Sequence */
        if (grow(&d->step, &d->cap, d->n + 1, sizeof *d->step) < 0)
            return err_memory(e);
        struct decode_step *s = &d->step[d->n++];
        memset(s, 0, sizeof *s);
        s->type = (enum step_type)type;
        return parse_fields(s, o, where, e);
    }
    if (field_array(o, where, "decoders", &list, e) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        path_join(at, where, "decoders", (long)i);
        if (parse(d, json_array_get(list, i), at, depth + 1, e) < 0)
            return -1;
    }
    return 0;
}

/* Marks the steps that see the whole text as one string, and finds out whether the text of a token depends on its
 * neighbours (see decoder_streams). */
static void examine(struct token_decoder *d)
{
    bool fused = false;
    d->streams = true;
    for (size_t i = 0; i < d->n; i++) {
        struct decode_step *s = &d->step[i];
        s->fused = fused;
        if (s->type == STEP_BPE)
            d->streams = false;
        if (fused && s->type != STEP_FUSE && !(s->type == STEP_STRIP && s->stop == 0))
            d->streams = false;
        fused |= s->type == STEP_FUSE || s->type == STEP_BYTELEVEL;
    }
}

/* Without a decoder in the file there are no steps, and decoder_run() joins the tokens by spaces. */
struct token_decoder *decoder_new(const json_t *spec, struct err *e)
{
    struct token_decoder *d = xcalloc(1, sizeof *d);
    d->any = spec && !json_is_null(spec);
    if (d->any && parse(d, spec, "decoder", 0, e) < 0) {
        decoder_free(d);
        return NULL;
    }
    examine(d);
    return d;
}

void decoder_free(struct token_decoder *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n; i++) {
        free(d->step[i].suffix);
        replace_free(d->step[i].replace);
    }
    free(d->step);
    free(d);
}

bool decoder_streams(const struct token_decoder *d) { return d->streams; }

/* Runs the steps in turn between two texts that change places, each time charging the effort for what was read and
 * made. What the last step leaves is joined: without any decoder with a space between the tokens, as in the
 * reference, else as it is. After a failure `out` may hold part of the text. */
int decoder_run(const struct token_decoder *d, struct text *t, bool inner, struct buf *out, struct err *e)
{
    struct text spare;
    struct run r = { inner, NULL, e };
    int rc = 0;
    text_begin(&spare, t->effort);
    for (size_t i = 0; i < d->n && rc == 0; i++) {
        if (d->step[i].type == STEP_REPLACE && !r.match)
            r.match = regex_match_new(t->bytes.len);
        text_clear(&spare);
        if (d->step[i].type == STEP_REPLACE && !r.match)
            rc = err_memory(e);
        else if (run_step(&d->step[i], &r, t, &spare) < 0)
            rc = d->step[i].type == STEP_REPLACE ? -1 : text_error(&spare, e);
        else if (!buf_ok(&spare.bytes))
            rc = text_error(&spare, e);
        else if (!effort_spend(t->effort, t->bytes.len + spare.bytes.len))
            rc = effort_error(e);
        struct text swap = *t;
        *t = spare;
        spare = swap;
    }
    for (size_t i = 0; i < t->n && rc == 0; i++) {
        if (!d->any && (i || inner))
            buf_byte(out, ' ');
        buf_add(out, bytes_of(t, i), t->piece[i].len);
    }
    if (rc == 0 && !buf_ok(out))
        rc = buf_error(out, e, "the decoded text is too long");
    regex_match_free(r.match);
    text_free(&spare);
    return rc;
}
