/* tokenizer/split.c - see split.h.
 *
 * A pre-tokenizer is a list of stages, each of which cuts the pieces or rewrites their bytes. A stage never joins
 * pieces, and added tokens pass through all of them untouched. */
#include "tokenizer/split.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/bytelevel.h"
#include "tokenizer/cut.h"
#include "tokenizer/fields.h"
#include "tokenizer/replace.h"
#include "tokenizer/unicode.h"

/* In front of which pieces Metaspace puts a mark: of the one at the text's start, of none, of all. */
enum scheme { SCHEME_FIRST, SCHEME_NEVER, SCHEME_ALWAYS };

/* One stage, which cuts every piece or rewrites it. BertPreTokenizer becomes two stages, ByteLevel up to three. */
struct stage {
    int (*run)(const struct stage *s, struct text *t, struct text *spare, struct regex_match *m, struct err *e);
    bool (*is)(uint32_t c);   /* cut_chars: which characters match    */
    uint32_t      cp;         /* cut_chars without `is`; Metaspace's replacement */
    struct pattern pattern;   /* cut_pattern                          */
    enum behavior behavior;
    bool          invert;
    enum scheme   scheme;     /* Metaspace                            */
    int64_t       length;     /* FixedLength                          */
};

struct splitter {
    struct stage *stage; /* owned, (n) */
    size_t n, cap;
};

enum { MAX_STAGES = 64, MAX_DEPTH = 8 };

/* GPT-2's pattern, which ByteLevel uses. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---- cutting: pieces change, bytes stay ---- */

/* Cuts one piece of plain text, whose bytes are at `in`, and adds the parts to out. -1 with the error set. */
typedef int cut_one(const struct stage *s, const char *in, const struct piece *p, struct text *out,
                    struct regex_match *m, struct err *e);

/* Cuts every piece of t that is plain text; added tokens stay whole. After a failure t is as it was. */
static int cut_all(cut_one *one, const struct stage *s, struct text *t, struct text *spare, struct regex_match *m,
                   struct err *e)
{
    spare->n = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct piece *p = &t->piece[i];
        int rc = p->id >= 0 ? text_add_piece(spare, *p) : one(s, t->bytes.data + p->at, p, spare, m, e);
        if (rc < 0)
            return p->id >= 0 ? err_memory(e) : -1;
    }
    text_take_pieces(t, spare);
    return 0;
}

/* Split and ByteLevel: cuts the piece at the matches of a pattern. */
static int pattern_one(const struct stage *s, const char *in, const struct piece *p, struct text *out,
                       struct regex_match *m, struct err *e)
{
    struct cut c = cut_begin(p, s->behavior, s->invert, out);
    struct search f = pattern_search(&s->pattern);
    size_t from, to;
    int rc;
    while ((rc = search_next(&f, m, in, p->len, &from, &to, e)) == 1)
        cut_match(&c, from, to);
    if (rc < 0)
        return -1;
    return cut_end(&c) < 0 ? err_memory(e) : 0;
}

/* Cuts the piece at each character that `is` takes or, without it, that is s->cp. */
static int chars_one(const struct stage *s, const char *in, const struct piece *p, struct text *out,
                     struct regex_match *m, struct err *e)
{
    (void)m;
    struct cut c = cut_begin(p, s->behavior, s->invert, out);
    int len;
    for (size_t i = 0; i < p->len; i += (size_t)len) {
        uint32_t cp = utf8_get(in + i, p->len - i, &len);
        if (s->is ? s->is(cp) : cp == s->cp)
            cut_match(&c, i, i + (size_t)len);
    }
    return cut_end(&c) < 0 ? err_memory(e) : 0;
}

/* Whitespace: the matches of \w+|[^\w\s]+ stay, the rest goes. The loop runs once more behind the end, so that the
 * last run is added like any other. */
static int words_one(const struct stage *s, const char *in, const struct piece *p, struct text *out,
                     struct regex_match *m, struct err *e)
{
    (void)s, (void)m;
    size_t start = 0;
    int kind = 0; /* of the run that start begins: 0 space, 1 word, 2 other */
    for (size_t i = 0; i <= p->len;) {
        int len = 1, now = -1;
        if (i < p->len) {
            uint32_t cp = utf8_get(in + i, p->len - i, &len);
            now = 2;
            if (unicode_word(cp))
                now = 1;
            else if (unicode_space(cp))
                now = 0;
        }
        if (now != kind) {
            if (kind && i > start && text_add_piece(out, piece_cut(p, (uint32_t)start, (uint32_t)i)) < 0)
                return err_memory(e);
            start = i;
            kind = now;
        }
        i += (size_t)len;
    }
    return 0;
}

