/* template/str_methods.c - the methods of str.
 *
 * Positions that templates see count code points; inside, bytes are meant. */
#include <string.h>

#include "base/utf8.h"
#include "template/syntax.h"

#define METHOD(name) \
    static struct value name(struct render *r, struct value self, const struct value *a, const struct args *args)

static bool given(struct value v) { return v.kind != V_MISSING && v.kind != V_NONE; }

/* The number of characters before a byte: the position that templates see. */
static size_t chars_before(const struct str *s, size_t byte)
{
    size_t n = 0;
    if (s->chars == s->len)
        return byte;
    for (size_t i = 0; i < byte; i++)
        n += ((unsigned char)s->data[i] & 0xc0) != 0x80;
    return n;
}

/* A result that is marked as safe HTML if the string it was made from is. */
static struct value same_kind(struct str *out, const struct str *as)
{
    out->markup = as->markup;
    return v_str(out);
}

/* ---- case and classes, which unicode.c knows */

METHOD(m_upper) { (void)a, (void)args; return v_str(uni_to_upper(r, self.u.s)); }
METHOD(m_lower) { (void)a, (void)args; return v_str(uni_to_lower(r, self.u.s)); }
METHOD(m_casefold) { (void)a, (void)args; return v_str(uni_casefold(r, self.u.s)); }
METHOD(m_capitalize) { (void)a, (void)args; return v_str(uni_capitalize(r, self.u.s)); }
METHOD(m_title) { (void)a, (void)args; return v_str(uni_titlecase(r, self.u.s)); }

static bool alnum(uint32_t cp) { return uni_alpha(cp) || uni_numeric(cp); }
static bool ascii(uint32_t cp) { return cp < 0x80; }

/* Is every character of that class? Python's classes differ in what they say of an
 * empty string. */
static struct value all_are(struct render *r, const struct str *s, bool (*is)(uint32_t), bool when_empty)
{
    int len;
    tpl_charge(r, 1 + s->len / 16);
    for (size_t i = 0; i < s->len; i += (size_t)len)
        if (!is(utf8_get(s->data + i, s->len - i, &len)))
            return v_bool(false);
    return v_bool(s->len ? true : when_empty);
}

METHOD(m_isalpha) { (void)a, (void)args; return all_are(r, self.u.s, uni_alpha, false); }
METHOD(m_isalnum) { (void)a, (void)args; return all_are(r, self.u.s, alnum, false); }
METHOD(m_isdigit) { (void)a, (void)args; return all_are(r, self.u.s, uni_digit, false); }
METHOD(m_isdecimal) { (void)a, (void)args; return all_are(r, self.u.s, uni_decimal, false); }
METHOD(m_isnumeric) { (void)a, (void)args; return all_are(r, self.u.s, uni_numeric, false); }
METHOD(m_isspace) { (void)a, (void)args; return all_are(r, self.u.s, uni_space, false); }
METHOD(m_isascii) { (void)a, (void)args; return all_are(r, self.u.s, ascii, true); }
METHOD(m_isprintable) { (void)a, (void)args; return all_are(r, self.u.s, uni_printable, true); }

/* Could the string be a name in Python? A name does not begin with a digit. */
METHOD(m_isidentifier)
{
    (void)a, (void)args;
    const struct str *s = self.u.s;
    bool starts = s->len && !(s->data[0] >= '0' && s->data[0] <= '9');
    return starts ? all_are(r, s, uni_word, false) : v_bool(false);
}

/* At least one letter of the wanted case and none of another. */
static struct value is_case(struct render *r, const struct str *s, bool (*want)(uint32_t), bool (*other)(uint32_t))
{
    bool any = false;
    int len;
    tpl_charge(r, 1 + s->len / 16);
    for (size_t i = 0; i < s->len; i += (size_t)len) {
        uint32_t cp = utf8_get(s->data + i, s->len - i, &len);
        if (other(cp) || uni_title(cp))
            return v_bool(false);
        any |= want(cp);
    }
    return v_bool(any);
}

