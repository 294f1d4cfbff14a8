/* tokenizer/normalize.c - see normalize.h.
 *
 * A normalizer is a list of steps, each of which rewrites the whole piece. Every step says for each byte that it
 * makes which bytes of its input it stands for, so that the head and the origins survive. */
#include "tokenizer/normalize.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/bytelevel.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/fields.h"
#include "tokenizer/replace.h"
#include "tokenizer/unicode.h"

/* In the order of the names in parse(). */
enum step_type {
    STEP_NFC, STEP_NFD, STEP_NFKC, STEP_NFKD, STEP_LOWERCASE, STEP_STRIP, STEP_STRIP_ACCENTS, STEP_REPLACE,
    STEP_PREPEND, STEP_BYTELEVEL, STEP_NMT, STEP_PRECOMPILED
};

/* One rewriting of the text. */
struct normalize_step {
    enum step_type type;
    bool left, right;          /* Strip                   */
    char *prefix;              /* owned; Prepend          */
    size_t prefix_len;
    struct replace *replace;   /* owned; Replace          */
    struct charsmap *charsmap; /* owned; Precompiled      */
};

struct normalizer {
    struct normalize_step *step; /* owned, (n) */
    size_t n, cap;
};

enum { MAX_STEPS = 64, MAX_DEPTH = 8 };

/* Appends a step of this type, all else zero. The pointer is good until the next call. */
static struct normalize_step *add_step(struct normalizer *n, enum step_type type)
{
    xgrow(&n->step, &n->cap, n->n + 1, sizeof *n->step);
    struct normalize_step *s = &n->step[n->n++];
    memset(s, 0, sizeof *s);
    s->type = type;
    return s;
}

static int parse(struct normalizer *n, const json_t *o, const char *where, int depth, struct err *e);

/* A Sequence stands for its members, one after the other. */
static int parse_sequence(struct normalizer *n, const json_t *o, const char *where, int depth, struct err *e)
{
    json_t *list;
    char at[PATH_MAX_LEN];
    if (field_array(o, where, "normalizers", &list, e) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        path_join(at, where, "normalizers", (long)i);
        if (parse(n, json_array_get(list, i), at, depth + 1, e) < 0)
            return -1;
    }
    return 0;
}

/* Adds the steps of one normalizer of the file to n. `depth` and the number of steps bound what a file may nest.
 * `where` is the place in the file, for messages. */
static int parse(struct normalizer *n, const json_t *o, const char *where, int depth, struct err *e)
{
    static const char *const words[] = { "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "Replace",
                                         "Prepend", "ByteLevel", "Nmt", "Precompiled", "Sequence" };
    int type;
    const char *s;
    size_t len;
    if (!json_is_object(o))
        return err_set(e, "%s: expected an object", where);
    if (depth > MAX_DEPTH || n->n > MAX_STEPS)
        return err_set(e, "%s: too many normalizers", where);
    if (field_word(o, where, "type", words, sizeof words / sizeof *words, &type, e) < 0)
        return -1;
    if (!strcmp(words[type], "Sequence"))
        return parse_sequence(n, o, where, depth, e);
    struct normalize_step *step = add_step(n, (enum step_type)type);
    switch (step->type) {
    case STEP_STRIP:
        return field_bool(o, where, "strip_left", &step->left, e) < 0 ||
               field_bool(o, where, "strip_right", &step->right, e) < 0 ? -1 : 0;
    case STEP_REPLACE:
        return (step->replace = replace_new(o, where, e)) ? 0 : -1;
    case STEP_PREPEND:
        if (field_string(o, where, "prepend", &s, &step->prefix_len, e) < 0)
            return -1;
        step->prefix = xmalloc(step->prefix_len + 1);
        memcpy(step->prefix, s, step->prefix_len + 1);
        return 0;
    case STEP_PRECOMPILED:
        if (json_is_null(json_object_get(o, "precompiled_charsmap"))) /* as some converters write it */
            return (step->charsmap = charsmap_new("AAAAAA==", 8, e)) ? 0 : -1;
        if (field_string(o, where, "precompiled_charsmap", &s, &len, e) < 0)
            return -1;
        if (!(step->charsmap = charsmap_new(s, len, e)))
            return err_prefix(e, "%s", where);
        return 0;
    default:
        return 0;
    }
}

