/* Ranges of numbers as paths of digits. UTF-8 is a leading byte and digits to the base 64; an escape is four digits to
 * the base 16. A range is cut into parts whose last digits are free, as Thompson and others have done since grep. */
#include "grammar/encode.h"

enum { MAX_DIGITS = 4 };

struct digits {
    uint8_t lo[MAX_DIGITS], hi[MAX_DIGITS];    /* (n), the first one the most significant */
    int  n;
    uint8_t least, most;                       /* of any digit but the first              */
    bool hex;                                  /* written as a character, else as a byte  */
};

/* An edge for one digit of lo .. hi: the byte itself, or a hexadecimal digit in upper and lower case, since JSON allows
 * both. */
static void digit(struct nfa *a, int32_t from, int32_t to, uint8_t lo, uint8_t hi, bool hex)
{
    if (!hex) {
        nfa_symbol(a, from, to, lo, hi);
        return;
    }
    if (lo <= 9)
        nfa_symbol(a, from, to, '0' + lo, '0' + (hi < 9 ? hi : 9u));
    if (hi >= 10) {
        uint8_t first = lo > 10 ? lo - 10 : 0;
        nfa_symbol(a, from, to, 'a' + first, 'a' + hi - 10u);
        nfa_symbol(a, from, to, 'A' + first, 'A' + hi - 10u);
    }
}

/* Whether digits from .. n - 1 are the lowest, or the highest, that a digit can be: then the rest of the path is free.
 * */
static bool all_are(const uint8_t *d, int from, int n, uint8_t value)
{
    for (int i = from; i < n; i++)
        if (d[i] != value)
            return false;
    return true;
}

/* Writes the paths of digits i .. n - 1 of the range lo .. hi. The range is cut into a first part that shares the digit
 * of lo, a last part that shares that of hi, and a middle in which the other digits are free. So a range takes a few
 * paths for each digit and not one for each number. */
static void paths(struct nfa *a, int32_t from, int32_t to, struct digits r, int i)
{
    if (i == r.n - 1) {
        digit(a, from, to, r.lo[i], r.hi[i], r.hex);
        return;
    }
    int lo = r.lo[i], hi = r.hi[i];
    if (lo == hi) {
        int32_t next = nfa_state(a);
        digit(a, from, next, r.lo[i], r.lo[i], r.hex);
        paths(a, next, to, r, i + 1);
        return;
    }
    struct digits part = r;
    if (!all_are(r.lo, i + 1, r.n, r.least)) {
        for (int k = i; k < r.n; k++)
            part.hi[k] = k == i ? r.lo[i] : r.most;
        paths(a, from, to, part, i);
        lo++;
    }
    if (!all_are(r.hi, i + 1, r.n, r.most)) {
        part = r;
        for (int k = i; k < r.n; k++)
            part.lo[k] = k == i ? r.hi[i] : r.least;
        paths(a, from, to, part, i);
        hi--;
    }
    if (lo > hi)
        return;
    int32_t next = nfa_state(a);
    digit(a, from, next, (uint8_t)lo, (uint8_t)hi, r.hex);
    for (int k = i + 1; k < r.n; k++) {
        r.lo[k] = r.least;
        r.hi[k] = r.most;
    }
    paths(a, next, to, r, i + 1);
}

/* The part of lo .. hi that lies in least .. most. */
static bool clip(struct range r, uint32_t least, uint32_t most, struct range *out)
{
    *out = (struct range){ r.lo > least ? r.lo : least, r.hi < most ? r.hi : most };
    return out->lo <= out->hi;
}

/* The bytes of a code point in UTF-8 of a given length, also where a shorter one would do: ranges are cut by length
 * before. */
static void utf8_digits(uint32_t cp, int n, uint8_t *out)
{
    static const uint8_t lead[] = { 0, 0x00, 0xC0, 0xE0, 0xF0 };
    for (int i = n - 1; i > 0; i--, cp >>= 6)
        out[i] = 0x80 | (cp & 63);
    out[0] = (uint8_t)(lead[n] | cp);
}

/* The UTF-8 of the code points in `r`, from one state to another. Each length of encoding is a block of its own, and
 * surrogates (D800 to DFFF) fall between two blocks, so that no path spells one: they are no text. */