/* UnicodeScripts: cuts the piece where the script changes. The space belongs to any script; so do the Japanese
 * syllables to Han. Text in front of the first character with a script is lost, as in the reference. */
static int scripts_one(const struct stage *s, const char *in, const struct piece *p, struct text *out,
                       struct regex_match *m, struct err *e)
{
    (void)s, (void)m;
    int last = -1, len;
    size_t start = SIZE_MAX;
    for (size_t i = 0; i < p->len; i += (size_t)len) {
        int script = unicode_script(utf8_get(in + i, p->len - i, &len));
        if (!script)
            continue;
        if (script != last) {
            if (start != SIZE_MAX && text_add_piece(out, piece_cut(p, (uint32_t)start, (uint32_t)i)) < 0)
                return err_memory(e);
            start = i;
        }
        last = script;
    }
    if (start != SIZE_MAX && text_add_piece(out, piece_cut(p, (uint32_t)start, p->len)) < 0)
        return err_memory(e);
    return 0;
}

/* FixedLength: cuts the piece into parts of s->length characters; the last one may be shorter. */
static int fixed_one(const struct stage *s, const char *in, const struct piece *p, struct text *out,
                     struct regex_match *m, struct err *e)
{
    (void)m;
    size_t start = 0;
    int64_t chars = 0;
    for (size_t i = 0; i < p->len;) {
        int len;
        utf8_get(in + i, p->len - i, &len);
        i += (size_t)len;
        if (++chars % s->length == 0 || i == p->len) {
            if (text_add_piece(out, piece_cut(p, (uint32_t)start, (uint32_t)i)) < 0)
                return err_memory(e);
            start = i;
        }
    }
    return 0;
}

/* The `run` of a stage that cuts each piece by `one`. */
#define CUTTER(name, one)                                                                                         \
    static int name(const struct stage *s, struct text *t, struct text *spare, struct regex_match *m, struct err *e) \
    {                                                                                                             \
        return cut_all(one, s, t, spare, m, e);                                                                   \
    }
CUTTER(cut_pattern, pattern_one)
CUTTER(cut_chars, chars_one)
CUTTER(cut_words, words_one)
CUTTER(cut_scripts, scripts_one)
CUTTER(cut_fixed, fixed_one)

/* ---- rewriting: new bytes, the same number of pieces ---- */

/* Rewrites one piece of plain text. A failure shows in the bytes of the output. */
typedef void rewrite_one(const struct stage *s, struct rewrite *w);

/* Rewrites every piece of t that is plain text into spare, which then changes places with t. Added tokens keep their
 * place among the pieces; nobody reads their bytes any more. Returns -1 when the memory or the effort runs out. */
static int rewrite_all(rewrite_one *one, const struct stage *s, struct text *t, struct text *spare, struct err *e)
{
    text_clear(spare);
    for (size_t i = 0; i < t->n; i++) {
        struct piece p = t->piece[i];
        if (p.id < 0) {
            struct rewrite w = rewrite_begin(t->bytes.data + p.at, NULL, &p, spare);
            one(s, &w);
            p = rewrite_end(&w);
        }
        if (text_add_piece(spare, p) < 0)
            return err_memory(e);
    }
    if (!buf_ok(&spare->bytes))
        return text_error(spare, e);
    struct text swap = *t;
    *t = *spare;
    *spare = swap;
    return 0;
}

/* ByteLevel with add_prefix_space: the piece begins with a space, if need be with a new one. */
static void prefix_space(const struct stage *s, struct rewrite *w)
{
    (void)s;
    if (w->in[0] != ' ')
        rewrite_add(w, " ", 1, 0);
    rewrite_copy(w, 0, w->n);
}

/* ByteLevel: each byte becomes its character. The head is mapped on its own, so that its length comes out. */
static void to_bytelevel(const struct stage *s, struct rewrite *w)
{
    (void)s;
    char u[512];
    for (size_t i = 0; i < w->n;) {
        size_t end = i < w->head ? w->head : w->n;
        size_t n = end - i < sizeof u / 2 ? end - i : sizeof u / 2;
        rewrite_add(w, u, bytelevel_encode(u, w->in + i, n), i);
        i += n;
    }
}

/* Metaspace: spaces become the mark s->cp, and the scheme tells whether one is put in front of a piece that does not
 * begin with one. */
static void to_metaspace(const struct stage *s, struct rewrite *w)
{
    char mark[4];
    int len, n = utf8_put(mark, s->cp);
    uint32_t first = utf8_get(w->in, w->n, &len);
    bool starts = first == ' ' || first == s->cp;
    if (!starts && (s->scheme == SCHEME_ALWAYS || (s->scheme == SCHEME_FIRST && w->origin)))
        rewrite_add(w, mark, (size_t)n, 0);
    for (size_t i = 0; i < w->n;) {
        const char *space = memchr(w->in + i, ' ', w->n - i);
        size_t end = space ? (size_t)(space - w->in) : w->n;
        rewrite_copy(w, i, end);
        if (space)
            rewrite_add(w, mark, (size_t)n, end);
        i = end + 1;
    }
}