METHOD(m_islower) { (void)a, (void)args; return is_case(r, self.u.s, uni_lower, uni_upper); }
METHOD(m_isupper) { (void)a, (void)args; return is_case(r, self.u.s, uni_upper, uni_lower); }

/* Does every run of letters begin with a capital and go on in small letters, and is
 * there one? */
METHOD(m_istitle)
{
    (void)a, (void)args;
    const struct str *s = self.u.s;
    bool after = false, any = false;
    int len;
    tpl_charge(r, 1 + s->len / 16);
    for (size_t i = 0; i < s->len; i += (size_t)len) {
        uint32_t cp = utf8_get(s->data + i, s->len - i, &len);
        bool upper = uni_upper(cp) || uni_title(cp), lower = uni_lower(cp);
        if ((upper && after) || (lower && !after))
            return v_bool(false);
        after = upper || lower;
        any |= after;
    }
    return v_bool(any);
}

/* ---- searching. Positions come in as characters, are turned into bytes for the
 * search, and what is found is turned back. */

struct window {
    size_t from, to; /* bytes */
    bool   empty;    /* begins behind the end: finds nothing, not even "" */
};

/* A bound of a search as a position of at least 0: negative ones count from the end,
 * none is `fallback`. */
static int64_t clip(struct render *r, struct value v, int64_t fallback, int64_t n)
{
    if (!given(v))
        return fallback;
    int64_t i = tpl_int_arg(r, v, "an index");
    if (i < 0)
        i = i < -n ? 0 : i + n;
    return i;
}

/* The part of s that a search is about, from the optional arguments start and end,
 * which count characters. */
static struct window window(struct render *r, const struct str *s, struct value start, struct value end)
{
    int64_t n = (int64_t)s->chars, from = clip(r, start, 0, n), to = clip(r, end, n, n);
    to = to > n ? n : to;
    tpl_charge(r, 1 + s->len / 16);
    if (from > to)
        return (struct window){ 0, 0, true };
    return (struct window){ str_offset(s, (size_t)from), str_offset(s, (size_t)to), false };
}

/* Where a string stands first, or last, in the window, as templates count; -1: nowhere.
 * Searching from the end has no fast way and is charged by the work it may take. */
static int64_t search(struct render *r, const struct str *s, const struct value *a, bool last)
{
    const struct str *what = tpl_str_arg(r, a[0], "what is looked for");
    struct window w = window(r, s, a[1], a[2]);
    if (w.empty)
        return -1;
    if (last)
        tpl_charge(r, s->len / 8 * (1 + what->len / 64));
    ptrdiff_t at = last ? str_rfind(s, w.from, w.to, what) : str_find(s, w.from, w.to, what);
    return at < 0 ? -1 : (int64_t)chars_before(s, (size_t)at);
}

static struct value index_or_fail(struct render *r, int64_t at)
{
    if (at < 0)
        tpl_fail(r, "substring not found");
    return v_int(at);
}

METHOD(m_find) { (void)args; return v_int(search(r, self.u.s, a, false)); }
METHOD(m_rfind) { (void)args; return v_int(search(r, self.u.s, a, true)); }
METHOD(m_index) { (void)args; return index_or_fail(r, search(r, self.u.s, a, false)); }
METHOD(m_rindex) { (void)args; return index_or_fail(r, search(r, self.u.s, a, true)); }

/* How often a string stands in the window without overlapping itself. The empty one
 * stands before every character and at the end. */
METHOD(m_count)
{
    (void)args;
    const struct str *s = self.u.s, *what = tpl_str_arg(r, a[0], "what is counted");
    struct window w = window(r, s, a[1], a[2]);
    int64_t n = 0;
    if (w.empty)
        return v_int(0);
    if (!what->len)
        return v_int((int64_t)(chars_before(s, w.to) - chars_before(s, w.from)) + 1);
    for (ptrdiff_t at; (at = str_find(s, w.from, w.to, what)) >= 0; n++) {
        w.from = (size_t)at + what->len;
        tpl_charge(r, 1);
    }
    return v_int(n);
}