static void utf8_range(struct nfa *a, int32_t from, int32_t to, struct range r)
{
    static const struct { uint32_t least, most; int n; } length[] = {
        { 0, 0x7F, 1 }, { 0x80, 0x7FF, 2 }, { 0x800, 0xD7FF, 3 }, { 0xE000, 0xFFFF, 3 }, { 0x10000, 0x10FFFF, 4 },
    };
    for (size_t i = 0; i < sizeof length / sizeof *length; i++) {
        struct range part;
        struct digits d = { .n = length[i].n, .least = 0x80, .most = 0xBF };
        if (!clip(r, length[i].least, length[i].most, &part))
            continue;
        utf8_digits(part.lo, d.n, d.lo);
        utf8_digits(part.hi, d.n, d.hi);
        paths(a, from, to, d, 0);
    }
}

/* A range of 16-bit numbers as JSON's escape \uXXXX: the two characters that begin it, and then the paths of four
 * digits. */
static void hex_range(struct nfa *a, int32_t from, int32_t to, struct range r)
{
    struct digits d = { .n = 4, .least = 0, .most = 15, .hex = true };
    int32_t slash = nfa_state(a), u = nfa_state(a);
    for (int i = 3; i >= 0; i--, r.lo >>= 4, r.hi >>= 4) {
        d.lo[i] = r.lo & 15;
        d.hi[i] = r.hi & 15;
    }
    nfa_symbol(a, from, slash, '\\', '\\');
    nfa_symbol(a, slash, u, 'u', 'u');
    paths(a, u, to, d, 0);
}

/* Two escapes: the high and the low surrogate, as digits to the base 1024. */
static void surrogates(struct nfa *a, int32_t from, int32_t to, struct range r)
{
    enum { HIGH = 0xD800, LOW = 0xDC00 };
    uint32_t lo = r.lo - 0x10000, hi = r.hi - 0x10000;
    while (lo <= hi) {
        uint32_t first = lo >> 10, last = lo | 1023;
        if ((lo & 1023) == 0 && hi - lo >= 1023) {      /* whole ones at once */
            uint32_t n = (hi - lo + 1) >> 10;
            last = lo + (n << 10) - 1;
        } else if (last > hi)
            last = hi;
        int32_t between = nfa_state(a);
        hex_range(a, from, between, (struct range){ HIGH + first, HIGH + (last >> 10) });
        hex_range(a, between, to, (struct range){ LOW + (lo & 1023), LOW + (last & 1023) });
        lo = last + 1;
    }
}

static bool holds(const struct range *r, size_t n, uint32_t cp)
{
    for (size_t i = 0; i < n; i++)
        if (r[i].lo <= cp && cp <= r[i].hi)
            return true;
    return false;
}

/* What JSON may write after a backslash, and what it stands for. */
static const struct { char letter; uint32_t cp; } escapes[] = {
    { '"', '"' }, { '\\', '\\' }, { '/', '/' }, { 'b', 8 }, { 'f', 12 }, { 'n', 10 }, { 'r', 13 }, { 't', 9 },
};

/* A class of code points as they may stand inside a JSON string. Printable ASCII is written as it is; what JSON forbids
 * (controls, the quote, the backslash) only as an escape; and what lies beyond ASCII either way, above FFFF as two
 * escapes in a row. The short escapes (\n, \" and so on) share the state behind the backslash, which is made when the
 * first of them is needed. */
static void json_class(struct nfa *a, int32_t from, int32_t to, const struct range *r, size_t n)
{
    static const struct range plain[] = { { 0x20, 0x21 }, { 0x23, 0x5B }, { 0x5D, 0x10FFFF } };
    static const struct range escaped[] = { { 0, 0x1F }, { 0x7F, 0xD7FF }, { 0xE000, 0xFFFF } };
    struct range part;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < 3; k++) {
            if (clip(r[i], plain[k].lo, plain[k].hi, &part))
                utf8_range(a, from, to, part);
            if (clip(r[i], escaped[k].lo, escaped[k].hi, &part))
                hex_range(a, from, to, part);
        }
        if (clip(r[i], 0x10000, 0x10FFFF, &part))
            surrogates(a, from, to, part);
    }
    int32_t slash = -1;
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        if (!holds(r, n, escapes[i].cp))
            continue;
        if (slash < 0) {
            slash = nfa_state(a);
            nfa_symbol(a, from, slash, '\\', '\\');
        }
        nfa_symbol(a, slash, to, (uint8_t)escapes[i].letter, (uint8_t)escapes[i].letter);
    }
}

/* A class as bytes, between two states that exist: in UTF-8, or as it may be written inside a JSON string. */
void encode_class(struct nfa *a, int32_t from, int32_t to, const struct range *r, size_t n, enum writing w)
{
    if (w == WRITE_JSON) {
        json_class(a, from, to, r, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        utf8_range(a, from, to, r[i]);
}
