/* Oniguruma's regular expressions (its own syntax, as the reference uses it)
 * rewritten for PCRE2 with UTF and UCP. What differs between the two:
 *   \s \d \w \h \v \p{..}   other sets; script names mean Script, not extensions;
 *                           the reference knows characters of later Unicode
 *   [a[b]&&[^c]]            unions and intersections of classes
 *   a{1,3}+  a{2}?  a{,3}   a repeat of a repeat; optional; from zero
 *   (?m:..)                 dot matches newline: (?s:..)
 *   \u1234 \O               not known to PCRE2 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"

enum { MAX_NESTING = 50, MAX_GROUPS = 200, MAX_NAME = 40 };

/* The pattern that is read, and how far. */
struct source {
    const char *s;
    size_t      n, at;
    struct err *e;
    int         depth;
};

/* The items of the sets of \s and \w, which differ from those of PCRE2. */
#define SPACE "\\t-\\r\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

/* Names of sets (lower case, without spaces, hyphens and underscores), what
 * stands for them in a class, and whose new characters to add. */
static const struct set { const char *name, *items, *more; } sets[] = {
    { "letter", "\\p{L}", "L" },            { "uppercaseletter", "\\p{Lu}", "Lu" },
    { "lowercaseletter", "\\p{Ll}", "Ll" }, { "titlecaseletter", "\\p{Lt}", "Lt" },
    { "modifierletter", "\\p{Lm}", "Lm" },  { "otherletter", "\\p{Lo}", "Lo" },
    { "mark", "\\p{M}", "M" },              { "nonspacingmark", "\\p{Mn}", "Mn" },
    { "spacingmark", "\\p{Mc}", "Mc" },     { "enclosingmark", "\\p{Me}", "Me" },
    { "number", "\\p{N}", "N" },            { "decimalnumber", "\\p{Nd}", "Nd" },
    { "letternumber", "\\p{Nl}", "Nl" },    { "othernumber", "\\p{No}", "No" },
    { "punctuation", "\\p{P}", "P" },       { "punct", "\\p{P}", "P" },
    { "symbol", "\\p{S}", "S" },            { "mathsymbol", "\\p{Sm}", "Sm" },
    { "othersymbol", "\\p{So}", "So" },     { "currencysymbol", "\\p{Sc}", "Sc" },
    { "separator", "\\p{Z}", "Z" },         { "spaceseparator", "\\p{Zs}", "Zs" },
    { "other", "\\p{C}", "C" },             { "control", "\\p{Cc}", "Cc" },
    { "cntrl", "\\p{Cc}", "Cc" },           { "format", "\\p{Cf}", "Cf" },
    { "alpha", "\\p{Alphabetic}", "Alphabetic" }, { "alphabetic", "\\p{Alphabetic}", "Alphabetic" },
    { "alnum", "\\p{Alphabetic}\\p{Nd}", "Alphabetic" },
    { "digit", "\\p{Nd}", "Nd" },           { "upper", "\\p{Uppercase}", "Lu" },
    { "lower", "\\p{Lowercase}", "Ll" },    { "uppercase", "\\p{Uppercase}", "Lu" },
    { "lowercase", "\\p{Lowercase}", "Ll" }, { "space", SPACE, NULL },
    { "whitespace", SPACE, NULL },          { "word", WORD, "Alphabetic" },
    { "xdigit", "0-9A-Fa-f", NULL },        { "blank", "\\t\\p{Zs}", NULL },
    { "ascii", "\\x{0}-\\x{7f}", NULL },    { "any", "\\x{0}-\\x{10ffff}", NULL },
    { "graph", "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}", "L" },
    { "print", "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}\\p{Zs}", "L" },
};

/* Properties that both know by the same name; any other name is a script. */
static const char *const binary[] = { "emoji", "emojipresentation", "emojimodifier", "emojimodifierbase",
                                      "emojicomponent", "extendedpictographic", "ideographic", "idstart",
                                      "idcontinue", "xidstart", "xidcontinue", "math", "dash", "hexdigit",
                                      "graphemeextend", "graphemebase", "joincontrol", "cased", "caseignorable",
                                      "defaultignorablecodepoint", "regionalindicator", "variationselector" };