/* Does the window begin, or end, with `what`? */
static bool has_end(const struct str *s, struct window w, const struct str *what, bool end)
{
    if (w.empty || what->len > w.to - w.from)
        return false;
    return memcmp(s->data + (end ? w.to - what->len : w.from), what->data, what->len) == 0;
}

/* startswith() and endswith(). A tuple asks for any one of its items. */
static struct value starts_or_ends(struct render *r, const struct str *s, const struct value *a, bool end)
{
    struct window w = window(r, s, a[1], a[2]);
    if (a[0].kind != V_TUPLE)
        return v_bool(has_end(s, w, tpl_str_arg(r, a[0], "a prefix or suffix"), end));
    tpl_charge(r, a[0].u.list->n);
    for (size_t i = 0; i < a[0].u.list->n; i++)
        if (has_end(s, w, tpl_str_arg(r, a[0].u.list->v[i], "a prefix or suffix"), end))
            return v_bool(true);
    return v_bool(false);
}

METHOD(m_startswith) { (void)args; return starts_or_ends(r, self.u.s, a, false); }
METHOD(m_endswith) { (void)args; return starts_or_ends(r, self.u.s, a, true); }

/* ---- cutting: the results share the bytes of the string */

static struct value strip(struct render *r, struct value self, const struct value *a, bool left, bool right)
{
    const struct str *chars = given(a[0]) ? tpl_str_arg(r, a[0], "strip()'s argument") : NULL;
    return v_str(str_strip(r, self.u.s, chars, left, right));
}

METHOD(m_strip) { (void)args; return strip(r, self, a, true, true); }
METHOD(m_lstrip) { (void)args; return strip(r, self, a, true, false); }
METHOD(m_rstrip) { (void)args; return strip(r, self, a, false, true); }

/* The string without a prefix, or as it is if it does not begin with it. */
METHOD(m_removeprefix)
{
    (void)args;
    const struct str *s = self.u.s, *what = tpl_str_arg(r, a[0], "a prefix");
    bool has = has_end(s, (struct window){ 0, s->len, false }, what, false);
    return v_str(str_sub(r, s, has ? what->len : 0, s->len));
}

/* The string without a suffix, or as it is if it does not end with it. */
METHOD(m_removesuffix)
{
    (void)args;
    const struct str *s = self.u.s, *what = tpl_str_arg(r, a[0], "a suffix");
    bool has = has_end(s, (struct window){ 0, s->len, false }, what, true);
    return v_str(str_sub(r, s, 0, has ? s->len - what->len : s->len));
}

/* Replaces a text, everywhere or so many times. In safe HTML the replacement is
 * escaped. */
METHOD(m_replace)
{
    (void)args;
    struct str *from = tpl_str_arg(r, a[0], "replace()'s argument"), *to = tpl_str_arg(r, a[1], "replace()'s argument");
    if (self.u.s->markup)
        to = tpl_escape_html(r, to);
    return v_str(str_replace(r, self.u.s, from, to, a[2].kind == V_MISSING ? -1 : tpl_int_arg(r, a[2], "count")));
}

/* The string before a separator, the separator, and what follows it. If there is none
 * the whole is the first part, or the last for rpartition(). */
static struct value partition(struct render *r, const struct str *s, struct value sep, bool last)
{
    struct value part[3];
    const struct str *what = tpl_str_arg(r, sep, "a separator");
    if (!what->len)
        tpl_fail(r, "empty separator");
    tpl_charge(r, 1 + s->len / 16);
    ptrdiff_t at = last ? str_rfind(s, 0, s->len, what) : str_find(s, 0, s->len, what);
    size_t from = last ? 0 : s->len, to = from;
    if (at >= 0) {
        from = (size_t)at;
        to = from + what->len;
    }
    part[0] = v_str(str_sub(r, s, 0, from));
    part[1] = v_str(str_sub(r, s, from, to));
    part[2] = v_str(str_sub(r, s, to, s->len));
    return v_list(r, V_TUPLE, part, 3);
}

