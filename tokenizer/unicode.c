/* tokenizer/unicode.c - see unicode.h.
 *
 * utf8proc knows the properties of one version of Unicode, the reference those of others (each of its libraries has
 * its own). Where the difference can be seen in ids, tables made from the reference decide, or code that leaves out
 * what it does not know. */
#include "tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"

struct script_range { uint32_t first, last; int script; };
struct lower_range { uint32_t first, last; int step; };
struct property_new { const char *name; const struct range *range; size_t count; };

#include "tokenizer/unicode_tables.inc"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Whether c is in one of the ranges of t, by binary search: t is sorted and without overlaps. */
static bool in_table(const struct range *t, size_t n, uint32_t c)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t[mid].last < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && t[lo].first <= c;
}

/* The few characters of White_Space are compared one by one, ASCII first. */
bool unicode_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= '\t' && c <= '\r');
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

bool unicode_word(uint32_t c) { return in_table(table_word, COUNT(table_word), c); }
bool unicode_punctuation(uint32_t c) { return in_table(table_punctuation, COUNT(table_punctuation), c); }

bool unicode_numeric(uint32_t c)
{
    return c < 0x80 ? c >= '0' && c <= '9' : in_table(table_numeric, COUNT(table_numeric), c);
}

bool unicode_mark(uint32_t c) { return c >= 0x300 && in_table(table_mark, COUNT(table_mark), c); }

/* A binary search as in in_table(), over ranges that have a script each. */
int unicode_script(uint32_t c)
{
    size_t lo = 0, hi = COUNT(table_script);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (table_script[mid].last < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < COUNT(table_script) && table_script[lo].first <= c ? table_script[lo].script : 0;
}

/* Takes utf8proc's lower case; where it knows none, the table of later letters may. */
int unicode_lower(uint32_t c, uint32_t out[2])
{
    out[0] = c;
    if (c < 0x80) {
        if (c >= 'A' && c <= 'Z')
            out[0] = c + 32;
        return 1;
    }
    if (c == 0x130) { /* the only one that becomes two */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    for (size_t i = 0; out[0] == c && i < COUNT(table_lower_new); i++)
        if (c >= table_lower_new[i].first && c <= table_lower_new[i].last)
            out[0] = c + (uint32_t)table_lower_new[i].step;
    return 1;
}

/* Looks a property up in the generated tables by its name, which is spelled as in a pattern. */
const struct range *unicode_property_new(const char *name, size_t *count)
{
    for (size_t i = 0; i < COUNT(table_new); i++)
        if (!strcmp(table_new[i].name, name)) {
            *count = table_new[i].count;
            return table_new[i].range;
        }
    *count = 0;
    return NULL;
}

/* Whether the reference does not know the decomposition of c: its normal forms stop at Unicode 9 or so, and these
 * came later. */
static bool decomposes_too_late(uint32_t c)
{
    static const struct range late[] = { { 0x32ff, 0x32ff },   { 0xa7f2, 0xa7f4 },   { 0xab69, 0xab69 },
                                         { 0x10781, 0x107ba }, { 0x11938, 0x11938 }, { 0x1e030, 0x1e06d },
                                         { 0x1f16c, 0x1f16c }, { 0x1fbf0, 0x1fbf9 } };
    return c >= 0x32ff && in_table(late, COUNT(late), c);
}

/* The canonical combining class; the marks that the reference does not know have none. */
static int combining_class(int32_t c)
{
    if (c < 0x300)
        return 0;
    int k = utf8proc_get_property(c)->combining_class;
    return k && unicode_mark((uint32_t)c) ? k : 0;
}

/* A mark in a run that is sorted by class, equal ones staying in order. */
struct mark { int class; uint32_t order; int32_t c; };

/* The order of marks, for qsort: by class, those of one class by their place. */
static int by_class(const void *pa, const void *pb)
{
    const struct mark *a = pa, *b = pb;
    if (a->class != b->class)
        return a->class - b->class;
    return a->order < b->order ? -1 : 1;
}

/* Sorts the run of n marks at c by class, keeping the order within a class. Texts have one or two in a row; only an
 * attacker has thousands, and those go through qsort. Returns -1 when the memory runs out. */
static int sort_marks(int32_t *c, size_t n)
{
    if (n <= 8) {
        for (size_t i = 1; i < n; i++)
            for (size_t j = i; j && combining_class(c[j - 1]) > combining_class(c[j]); j--) {
                int32_t swap = c[j];
                c[j] = c[j - 1];
                c[j - 1] = swap;
            }
        return 0;
    }
    struct mark *m = malloc(n * sizeof *m);
    if (!m)
        return -1;
    for (size_t i = 0; i < n; i++)
        m[i] = (struct mark){ combining_class(c[i]), (uint32_t)i, c[i] };
    qsort(m, n, sizeof *m, by_class);
    for (size_t i = 0; i < n; i++)
        c[i] = m[i].c;
    free(m);
    return 0;
}

/* Sorts every run of marks in c, as all normal forms want them. Returns -1 when the memory runs out. */
static int order_marks(int32_t *c, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && combining_class(c[end]))
            end++;
        if (end - i > 1 && sort_marks(c + i, end - i) < 0)
            return -1;
        i = end > i ? end : i + 1;
    }
    return 0;
}