/* The `run` of a stage that rewrites each piece by `one`. */
#define REWRITER(name, one)                                                                                       \
    static int name(const struct stage *s, struct text *t, struct text *spare, struct regex_match *m, struct err *e) \
    {                                                                                                             \
        (void)m;                                                                                                  \
        return rewrite_all(one, s, t, spare, e);                                                                  \
    }
REWRITER(add_prefix_space, prefix_space)
REWRITER(map_bytes, to_bytelevel)
REWRITER(mark_spaces, to_metaspace)

/* ---- parsing ---- */

/* Appends a stage, all else zero. The pointer is good until the next call. */
static struct stage *add(struct splitter *sp, int (*run)(const struct stage *, struct text *, struct text *,
                                                         struct regex_match *, struct err *))
{
    xgrow(&sp->stage, &sp->cap, sp->n + 1, sizeof *sp->stage);
    struct stage *s = &sp->stage[sp->n++];
    memset(s, 0, sizeof *s);
    s->run = run;
    return s;
}

/* Appends a stage that cuts at characters. */
static struct stage *add_chars(struct splitter *sp, bool (*is)(uint32_t), enum behavior behavior)
{
    struct stage *s = add(sp, cut_chars);
    s->is = is;
    s->behavior = behavior;
    return s;
}