METHOD(m_partition) { (void)args; return partition(r, self.u.s, a[0], false); }
METHOD(m_rpartition) { (void)args; return partition(r, self.u.s, a[0], true); }

/* ---- splitting: pieces are collected, from the right for rsplit */

struct pieces {
    struct render *r;
    struct value  *v; /* (n) */
    size_t         n, cap;
};

/* Adds the bytes [from, to) of s to the pieces of a split. Pieces share the bytes of s. */
static void piece(struct pieces *p, const struct str *s, size_t from, size_t to)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 8;
        struct value *more = tpl_alloc(p->r, cap * sizeof *more);
        if (p->n)
            memcpy(more, p->v, p->n * sizeof *more);
        p->v = more;
        p->cap = cap;
    }
    tpl_charge(p->r, 1);
    p->v[p->n++] = v_str(str_sub(p->r, s, from, to));
}

/* The pieces as a list, turned round if they were collected from the right. */
static struct value pieces_list(struct pieces *p, bool reversed)
{
    for (size_t i = 0; reversed && i < p->n / 2; i++) {
        struct value v = p->v[i];
        p->v[i] = p->v[p->n - 1 - i];
        p->v[p->n - 1 - i] = v;
    }
    return v_list(p->r, V_LIST, p->v, p->n);
}

/* The length in bytes of the whitespace character at `at`; 0 if it is none. */
static size_t space_at(const struct str *s, size_t at)
{
    int len;
    return at < s->len && uni_space(utf8_get(s->data + at, s->len - at, &len)) ? (size_t)len : 0;
}

/* The byte at which the character before `at` begins; `at` is not 0. */
static size_t previous(const struct str *s, size_t at)
{
    do
        at--;
    while (at && ((unsigned char)s->data[at] & 0xc0) == 0x80);
    return at;
}

/* Cuts s at runs of whitespace into at most `most` + 1 pieces; a negative `most` is no
 * limit. */
static void split_words(struct pieces *p, const struct str *s, int64_t most)
{
    size_t at = 0, n, from;
    for (;;) {
        while ((n = space_at(s, at)))
            at += n;
        if (at >= s->len)
            return;
        if (most-- == 0) { /* the rest, with the space at its end */
            piece(p, s, at, s->len);
            return;
        }
        for (from = at; at < s->len && !space_at(s, at); at++)
            ;
        piece(p, s, from, at);
    }
}

/* The same from the right: with a limit, it is the beginning that stays in one piece. */
static void rsplit_words(struct pieces *p, const struct str *s, int64_t most)
{
    size_t at = s->len, to;
    for (;;) {
        while (at && space_at(s, previous(s, at)))
            at = previous(s, at);
        if (!at)
            return;
        if (most-- == 0) {
            piece(p, s, 0, at);
            return;
        }
        for (to = at; at && !space_at(s, previous(s, at)); at = previous(s, at))
            ;
        piece(p, s, at, to);
    }
}

/* split() and rsplit(): at whitespace, or at a separator, at most `maxsplit` times.
 * From the right the pieces come last first and are turned round at the end. */
static struct value split(struct render *r, const struct str *s, const struct value *a, bool right)
{
    struct pieces p = { .r = r };
    int64_t most = a[1].kind == V_MISSING ? -1 : tpl_int_arg(r, a[1], "maxsplit");
    tpl_charge(r, 1 + s->len / 8);
    if (!given(a[0])) {
        (right ? rsplit_words : split_words)(&p, s, most);
        return pieces_list(&p, right);
    }
    const struct str *sep = tpl_str_arg(r, a[0], "a separator");
    size_t from = 0, to = s->len;
    if (!sep->len)
        tpl_fail(r, "empty separator");
    for (ptrdiff_t at; most != 0; most--) {
        at = right ? str_rfind(s, 0, to, sep) : str_find(s, from, s->len, sep);
        if (at < 0)
            break;
        if (right)
            piece(&p, s, (size_t)at + sep->len, to);
        else
            piece(&p, s, from, (size_t)at);
        from = right ? 0 : (size_t)at + sep->len;
        to = right ? (size_t)at : s->len;
    }
    piece(&p, s, from, to);
    return pieces_list(&p, right);
}

