/* template/unicode.c - character classes and case as Python's str has
 * them; the only user of utf8proc, which knows simple case mappings. The mappings
 * that give several characters stand in a table here. */
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "template/syntax.h"

static utf8proc_category_t category(uint32_t cp) { return utf8proc_category((utf8proc_int32_t)cp); }

/* What str.isspace() and str.split() take for whitespace. */
bool uni_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x20) || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
               cp == 0x3000;
}

/* What repr() writes as it is: no controls, no separators but the plain space, nothing
 * that is not assigned. */
bool uni_printable(uint32_t cp)
{
    if (cp < 0x7f)
        return cp >= 0x20;
    switch (category(cp)) {
    case UTF8PROC_CATEGORY_CC: case UTF8PROC_CATEGORY_CF: case UTF8PROC_CATEGORY_CS: case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN: case UTF8PROC_CATEGORY_ZL: case UTF8PROC_CATEGORY_ZP: case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

bool uni_alpha(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool uni_decimal(uint32_t cp) { return category(cp) == UTF8PROC_CATEGORY_ND; }

/* Decimal digits, and super-, subscript and circled ones. */
bool uni_digit(uint32_t cp)
{
    static const uint32_t ranges[][2] = {
        { 0xb2, 0xb3 }, { 0xb9, 0xb9 }, { 0x1369, 0x1371 }, { 0x19da, 0x19da }, { 0x2070, 0x2070 }, { 0x2074, 0x2079 },
        { 0x2080, 0x2089 }, { 0x2460, 0x2468 }, { 0x2474, 0x247c }, { 0x2488, 0x2490 }, { 0x24ea, 0x24ea },
        { 0x24f5, 0x24fd }, { 0x24ff, 0x24ff }, { 0x2776, 0x277e }, { 0x2780, 0x2788 }, { 0x278a, 0x2792 },
        { 0x10a40, 0x10a43 }, { 0x10e60, 0x10e68 }, { 0x11052, 0x1105a }, { 0x1f100, 0x1f10a },
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (cp >= ranges[i][0] && cp <= ranges[i][1])
            return true;
    return uni_decimal(cp);
}

/* Python's str.isnumeric(): digits, fractions, Roman numerals, and the Chinese characters that stand for numbers, of
 * which the common ones are listed here. */
bool uni_numeric(uint32_t cp)
{
    static const uint32_t han[] = { 0x3405, 0x3483, 0x382a, 0x3b4d, 0x4e00, 0x4e03, 0x4e07, 0x4e09, 0x4e5d, 0x4e8c,
                                    0x4e94, 0x4e96, 0x4ebf, 0x4edf, 0x4ee8, 0x4f0d, 0x4f70, 0x5104, 0x5146, 0x5169,
                                    0x516b, 0x516d, 0x5341, 0x5343, 0x5344, 0x5345, 0x534c, 0x53c1, 0x53c2, 0x53c3,
                                    0x53c4, 0x56db, 0x58f1, 0x58f9, 0x5e7a, 0x5efe, 0x5eff, 0x5f0c, 0x5f0d, 0x5f0e,
                                    0x5f10, 0x62fe, 0x634c, 0x67d2, 0x6f06, 0x7396, 0x767e, 0x8086, 0x842c, 0x8cae,
                                    0x8cb3, 0x8d30, 0x9621, 0x9646, 0x964c, 0x9678, 0x96f6 };
    utf8proc_category_t c = category(cp);
    if (c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO)
        return true;
    for (size_t i = 0; i < sizeof han / sizeof *han; i++)
        if (cp == han[i])
            return true;
    return false;
}

/* Letters that count as lower or upper case without being of that category. */
static bool other_lower(uint32_t cp)
{
    return cp == 0xaa || cp == 0xba || (cp >= 0x2b0 && cp <= 0x2b8) || cp == 0x2c0 || cp == 0x2c1 ||
           (cp >= 0x2e0 && cp <= 0x2e4) || cp == 0x345 || cp == 0x37a || (cp >= 0x1d2c && cp <= 0x1d6a) ||
               cp == 0x1d78 ||
           (cp >= 0x1d9b && cp <= 0x1dbf) || cp == 0x2071 || cp == 0x207f || (cp >= 0x2090 && cp <= 0x209c) ||
           (cp >= 0x2170 && cp <= 0x217f) || (cp >= 0x24d0 && cp <= 0x24e9);
}

static bool other_upper(uint32_t cp)
{
    return (cp >= 0x2160 && cp <= 0x216f) || (cp >= 0x24b6 && cp <= 0x24cf) || (cp >= 0x1f130 && cp <= 0x1f149) ||
           (cp >= 0x1f150 && cp <= 0x1f169) || (cp >= 0x1f170 && cp <= 0x1f189);
}

bool uni_lower(uint32_t cp) { return category(cp) == UTF8PROC_CATEGORY_LL || other_lower(cp); }
bool uni_upper(uint32_t cp) { return category(cp) == UTF8PROC_CATEGORY_LU || other_upper(cp); }
bool uni_title(uint32_t cp) { return category(cp) == UTF8PROC_CATEGORY_LT; }
bool uni_word(uint32_t cp) { return cp == '_' || uni_alpha(cp) || uni_numeric(cp); }

/* ---- case: a string is walked once, and each character is mapped by a plan that
 * knows whether a letter stands before it */

/* Characters whose upper (or, with 0x80 set in the flag, title) case is several. */
static const struct special {
    uint32_t    cp;
    const char *upper, *title;
} specials[] = {
    { 0xdf, "SS", "Ss" }, { 0x149, "\u02bcN", "\u02bcN" }, { 0x1f0, "J\u030c", "J\u030c" },
    { 0x390, "\u0399\u0308\u0301", "\u0399\u0308\u0301" }, { 0x3b0, "\u03a5\u0308\u0301", "\u03a5\u0308\u0301" },
    { 0x587, "\u0535\u0552", "\u0535\u0582" }, { 0x1e96, "H\u0331", "H\u0331" }, { 0x1e97, "T\u0308", "T\u0308" },
    { 0x1e98, "W\u030a", "W\u030a" }, { 0x1e99, "Y\u030a", "Y\u030a" }, { 0x1e9a, "A\u02be", "A\u02be" },
    { 0xfb00, "FF", "Ff" }, { 0xfb01, "FI", "Fi" }, { 0xfb02, "FL", "Fl" }, { 0xfb03, "FFI", "Ffi" },
    { 0xfb04, "FFL", "Ffl" }, { 0xfb05, "ST", "St" }, { 0xfb06, "ST", "St" },
};

enum mapping { TO_UPPER, TO_LOWER, TO_TITLE };

static bool cased(uint32_t cp) { return uni_lower(cp) || uni_upper(cp) || uni_title(cp); }

/* Characters that stand inside words without being letters, such as accents and
 * apostrophes. */
static bool case_ignorable(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return cp == '\'' || cp == '.' || cp == ':' || cp == 0xb7 || cp == 0x2019 || cp == 0x2018 || cp == 0x2024 ||
        cp == 0x2027 || c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_SK;
}

/* Whether the capital sigma at byte `at` is the last letter of a word and so becomes another small letter: a cased
 * letter stands before it and none behind, marks and the like not counted (Unicode's Final_Sigma). */
static bool final_sigma(const struct str *s, size_t at)
{
    size_t i = at, next = at + 2;
    bool before = false;
    int len;
    while (i > 0) {
        do
            i--;
        while (i > 0 && ((unsigned char)s->data[i] & 0xc0) == 0x80);
        uint32_t cp = utf8_get(s->data + i, s->len - i, &len);
        if (!case_ignorable(cp)) {
            before = cased(cp);
            break;
        }
    }
    while (before && next < s->len) {
        uint32_t cp = utf8_get(s->data + next, s->len - next, &len);
        if (!case_ignorable(cp))
            return !cased(cp);
        next += (size_t)len;
    }
    return before;
}

/* Adds the mapped character. ASCII comes first because it is nearly everything; then
 * the letters whose mapping depends on their place or has several characters. */
static void map_char(struct text *t, const struct str *s, size_t at, uint32_t cp, enum mapping to)
{
    enum origin origin = str_origin(s, at);
    if (cp < 0x80) {
        bool lower = cp >= 'a' && cp <= 'z', upper = cp >= 'A' && cp <= 'Z';
        if (to == TO_LOWER && upper)
            cp += 32;
        else if (to != TO_LOWER && lower)
            cp -= 32;
        text_char_as(t, cp, origin);
        return;
    }
    if (to == TO_LOWER) {
        if (cp == 0x130)
            text_add_as(t, "i\u0307", 3, origin);
        else if (cp == 0x3a3)
            text_char_as(t, final_sigma(s, at) ? 0x3c2 : 0x3c3, origin);
        else
            text_char_as(t, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp), origin);
        return;
    }
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++)
        if (specials[i].cp == cp) {
            const char *mapped = to == TO_UPPER ? specials[i].upper : specials[i].title;
            text_add_as(t, mapped, strlen(mapped), origin);
            return;
        }
    text_char_as(t,
                 (uint32_t)(to == TO_UPPER ? utf8proc_toupper((utf8proc_int32_t)cp)
                            : utf8proc_totitle((utf8proc_int32_t)cp)),
                 origin);
}

/* How the character at a place is mapped, given whether a letter stands before it. */
enum plan { PLAN_UPPER, PLAN_LOWER, PLAN_CAPITALIZE, PLAN_TITLE };

/* Which way a character goes under a plan. */
static enum mapping mapping_for(enum plan plan, bool first, bool after_letter)
{
    switch (plan) {
    case PLAN_UPPER:      return TO_UPPER;
    case PLAN_LOWER:      return TO_LOWER;
    case PLAN_CAPITALIZE: return first ? TO_TITLE : TO_LOWER;
    case PLAN_TITLE:      return after_letter ? TO_LOWER : TO_TITLE;
    }
    return TO_UPPER;
}

/* A string mapped by a plan. Every character keeps the origin of the one that it was
 * made from. */
static struct str *map_all(struct render *r, const struct str *s, enum plan plan)
{
    struct text t;
    bool after_letter = false;
    int len;
    text_init(&t, r);
    tpl_charge(r, 1 + s->len / 8);
    for (size_t i = 0; i < s->len; i += (size_t)len) {
        uint32_t cp = utf8_get(s->data + i, s->len - i, &len);
        map_char(&t, s, i, cp, mapping_for(plan, i == 0, after_letter));
        after_letter = cased(cp);
    }
    struct str *out = text_take(&t);
    out->markup = s->markup;
    return out;
}

struct str *uni_to_upper(struct render *r, const struct str *s) { return map_all(r, s, PLAN_UPPER); }
struct str *uni_to_lower(struct render *r, const struct str *s) { return map_all(r, s, PLAN_LOWER); }
struct str *uni_capitalize(struct render *r, const struct str *s) { return map_all(r, s, PLAN_CAPITALIZE); }
struct str *uni_titlecase(struct render *r, const struct str *s) { return map_all(r, s, PLAN_TITLE); }

/* str.casefold(): the full folding, which may give several characters for one. */
struct str *uni_casefold(struct render *r, const struct str *s)
{
    struct text t;
    int len;
    text_init(&t, r);
    tpl_charge(r, 1 + s->len / 8);
    for (size_t i = 0; i < s->len; i += (size_t)len) {
        utf8proc_int32_t folded[8];
        int class = 0;
        uint32_t cp = utf8_get(s->data + i, s->len - i, &len);
        utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, folded, 8, UTF8PROC_CASEFOLD, &class);
        for (utf8proc_ssize_t k = 0; k < n && k < 8; k++)
            text_char_as(&t, (uint32_t)folded[k], str_origin(s, i));
    }
    struct str *out = text_take(&t);
    out->markup = s->markup;
    return out;
}