/* The field "behavior" of Split and Punctuation. The words are in the order of enum behavior. */
static int parse_behavior(const json_t *o, const char *where, enum behavior *out, struct err *e)
{
    static const char *const words[] = { "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                         "Contiguous" };
    int i;
    if (field_word(o, where, "behavior", words, 5, &i, e) < 0)
        return -1;
    *out = (enum behavior)i;
    return 0;
}

/* ByteLevel becomes up to three stages: a space in front, GPT-2's pattern, and the mapping of bytes. trim_offsets
 * must be there, as in the reference, but means nothing here. */
static int parse_bytelevel(struct splitter *sp, const json_t *o, const char *where, struct err *e)
{
    bool prefix, trim, use_regex = true;
    if (field_bool(o, where, "add_prefix_space", &prefix, e) < 0 ||
        field_bool(o, where, "trim_offsets", &trim, e) < 0 ||
        field_bool_or(o, where, "use_regex", &use_regex, e) < 0)
        return -1;
    if (prefix)
        add(sp, add_prefix_space);
    if (use_regex) {
        struct stage *s = add(sp, cut_pattern);
        s->behavior = CUT_ISOLATED;
        if (!(s->pattern.regex = regex_compile(gpt2_pattern, sizeof gpt2_pattern - 1, e)))
            return -1;
    }
    add(sp, map_bytes);
    return 0;
}

/* Metaspace becomes a stage that marks the spaces and, with `split`, one that cuts in front of the marks. Files of
 * older versions have add_prefix_space, and newer ones must not contradict it. */
static int parse_metaspace(struct splitter *sp, const json_t *o, const char *where, struct err *e)
{
    static const char *const words[] = { "first", "never", "always" };
    uint32_t mark;
    int scheme = SCHEME_ALWAYS;
    bool split = true, prefix = true;
    if (field_char(o, where, "replacement", &mark, e) < 0 || field_bool_or(o, where, "split", &split, e) < 0 ||
        field_bool_or(o, where, "add_prefix_space", &prefix, e) < 0)
        return -1;
    if (json_object_get(o, "prepend_scheme") && field_word(o, where, "prepend_scheme", words, 3, &scheme, e) < 0)
        return -1;
    if (!prefix && scheme != SCHEME_NEVER)
        return err_set(e, "%s: add_prefix_space does not match prepend_scheme", where);
    struct stage *s = add(sp, mark_spaces);
    s->cp = mark;
    s->scheme = (enum scheme)scheme;
    if (split)
        add_chars(sp, NULL, CUT_WITH_NEXT)->cp = mark;
    return 0;
}

/* Split: cuts at a pattern. */
static int parse_split(struct splitter *sp, const json_t *o, const char *where, struct err *e)
{
    struct stage *s = add(sp, cut_pattern);
    if (parse_behavior(o, where, &s->behavior, e) < 0 || field_bool(o, where, "invert", &s->invert, e) < 0)
        return -1;
    return pattern_parse(&s->pattern, o, where, e);
}

/* Digits: each one a piece of its own, or each run of them. */
static int parse_digits(struct splitter *sp, const json_t *o, const char *where, struct err *e)
{
    bool single;
    if (field_bool(o, where, "individual_digits", &single, e) < 0)
        return -1;
    add_chars(sp, unicode_numeric, single ? CUT_ISOLATED : CUT_CONTIGUOUS);
    return 0;
}

/* Punctuation: each character is a piece of its own where the file does not say otherwise. */
static int parse_punctuation(struct splitter *sp, const json_t *o, const char *where, struct err *e)
{
    enum behavior b = CUT_ISOLATED;
    if (json_object_get(o, "behavior") && parse_behavior(o, where, &b, e) < 0)
        return -1;
    add_chars(sp, unicode_punctuation, b);
    return 0;
}

/* FixedLength: parts of five characters where the file does not say how many. */
static int parse_fixed(struct splitter *sp, const json_t *o, const char *where, struct err *e)
{
    struct stage *s = add(sp, cut_fixed);
    s->length = 5;
    return json_object_get(o, "length") ? field_int(o, where, "length", 1, INT64_MAX, &s->length, e) : 0;
}

/* CharDelimiterSplit: cuts at one character, which vanishes. */
static int parse_delimiter(struct splitter *sp, const json_t *o, const char *where, struct err *e)
{
    return field_char(o, where, "delimiter", &add_chars(sp, NULL, CUT_REMOVED)->cp, e);
}

/* WhitespaceSplit: white space vanishes, and nothing else is cut. */
static int parse_white(struct splitter *sp, const json_t *o, const char *where, struct err *e)
{
    (void)o, (void)where, (void)e;
    add_chars(sp, unicode_space, CUT_REMOVED);
    return 0;
}

static int parse_words(struct splitter *sp, const json_t *o, const char *where, struct err *e)
{
    (void)o, (void)where, (void)e;
    add(sp, cut_words);
    return 0;
}

static int parse_scripts(struct splitter *sp, const json_t *o, const char *where, struct err *e)
{
    (void)o, (void)where, (void)e;
    add(sp, cut_scripts);
    return 0;
}

/* The types of the file, and for each but the last, Sequence, what reads it. */
static const char *const type_names[] = { "ByteLevel", "Metaspace", "Split", "Digits", "Punctuation", "FixedLength",
                                          "CharDelimiterSplit", "Delimiter", "WhitespaceSplit", "Whitespace",
                                          "UnicodeScripts", "Sequence" };
enum { TYPES = sizeof type_names / sizeof *type_names };
static int (*const parsers[TYPES - 1])(struct splitter *, const json_t *, const char *, struct err *) = {
    parse_bytelevel, parse_metaspace, parse_split, parse_digits, parse_punctuation, parse_fixed,
    parse_delimiter, parse_delimiter, parse_white, parse_words,  parse_scripts
};

/* Adds the stages of one pre-tokenizer of the file to sp. `depth` and the number of stages bound what a file may
 * nest. `where` is the place in the file, for messages. */
static int parse(struct splitter *sp, const json_t *o, const char *where, int depth, struct err *e)
{
    int type;
    json_t *list;
    char at[PATH_MAX_LEN];
    if (!json_is_object(o))
        return err_set(e, "%s: expected an object", where);
    if (depth > MAX_DEPTH || sp->n > MAX_STAGES)
        return err_set(e, "%s: too many pre-tokenizers", where);
    if (field_word(o, where, "type", type_names, TYPES, &type, e) < 0)
        return -1;
    if (type < TYPES - 1)
        return parsers[type](sp, o, where, e);
    if (field_array(o, where, "pretokenizers", &list, e) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        path_join(at, where, "pretokenizers", (long)i);
        if (parse(sp, json_array_get(list, i), at, depth + 1, e) < 0)
            return -1;
    }
    return 0;
}

struct splitter *splitter_new(const json_t *spec, struct err *e)
{
    struct splitter *s = xcalloc(1, sizeof *s);
    if (spec && !json_is_null(spec) && parse(s, spec, "pre_tokenizer", 0, e) < 0) {
        splitter_free(s);
        return NULL;
    }
    return s;
}

void splitter_free(struct splitter *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        pattern_free(&s->stage[i].pattern);
    free(s->stage);
    free(s);
}

/* Runs the stages in turn; each is charged for the text that it reads. */
int splitter_run(const struct splitter *s, struct text *t, struct regex_match *match, struct err *e)
{
    struct text spare;
    int rc = 0;
    text_begin(&spare, t->effort);
    for (size_t i = 0; i < s->n && rc == 0 && t->n; i++)
        rc = effort_spend(t->effort, t->bytes.len) ? s->stage[i].run(&s->stage[i], t, &spare, match, e)
                                                   : effort_error(e);
    text_free(&spare);
    return rc;
}