METHOD(m_split) { (void)args; return split(r, self.u.s, a, false); }
METHOD(m_rsplit) { (void)args; return split(r, self.u.s, a, true); }

/* The length in bytes of the line end at `at`, of which Unicode has several; 0 if there
 * is none. \r\n is one. */
static size_t line_end_at(const struct str *s, size_t at)
{
    int len;
    uint32_t cp = utf8_get(s->data + at, s->len - at, &len);
    if (cp == '\r' && at + 1 < s->len && s->data[at + 1] == '\n')
        return 2;
    return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 || cp == 0x2029
        ? (size_t)len : 0;
}

/* The lines of a string, with their ends if asked. A line end at the very end begins no
 * further line. */
METHOD(m_splitlines)
{
    (void)args;
    struct pieces p = { .r = r };
    const struct str *s = self.u.s;
    bool keep = a[0].kind != V_MISSING && tpl_truth(r, a[0]);
    size_t from = 0;
    tpl_charge(r, 1 + s->len / 8);
    for (size_t at = 0; at < s->len;) {
        size_t n = line_end_at(s, at);
        if (n) {
            piece(&p, s, from, keep ? at + n : at);
            from = at + n;
        }
        at += n ? n : 1;
    }
    if (from < s->len)
        piece(&p, s, from, s->len);
    return pieces_list(&p, false);
}

/* ---- building: the results are new text, marked as safe HTML if the string is */

/* The items of a sequence with this string between them. All must be strings, unless
 * this one is safe HTML, which prints and escapes them. */
METHOD(m_join)
{
    (void)args;
    struct text t;
    struct value v;
    bool first = true;
    text_init(&t, r);
    for (struct iter *it = tpl_iter(r, a[0]); tpl_next(r, it, &v); first = false) {
        if (!first)
            text_str(&t, self.u.s);
        struct str *s = self.u.s->markup ? tpl_escape_html(r, tpl_to_str(r, v)) : tpl_str_arg(r, v, "join()'s item");
        text_str(&t, s);
    }
    return same_kind(text_take(&t), self.u.s);
}

/* Fills a string up to a width. `left_share` is how many halves of the padding go to
 * its left. */
static struct value pad(struct render *r, const struct str *s, const struct value *a, int left_share)
{
    struct text t;
    int64_t width = tpl_int_arg(r, a[0], "a width"), missing = width - (int64_t)s->chars;
    const struct str *fill = a[1].kind == V_MISSING ? tpl_str(r, " ", 1) : tpl_str_arg(r, a[1], "a fill character");
    if (fill->chars != 1)
        tpl_fail(r, "the fill character must be exactly one character long");
    text_init(&t, r);
    if (missing < 0)
        missing = 0;
    int64_t left = 0;
    if (left_share == 1)
        left = missing / 2 + (missing & width & 1); /* where Python puts the odd one */
    else if (left_share == 2)
        left = missing;
    tpl_charge(r, (size_t)missing);
    for (int64_t i = 0; i < left; i++)
        text_str(&t, fill);
    text_str(&t, s);
    for (int64_t i = left; i < missing; i++)
        text_str(&t, fill);
    return same_kind(text_take(&t), s);
}

METHOD(m_ljust) { (void)args; return pad(r, self.u.s, a, 0); }
METHOD(m_center) { (void)args; return pad(r, self.u.s, a, 1); }
METHOD(m_rjust) { (void)args; return pad(r, self.u.s, a, 2); }

/* Fills a number up with zeros behind its sign. */
METHOD(m_zfill)
{
    (void)args;
    struct text t;
    const struct str *s = self.u.s;
    int64_t missing = tpl_int_arg(r, a[0], "a width") - (int64_t)s->chars;
    size_t sign = s->len && (s->data[0] == '-' || s->data[0] == '+');
    text_init(&t, r);
    text_part(&t, s, 0, sign);
    text_repeat(&t, '0', missing, FROM_TEMPLATE);
    text_part(&t, s, sign, s->len);
    return same_kind(text_take(&t), s);
}