struct normalizer *normalizer_new(const json_t *spec, struct err *e)
{
    struct normalizer *n = xcalloc(1, sizeof *n);
    if (spec && !json_is_null(spec) && parse(n, spec, "normalizer", 0, e) < 0) {
        normalizer_free(n);
        return NULL;
    }
    return n;
}

void normalizer_free(struct normalizer *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->n; i++) {
        free(n->step[i].prefix);
        replace_free(n->step[i].replace);
        charsmap_free(n->step[i].charsmap);
    }
    free(n->step);
    free(n);
}

int normalizer_is_empty(const struct normalizer *n) { return n->n == 0; }

/* Strip: copies the piece without the white space at its start (s->left) and at its end (s->right). */
static void strip(const struct normalize_step *s, struct rewrite *w)
{
    size_t from = 0, to = w->n;
    int len;
    while (s->left && from < to && unicode_space(utf8_get(w->in + from, to - from, &len)))
        from += (size_t)len;
    while (s->right && to > from) {
        size_t back = to - 1;
        while (back > from && ((uint8_t)w->in[back] & 0xc0) == 0x80)
            back--;
        if (!unicode_space(utf8_get(w->in + back, to - back, &len)))
            break;
        to = back;
    }
    rewrite_copy(w, from, to);
}

/* What sentencepiece's NMT rules make of a character: a space, or 0 to remove it, or the character itself. */
static uint32_t nmt(uint32_t c)
{
    if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f)
        return 0;
    if (c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) || c == 0x2028 ||
        c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd)
        return ' ';
    return c;
}

/* Runs a step that looks at one character after the other. In the switch, `break` copies the character as it is, and
 * `continue` goes on to the next one without that. */
static void each_char(const struct normalize_step *s, struct rewrite *w)
{
    uint32_t low[2];
    for (size_t i = 0; i < w->n;) {
        int len;
        uint32_t c = utf8_get(w->in + i, w->n - i, &len);
        size_t at = i;
        i += (size_t)len;
        switch (s->type) {
        case STEP_LOWERCASE: {
            int k = unicode_lower(c, low);
            for (int j = 0; j < k; j++)
                rewrite_char(w, low[j], at);
            continue;
        }
        case STEP_STRIP_ACCENTS:
            if (unicode_mark(c))
                continue;
            break;
        case STEP_NMT:
            if (!c || nmt(c))
                rewrite_char(w, nmt(c), at);
            continue;
        default:
            break;
        }
        rewrite_copy(w, at, i);
    }
}

/* Precompiled: replaces what the map has. The reference asks for each grapheme shorter than 6 bytes, then for each
 * character of the others. */
static void precompiled(const struct normalize_step *s, struct rewrite *w)
{
    for (size_t i = 0; i < w->n;) {
        size_t g = unicode_grapheme(w->in + i, w->n - i), n;
        const char *to = g < 6 ? charsmap_find(s->charsmap, w->in + i, g, &n) : NULL;
        if (to) {
            rewrite_add(w, to, n, i);
            i += g;
            continue;
        }
        for (size_t end = i + g; i < end;) {
            int len;
            utf8_get(w->in + i, end - i, &len);
            if ((to = charsmap_find(s->charsmap, w->in + i, (size_t)len, &n)))
                rewrite_add(w, to, n, i);
            else
                rewrite_copy(w, i, i + (size_t)len);
            i += (size_t)len;
        }
    }
}

/* Gives origins to the bytes of the output that have none yet, which came of the bytes [from, to) of the input. What
 * a normal form left as it was, at the start and at the end, keeps its own; all between gets the greatest origin of
 * the input's bytes, as nobody can tell which of them made it. */