/* Decomposes s to *c, which grows as needed. `options` are utf8proc's; `compat`: compatibility decompositions as
 * well. Returns the number of code points, or -1 when the memory runs out. */
static long decompose(const char *s, size_t n, int options, bool compat, int32_t **c, size_t *cap)
{
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        int len, boundary = 0;
        uint32_t cp = utf8_get(s + i, n - i, &len);
        i += (size_t)len;
        if (grow(c, cap, used + 32, sizeof **c) < 0) /* the longest decomposition has 18 */
            return -1;
        if (decomposes_too_late(cp) || (!compat && cp < 0xc0)) {
            (*c)[used++] = (int32_t)cp;
            continue;
        }
        utf8proc_ssize_t k = utf8proc_decompose_char((utf8proc_int32_t)cp, *c + used, 32, options, &boundary);
        if (k < 0 || k > 32)
            return -1;
        used += (size_t)k;
    }
    return (long)used;
}

/* Composes the n code points at c in place and returns how many are left, or -1. The reference does not know the one
 * composition that came after its Unicode, 11935 + 11930 = 11938: each 11930 begins a new part. */
static long compose(int32_t *c, long n, int options)
{
    long kept = 0;
    for (long i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && c[end] != 0x11930; end++) {}
        long k = utf8proc_normalize_utf32(c + i, end - i, options);
        if (k < 0)
            return -1;
        memmove(c + kept, c + i, (size_t)k * sizeof *c);
        kept += k;
    }
    return kept;
}

/* Appends the normal form of one stretch that no normal form connects with what is beside it. *c, with room for *cap,
 * is working memory that the stretches share. Returns -1 when the memory runs out. */
static int normalize_stretch(enum normal_form form, const char *s, size_t n, int32_t **c, size_t *cap,
                             struct buf *out)
{
    static const int options[] = { UTF8PROC_STABLE | UTF8PROC_COMPOSE, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
                                   UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
                                   UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT };
    long k = decompose(s, n, options[form], form >= NFKC, c, cap);
    if (k < 0 || order_marks(*c, (size_t)k) < 0)
        return -1;
    if (form == NFC || form == NFKC)
        k = compose(*c, k, options[form]);
    for (long i = 0; i < k; i++) {
        char u[4];
        buf_add(out, u, (size_t)utf8_put(u, (uint32_t)(*c)[i]));
    }
    return k < 0 || !buf_ok(out) ? -1 : 0;
}

/* Runs of ASCII are copied as they are, and what is between them is normalized. The last ASCII character before
 * others goes with them, as it may compose with them. made() is told of every stretch that is done. */
int unicode_normalize(enum normal_form form, const char *s, size_t n, struct buf *out,
                      void (*made)(void *arg, size_t from, size_t to), void *arg)
{
    int32_t *c = NULL;
    size_t cap = 0;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0;) {
        size_t plain = i;
        while (plain < n && (uint8_t)s[plain] < 0x80)
            plain++;
        size_t copy = plain < n && plain > i ? plain - 1 : plain;
        buf_add(out, s + i, copy - i);
        if (made)
            made(arg, i, copy);
        size_t end = plain;
        while (end < n && (uint8_t)s[end] >= 0x80)
            end++;
        if (end > copy)
            rc = normalize_stretch(form, s + copy, end - copy, &c, &cap, out);
        if (made && rc == 0)
            made(arg, copy, end);
        i = end;
    }
    free(c);
    return rc < 0 || !buf_ok(out) ? -1 : 0;
}

/* Goes on by characters until utf8proc sees a boundary between two of them. */
size_t unicode_grapheme(const char *s, size_t n)
{
    int len, state = 0;
    uint32_t a = utf8_get(s, n, &len);
    size_t at = (size_t)len;
    while (at < n) {
        uint32_t b = utf8_get(s + at, n - at, &len);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)a, (utf8proc_int32_t)b, &state))
            break;
        a = b;
        at += (size_t)len;
    }
    return at;
}