/* Says what is wrong with the pattern at the present place, and returns -1. */
static int fail(struct source *p, const char *what)
{
    return err_set(p->e, "the pattern cannot be used: %s (at byte %zu)", what, p->at);
}

/* The byte so many places ahead, or -1 behind the end. */
static int peek(const struct source *p, size_t ahead)
{
    return p->at + ahead < p->n ? (unsigned char)p->s[p->at + ahead] : -1;
}

static bool letter(int c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool digit(int c) { return c >= '0' && c <= '9'; }

/* Adds the characters that a property has in the later Unicode of the reference, and that PCRE2 may not know yet.
 * property = NULL: none. */
static void add_new(struct buf *out, const char *property)
{
    size_t n;
    const struct range *r = property ? unicode_property_new(property, &n) : NULL;
    for (size_t i = 0; r && i < n; i++)
        buf_printf(out, "\\x{%x}-\\x{%x}", r[i].first, r[i].last);
}

/* Adds the items of a named set to a class. */
static void add_set(struct buf *out, const struct set *s)
{
    buf_str(out, s->items);
    add_new(out, s->more);
}

/* The set of this name, or NULL. */
static const struct set *find_set(const char *name)
{
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (!strcmp(sets[i].name, name))
            return &sets[i];
    return NULL;
}

/* Adds a character as a class or a pattern can hold it: all but letters and digits are written as numbers, so that
 * none has a special meaning. */
static void add_char(struct buf *out, uint32_t c)
{
    if (c < 0x80 && (letter((int)c) || digit((int)c)))
        buf_byte(out, (char)c);
    else
        buf_printf(out, "\\x{%x}", c);
}

/* Reads {name} of \p{name} and adds the items of that set; *negated is turned round for {^name}. A name is looked for
 * among the sets, the general categories and the binary properties; any other is taken for a script, and PCRE2
 * complains when it is none. */
static int property(struct source *p, struct buf *out, bool *negated)
{
    char plain[MAX_NAME], name[MAX_NAME];
    size_t k = 0, m = 0;
    if (peek(p, 0) != '{')
        return fail(p, "a property without braces");
    p->at++;
    if (peek(p, 0) == '^') {
        *negated = !*negated;
        p->at++;
    }
    for (; peek(p, 0) >= 0 && peek(p, 0) != '}'; p->at++) {
        int c = peek(p, 0);
        if (!(letter(c) || digit(c) || c == '_' || c == ' ' || c == '-') || m + 1 >= MAX_NAME)
            return fail(p, "a strange property name");
        name[m++] = (char)c;
        if (letter(c) || digit(c))
            plain[k++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : (char)c;
    }
    if (peek(p, 0) < 0)
        return fail(p, "a property that does not end");
    p->at++;
    plain[k] = name[m] = 0;
    const struct set *s = find_set(plain);
    if (s) {
        add_set(out, s);
        return 0;
    }
    if (k == 1 || (k == 2 && strchr("lmnpszc", plain[0]))) { /* a general category */
        plain[0] = (char)(plain[0] - 32);
        buf_printf(out, "\\p{%s}", plain);
        add_new(out, plain);
        return 0;
    }
    for (size_t i = 0; i < sizeof binary / sizeof *binary; i++)
        if (!strcmp(binary[i], plain)) {
            buf_printf(out, "\\p{%s}", name);
            return 0;
        }
    buf_printf(out, "\\p{sc:%s}", name);
    plain[0] = (char)(plain[0] - 32); /* the tables say "Han" */
    add_new(out, plain);
    return 0;
}

/* Reads a character by its number, the x41, x{1f600} or u0041 behind a backslash, into *cp. Two digits of \x are a byte
 * for the reference, and a character only below 0x80. Returns -1 where it is none. */
static int hex_char(struct source *p, uint32_t *cp)
{
    char hex[9];
    size_t k = 0;
    int c = peek(p, 0);
    bool brace = c == 'x' && peek(p, 1) == '{';
    p->at += brace ? 2 : 1;
    size_t most = c == 'x' ? 2 : 4;
    if (brace)
        most = 8;
    while (k < most && peek(p, 0) >= 0 && strchr("0123456789abcdefABCDEF", peek(p, 0)))
        hex[k++] = p->s[p->at++];
    hex[k] = 0;
    if (!k || (brace && peek(p, 0) != '}') || (c == 'u' && k != 4))
        return fail(p, "a bad hexadecimal character");
    p->at += brace;
    *cp = (uint32_t)strtoul(hex, NULL, 16);
    if (*cp > 0x10ffff || (c == 'x' && !brace && *cp > 0x7f) || (*cp >= 0xd800 && *cp < 0xe000))
        return fail(p, "not a character");
    return 0;
}

/* Reads what a backslash begins; p stands at the letter behind it. Returns 1 for a set, whose items are added to out
 * (*negated: all characters but these are meant), 0 for one character, which is then in *cp, or -1 for an error. */
static int escape(struct source *p, struct buf *out, bool *negated, uint32_t *cp)
{
    int c = peek(p, 0), len;
    if (c < 0)
        return fail(p, "a backslash at the end");
    *negated = c == 'S' || c == 'D' || c == 'W' || c == 'H' || c == 'P';
    switch (c) {
    case 's': case 'S': p->at++; add_set(out, find_set("space")); return 1;
    case 'd': case 'D': p->at++; add_set(out, find_set("digit")); return 1;
    case 'w': case 'W': p->at++; add_set(out, find_set("word")); return 1;
    case 'h': case 'H': p->at++; add_set(out, find_set("xdigit")); return 1;
    case 'p': case 'P': p->at++; return property(p, out, negated) < 0 ? -1 : 1;
    case 'n': *cp = '\n'; break;
    case 't': *cp = '\t'; break;
    case 'r': *cp = '\r'; break;
    case 'f': *cp = '\f'; break;
    case 'v': *cp = '\v'; break;
    case 'a': *cp = 7; break;
    case 'e': *cp = 27; break;
    case 'x': case 'u': return hex_char(p, cp);
    default:
        *cp = utf8_get(p->s + p->at, p->n - p->at, &len);
        p->at += (size_t)len;
        return 0;
    }
    p->at++;
    return 0;
}

/* One operand of a class: what stands between "&&" marks. */
struct operand {
    struct buf flat;   /* plain items              */
    struct buf nested; /* "|atom|atom" of the rest */
};

/* Adds the operand as an atom that matches one character. An operand without any item matches nothing. */
static void operand_atom(const struct operand *o, struct buf *out)
{
    if (!o->flat.len && !o->nested.len)
        buf_str(out, "(?!)");
    else if (!o->nested.len)
        buf_printf(out, "[%s]", o->flat.data);
    else if (!o->flat.len)
        buf_printf(out, "(?:%s)", o->nested.data + 1);
    else
        buf_printf(out, "(?:[%s]%s)", o->flat.data, o->nested.data);
}

static int class(struct source *p, struct buf *out);

/* Reads [:name:] at p and adds its items to o. Returns 1, or 0 where it is none and `[` begins a nested class. */
static int posix(struct source *p, struct operand *o)
{
    char name[MAX_NAME];
    size_t k = 0, i = 2;
    if (peek(p, 1) != ':')
        return 0;
    bool negated = peek(p, i) == '^';
    i += negated;
    for (; letter(peek(p, i)) && k + 1 < MAX_NAME; i++)
        name[k++] = (char)peek(p, i);
    name[k] = 0;
    const struct set *s = find_set(name);
    if (!s || peek(p, i) != ':' || peek(p, i + 1) != ']')
        return 0;
    p->at += i + 2;
    struct buf items;
    buf_init(&items, o->flat.max);
    add_set(&items, s);
    if (!strcmp(name, "punct")) { /* unlike \p{Punct} it has the symbols as well */
        buf_str(&items, "\\p{S}");
        add_new(&items, "S");
    }
    buf_printf(negated ? &o->nested : &o->flat, negated ? "|[^%s]" : "%s", items.data ? items.data : "");
    buf_free(&items);
    return 1;
}

/* Reads a character of a class into *cp and returns 0; or reads a set, which goes straight into o, and returns 1. In
 * a class \b is a backspace. Returns -1 for an error. */
static int class_char(struct source *p, struct operand *o, uint32_t *cp)
{
    int len;
    if (peek(p, 0) != '\\') {
        *cp = utf8_get(p->s + p->at, p->n - p->at, &len);
        p->at += (size_t)len;
        return 0;
    }
    p->at++;
    if (peek(p, 0) == 'b') {
        p->at++;
        *cp = 8;
        return 0;
    }
    struct buf items;
    bool negated;
    buf_init(&items, o->flat.max);
    int rc = escape(p, &items, &negated, cp);
    if (rc == 1)
        buf_printf(negated ? &o->nested : &o->flat, negated ? "|[^%s]" : "%s", items.data ? items.data : "");
    buf_free(&items);
    return rc;
}

/* Reads one item of a class: a nested class, a set, a range or a character. A hyphen behind a character makes a
 * range, unless the class ends or a nested one begins there: then it stands for itself. */
static int class_item(struct source *p, struct operand *o)
{
    uint32_t first, last;
    if (peek(p, 0) == '[') {
        int rc = posix(p, o);
        if (rc)
            return rc < 0 ? -1 : 0;
        p->at++;
        buf_byte(&o->nested, '|');
        return class(p, &o->nested);
    }
    int rc = class_char(p, o, &first);
    if (rc)
        return rc < 0 ? -1 : 0;
    last = first;
    if (peek(p, 0) == '-' && peek(p, 1) >= 0 && peek(p, 1) != ']' && peek(p, 1) != '[') {
        p->at++;
        if ((rc = class_char(p, o, &last)))
            return rc < 0 ? -1 : fail(p, "a set at the end of a range");
        if (last < first)
            return fail(p, "an empty range");
    }
    add_char(&o->flat, first);
    if (last != first) {
        buf_byte(&o->flat, '-');
        add_char(&o->flat, last);
    }
    return 0;
}

/* Adds the atom for a finished class. PCRE2 has no intersections: `heads` are look-aheads for all operands but the
 * last, so that the character which the last one matches must match them all. */
static void class_atom(const struct buf *heads, const struct operand *last, bool negated, struct buf *out)
{
    if (negated && !heads->len && !last->nested.len && last->flat.len) {
        buf_printf(out, "[^%s]", last->flat.data);
        return;
    }
    if (negated)
        buf_str(out, "(?:(?!");
    if (heads->len)
        buf_printf(out, "(?:%s", heads->data);
    operand_atom(last, out);
    if (heads->len)
        buf_str(out, ")");
    if (negated)
        buf_str(out, ")(?s:.))");
}

/* Reads a class, whose bracket p has passed, and adds an atom that matches one character. A `]` in the first place
 * stands for itself. */
static int class(struct source *p, struct buf *out)
{
    struct operand o;
    struct buf heads;
    bool negated = peek(p, 0) == '^', first = true;
    int rc = -1;
    buf_init(&o.flat, out->max);
    buf_init(&o.nested, out->max);
    buf_init(&heads, out->max);
    p->at += negated;
    if (++p->depth > MAX_NESTING) {
        fail(p, "classes nested too deeply");
        goto out;
    }
    for (;; first = false) {
        int c = peek(p, 0);
        if (c < 0) {
            fail(p, "a class that does not end");
            goto out;
        }
        if (c == ']' && !first)
            break;
        /* What stands before "&&" becomes a look-ahead, and the next operand begins. */
        if (c == '&' && peek(p, 1) == '&') {
            p->at += 2;
            buf_str(&heads, "(?=");
            operand_atom(&o, &heads);
            buf_str(&heads, ")");
            buf_clear(&o.flat);
            buf_clear(&o.nested);
        } else if (class_item(p, &o) < 0) {
            goto out;
        }
    }
    p->at++;
    class_atom(&heads, &o, negated, out);
    rc = 0;
out:
    p->depth--;
    buf_free(&o.flat);
    buf_free(&o.nested);
    buf_free(&heads);
    return rc;
}

/* Puts "(?:" in front of the atom that starts at `from`, and `tail` behind it. */
static void wrap(struct buf *out, size_t from, const char *tail)
{
    buf_str(out, "(?:");
    if (!buf_ok(out))
        return;
    memmove(out->data + from + 3, out->data + from, out->len - 3 - from);
    memcpy(out->data + from, "(?:", 3);
    buf_str(out, tail);
}

/* The length of a repeat such as {n}, {n,}, {,m} or {n,m} at p, or 0 where it is none. *exact: it is {n}; *from_zero:
 * its least number is left out. */
static size_t braces(const struct source *p, bool *exact, bool *from_zero)
{
    size_t i = 1;
    while (digit(peek(p, i)))
        i++;
    *from_zero = i == 1;
    *exact = peek(p, i) != ',';
    bool any = i > 1;
    if (!*exact)
        for (i++; digit(peek(p, i)); i++)
            any = true;
    return any && peek(p, i) == '}' ? i + 1 : 0;
}

/* Copies the quantifiers behind the atom that starts at `atom` in out. A second one repeats the repeat, which PCRE2
 * wants in a group: `a{1,3}+` is (?:a{1,3})+, and `a{2}?` is (?:a{2})?, since only a range can be lazy here. */
static int quantifiers(struct source *p, struct buf *out, size_t atom)
{
    for (int count = 0;; count++) {
        int c = peek(p, 0);
        bool exact = false, from_zero = false;
        size_t n = c == '*' || c == '+' || c == '?';
        if (c == '{')
            n = braces(p, &exact, &from_zero);
        if (!n)
            return 0;
        if (count > 4)
            return fail(p, "too many quantifiers");
        if (count)
            wrap(out, atom, ")");
        /* PCRE2 before 10.43 takes {,m} for plain text. */
        if (from_zero && !exact) {
            buf_str(out, "{0");
            buf_add(out, p->s + p->at + 1, n - 1);
        } else {
            buf_add(out, p->s + p->at, n);
        }
        p->at += n;
        int next = peek(p, 0);
        if (next == '?' && c == '{' && exact)
            continue; /* a{2}? is (?:a{2})? */
        if (next == '?' || (next == '+' && c != '{')) {
            buf_byte(out, (char)next);
            p->at++;
        }
    }
}

/* Reads what follows "(?" and copies the start of the group. *options: it was a change of options such as "(?i)",
 * which begins no group. The option m means for the reference what s means for PCRE2. */
static int group_start(struct source *p, struct buf *out, bool *options)
{
    int c = peek(p, 0), next = peek(p, 1);
    *options = false;
    if (c == ':' || c == '=' || c == '!' || c == '>' || (c == '<' && (next == '=' || next == '!'))) {
        size_t n = c == '<' ? 2 : 1;
        buf_str(out, "(?");
        buf_add(out, p->s + p->at, n);
        p->at += n;
        return 0;
    }
    /* A group with a name, (?<name>...). */
    if (c == '<') {
        buf_str(out, "(?");
        while (peek(p, 0) >= 0 && peek(p, 0) != '>')
            buf_byte(out, p->s[p->at++]);
        if (peek(p, 0) < 0)
            return fail(p, "a group name that does not end");
        buf_byte(out, p->s[p->at++]);
        return 0;
    }
    buf_str(out, "(?");
    for (; (c = peek(p, 0)) == 'i' || c == 'm' || c == 'x' || c == '-'; p->at++)
        buf_byte(out, c == 'm' ? 's' : (char)c);
    if (c != ':' && c != ')')
        return fail(p, "this kind of group is not supported");
    *options = c == ')';
    buf_byte(out, (char)c);
    p->at++;
    return 0;
}

/* Reads a backslash outside of classes. Anchors, references to groups and the like mean the same to both and are
 * copied; escapes that only one of the two knows, or that they read differently, are errors. */
static int outer_escape(struct source *p, struct buf *out)
{
    int c = peek(p, 1);
    if (c > 0 && (strchr("ABbGKRXZzN", c) || (c >= '1' && c <= '9'))) {
        buf_add(out, p->s + p->at, 2);
        p->at += 2;
        return 0;
    }
    if (c == 'O') {
        buf_str(out, "(?s:.)");
        p->at += 2;
        return 0;
    }
    if (c > 0 && strchr("cCMkgyYQE0", c))
        return fail(p, "this escape is not supported");
    struct buf items;
    bool negated;
    uint32_t cp = 0;
    buf_init(&items, out->max);
    p->at++;
    int rc = escape(p, &items, &negated, &cp);
    if (rc == 1)
        buf_printf(out, negated ? "[^%s]" : "[%s]", items.data ? items.data : "");
    else if (rc == 0)
        add_char(out, cp);
    buf_free(&items);
    return rc < 0 ? -1 : 0;
}

/* Reads one atom at p, or an alternative's bar, or the start or the end of a group. `open` holds the places in out
 * where the *groups open groups start. *start is where in out the atom begins that a quantifier would repeat: behind
 * a parenthesis that is the whole group. */
static int atom(struct source *p, struct buf *out, size_t *open, int *groups, size_t *start)
{
    int c = peek(p, 0), len;
    bool options;
    *start = out->len;
    switch (c) {
    case '\\':
        return outer_escape(p, out);
    case '[':
        p->at++;
        return class(p, out);
    case '(':
        if (*groups == MAX_GROUPS)
            return fail(p, "groups nested too deeply");
        if (peek(p, 1) == '*')
            return fail(p, "this kind of group is not supported");
        open[(*groups)++] = out->len;
        if (peek(p, 1) != '?') {
            buf_byte(out, '(');
            p->at++;
            return 0;
        }
        /* A comment: nothing of it is copied. */
        if (peek(p, 2) == '#') {
            --*groups;
            while (peek(p, 0) >= 0 && peek(p, 0) != ')')
                p->at++;
            p->at++;
            return 0;
        }
        p->at += 2;
        if (group_start(p, out, &options) < 0)
            return -1;
        *groups -= options;
        return 0;
    case ')':
        if (!*groups)
            return fail(p, "a parenthesis too many");
        *start = open[--*groups];
        buf_byte(out, ')');
        p->at++;
        return 0;
    case '{':
        buf_str(out, "\\{");
        p->at++;
        return 0;
    default:
        utf8_get(p->s + p->at, p->n - p->at, &len);
        buf_add(out, p->s + p->at, (size_t)len);
        p->at += (size_t)len;
        return 0;
    }
}

/* Reads atoms with their quantifiers to the end of the pattern. Nothing can be repeated directly behind the start of
 * a group, a bar or an anchor of lines: a quantifier there is left to PCRE2, as any other character would be. */
int regex_translate(const char *pattern, size_t n, struct buf *out, struct err *e)
{
    struct source p = { pattern, n, 0, e, 0 };
    size_t open[MAX_GROUPS], start;
    int groups = 0;
    while (p.at < p.n) {
        int c = peek(&p, 0);
        if (atom(&p, out, open, &groups, &start) < 0)
            return -1;
        bool repeatable = c != '(' && c != '|' && c != '^' && c != '$';
        if (repeatable && quantifiers(&p, out, start) < 0)
            return -1;
        if (!buf_ok(out))
            return fail(&p, "it is too long");
    }
    return groups ? fail(&p, "a group that does not end") : 0;
}