/* Replaces tabs by the spaces that lead to the next column that is a multiple of the
 * tab size. */
METHOD(m_expandtabs)
{
    (void)args;
    struct text t;
    const struct str *s = self.u.s;
    int64_t size = a[0].kind == V_MISSING ? 8 : tpl_int_arg(r, a[0], "a tab size"), column = 0;
    text_init(&t, r);
    for (size_t i = 0; i < s->len; i++) {
        char c = s->data[i];
        if (c == '\t') {
            int64_t n = size > 0 ? size - column % size : 0;
            text_repeat(&t, ' ', n, str_origin(s, i));
            column += n;
        } else {
            text_part(&t, s, i, i + 1);
            column = c == '\n' || c == '\r' ? 0 : column + (((unsigned char)c & 0xc0) != 0x80);
        }
    }
    return same_kind(text_take(&t), s);
}

METHOD(m_format) { (void)a; return tpl_format(r, self.u.s, args); }

/* format() with the string keys of a mapping as its keyword arguments. */
METHOD(m_format_map)
{
    (void)args;
    struct args named = { 0 };
    const struct dict *d = a[0].u.dict;
    if (a[0].kind != V_DICT)
        tpl_fail(r, "format_map() needs a mapping");
    named.kw = tpl_alloc(r, d->n * sizeof *named.kw);
    for (size_t i = 0; i < d->n; i++)
        if (d->e[i].key.kind == V_STR)
            named.kw[named.n_kw++] = (struct keyword){ d->e[i].key.u.s, d->e[i].value };
    return tpl_format(r, self.u.s, &named);
}

const struct builtin tpl_str_methods[] = {
    { "capitalize", "", m_capitalize },
    { "casefold", "", m_casefold },
    { "center", "/width fillchar=", m_center },
    { "count", "/sub start= end=", m_count },
    { "encode", "*", NULL },
    { "endswith", "/suffix start= end=", m_endswith },
    { "expandtabs", "tabsize=", m_expandtabs },
    { "find", "/sub start= end=", m_find },
    { "format", "*", m_format },
    { "format_map", "/mapping", m_format_map },
    { "index", "/sub start= end=", m_index },
    { "isalnum", "", m_isalnum },
    { "isalpha", "", m_isalpha },
    { "isascii", "", m_isascii },
    { "isdecimal", "", m_isdecimal },
    { "isdigit", "", m_isdigit },
    { "isidentifier", "", m_isidentifier },
    { "islower", "", m_islower },
    { "isnumeric", "", m_isnumeric },
    { "isprintable", "", m_isprintable },
    { "isspace", "", m_isspace },
    { "istitle", "", m_istitle },
    { "isupper", "", m_isupper },
    { "join", "/iterable", m_join },
    { "ljust", "/width fillchar=", m_ljust },
    { "lower", "", m_lower },
    { "lstrip", "/chars=", m_lstrip },
    { "maketrans", "/x y= z=", tpl_maketrans },
    { "partition", "/sep", m_partition },
    { "removeprefix", "/prefix", m_removeprefix },
    { "removesuffix", "/suffix", m_removesuffix },
    { "replace", "/old new count=", m_replace },
    { "rfind", "/sub start= end=", m_rfind },
    { "rindex", "/sub start= end=", m_rindex },
    { "rjust", "/width fillchar=", m_rjust },
    { "rpartition", "/sep", m_rpartition },
    { "rsplit", "sep= maxsplit=", m_rsplit },
    { "rstrip", "/chars=", m_rstrip },
    { "split", "sep= maxsplit=", m_split },
    { "splitlines", "keepends=", m_splitlines },
    { "startswith", "/prefix start= end=", m_startswith },
    { "strip", "/chars=", m_strip },
    { "swapcase", "*", NULL },
    { "title", "", m_title },
    { "translate", "/table", tpl_translate },
    { "upper", "", m_upper },
    { "zfill", "/width", m_zfill },
    { NULL, NULL, NULL },
};