static void form_origins(void *arg, size_t from, size_t to)
{
    struct rewrite *w = arg;
    struct buf *bytes = &w->out->bytes, *origins = &w->out->from;
    size_t n = to - from, made = buf_ok(bytes) ? bytes->len - origins->len : 0, least = n < made ? n : made;
    if (!made)
        return;
    const char *in = w->in + from, *out = bytes->data + origins->len;
    /* How many bytes at the start and at the end are the same in both. */
    size_t before = 0, after = 0;
    while (before < least && in[before] == out[before])
        before++;
    while (after < least - before && in[n - 1 - after] == out[made - 1 - after])
        after++;
    enum origin most = origin_most(w->from + from, n);
    buf_add(origins, w->from + from, before);
    for (size_t i = before + after; i < made; i++)
        buf_byte(origins, (char)most);
    buf_add(origins, w->from + to - after, after);
}

/* Appends the normal form of the input to the output and sets out_head. The reference aligns every character; we only
 * need to know how much of the result stands for the first one, and that is the normal form of that character on its
 * own, up to the end of a character. Returns -1 when the memory or the effort runs out. */
static int normal_form(enum normal_form form, struct rewrite *w)
{
    size_t from = w->out->bytes.len;
    if (unicode_normalize(form, w->in, w->n, &w->out->bytes, w->from ? form_origins : NULL, w) < 0)
        return -1;
    if (w->head && w->out->bytes.len > from) {
        struct buf first;
        int len;
        utf8_get(w->in, w->n, &len);
        buf_init(&first, 256);
        if (unicode_normalize(form, w->in, (size_t)len, &first, NULL, NULL) < 0) {
            buf_free(&first);
            return -1;
        }
        size_t made = w->out->bytes.len - from;
        w->out_head = first.len && first.len < made ? first.len : made;
        buf_free(&first);
        while (w->out_head < made && ((uint8_t)w->out->bytes.data[from + w->out_head] & 0xc0) == 0x80)
            w->out_head++;
    }
    return 0;
}

/* Runs one step on the input of w. Returns -1 with the error set; whether the output fitted, the caller asks. */
static int run_step(const struct normalize_step *s, struct rewrite *w, struct regex_match *match, struct err *e)
{
    switch (s->type) {
    case STEP_NFC: case STEP_NFD: case STEP_NFKC: case STEP_NFKD:
        if (normal_form((enum normal_form)(NFC + (s->type - STEP_NFC)), w) < 0)
            return text_error(w->out, e);
        return 0;
    case STEP_STRIP:
        strip(s, w);
        return 0;
    case STEP_REPLACE:
        return replace_run(s->replace, w, match, e);
    case STEP_PREPEND:
        if (w->n)
            rewrite_add(w, s->prefix, s->prefix_len, 0);
        rewrite_copy(w, 0, w->n);
        return 0;
    case STEP_BYTELEVEL:
        for (size_t i = 0; i < w->n; i++) {
            char u[2];
            rewrite_add(w, u, bytelevel_encode(u, w->in + i, 1), i);
        }
        return 0;
    case STEP_PRECOMPILED:
        precompiled(s, w);
        return 0;
    default:
        each_char(s, w);
        return 0;
    }
}

/* Runs the steps in turn. All but the last write to two spare texts that take turns, so that only the result reaches
 * out. Each step's output is the next one's input, its origins included. */
int normalizer_run(const struct normalizer *n, const char *in, const uint8_t *from, const struct piece *p,
                   struct regex_match *match, struct text *out, struct piece *result, struct err *e)
{
    struct text spare[2]; /* for all steps but the last */
    struct piece now = *p;
    int rc = 0;
    text_begin(&spare[0], out->effort);
    text_begin(&spare[1], out->effort);
    for (size_t i = 0; i < n->n && rc == 0; i++) {
        struct text *to = i + 1 == n->n ? out : &spare[i & 1];
        if (to != out)
            text_clear(to);
        struct rewrite w = rewrite_begin(in + now.at, from ? from + now.at : NULL, &now, to);
        rc = run_step(&n->step[i], &w, match, e);
        now = rewrite_end(&w);
        in = to->bytes.data ? to->bytes.data : "";
        if (from)
            from = (const uint8_t *)(to->from.data ? to->from.data : "");
        if (rc == 0 && !buf_ok(&to->bytes))
            rc = text_error(to, e);
        if (rc == 0 && !buf_ok(&to->from))
            rc = err_memory(e);
    }
    *result = now;
    text_free(&spare[0]);
    text_free(&spare[1]);
    return rc;
}
