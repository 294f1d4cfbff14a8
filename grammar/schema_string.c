/* Strings: lengths, patterns and formats. The usual cases become expressions whose automata stay small: no condition,
 * lengths alone, one pattern alone. Otherwise languages are intersected. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "grammar/json.h"
#include "grammar/language.h"
#include "grammar/regex.h"
#include "grammar/scan.h"
#include "grammar/schema.h"
#include "grammar/sources.h"

#define OCTET  "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define LEAP   "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
#define DATE   "([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])" \
               "|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|" LEAP "-02-29"
#define TIME   "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define LABEL  "[A-Za-z0-9](-?[A-Za-z0-9]){0,31}"     /* of at most 63 characters; none that Punycode could claim */
#define NAME   "[A-Za-z0-9]+(-[A-Za-z0-9]+)*"           /* a label of any length: its automaton is small */
#define H16    "[0-9A-Fa-f]{1,4}"
#define IPV6   "(" H16 ":){7}" H16 "|(" H16 ":){6}" OCTET "(\\." OCTET "){3}|(" H16 ":){1,7}:|(" H16 ":){1,6}:" H16 \
               "|(" H16 ":){1,5}(:" H16 "){1,2}|(" H16 ":){1,4}(:" H16 "){1,3}|(" H16 ":){1,3}(:" H16 "){1,4}" \
               "|(" H16 ":){1,2}(:" H16 "){1,5}|" H16 ":(:" H16 "){1,6}|:((:" H16 "){1,7}|:)" \
               "|(::(" H16 ":){0,5}|" H16 "::(" H16 ":){0,4}|(" H16 ":){1,2}:(" H16 ":){0,3})" OCTET "(\\." OCTET "){3}"
/* URIs, and with `more` characters that are not ASCII IRIs. A first segment without a scheme has no colon. */
#define PCHAR(more)      "([A-Za-z0-9._~!$&'()*+,;=:@" more "-]|%[0-9A-Fa-f]{2})"
#define NO_COLON(more)   "([A-Za-z0-9._~!$&'()*+,;=@" more "-]|%[0-9A-Fa-f]{2})"
#define QUERY(more)      "(" PCHAR(more) "|[/?])*"
#define HOST(more)       "(([A-Za-z0-9._~!$&'()*+,;=" more "-]|%[0-9A-Fa-f]{2})*|\\[(" IPV6 ")\\])"
#define AUTHORITY(more)  "//(([A-Za-z0-9._~!$&'()*+,;=:" more "-]|%[0-9A-Fa-f]{2})*@)?" HOST(more) "(:[0-9]*)?(/" \
                         PCHAR(more) "*)*"
#define ABSOLUTE(more)   "/(" PCHAR(more) "+(/" PCHAR(more) "*)*)?"
#define BEHIND(more)     "(\\?" QUERY(more) ")?(#" QUERY(more) ")?"
#define FULL(more)       "[A-Za-z][A-Za-z0-9+.-]*:(" AUTHORITY(more) "|" ABSOLUTE(more) "|" PCHAR(more) "+(/" \
                         PCHAR(more) "*)*)?" BEHIND(more)
#define RELATIVE(more)   "(" AUTHORITY(more) "|" ABSOLUTE(more) "|" NO_COLON(more) "+(/" PCHAR(more) "*)*)?" \
                         BEHIND(more)
#define NOT_ASCII        "\\u00A0-\\uD7FF\\uF900-\\uFDCF\\uFDF0-\\uFFEF"
#define ATOM(more)       "[A-Za-z0-9!#$%&'*+/=?^_`{|}~" more "-]+"
#define VARIABLE         "([A-Za-z0-9_]|%[0-9A-Fa-f]{2})(\\.?([A-Za-z0-9_]|%[0-9A-Fa-f]{2}))*(:[1-9][0-9]{0,3}|\\*)?"
#define LETTERS          "[A-Za-z0-9\\u00C0-\\u024F\\u0370-\\u03FF\\u0430-\\u044F\\u4E00-\\u9FFF\\uAC00-\\uD7A3]+"

/* RFC 3339, 4122, 5321 and 6531 (without quoted names), 2673, 4291, 3986, 3987, 6570, 1123, 6901. */
static const struct { const char *name, *regex; } formats[] = {
    { "date", DATE }, { "time", TIME }, { "date-time", "(" DATE ")T" TIME },
    { "duration", "P([0-9]+W|([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)"
                  "(T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))?"
                  "|T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))" },
    { "uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}" },
    { "email", ATOM("") "(\\." ATOM("") ")*@" NAME "(\\." NAME ")+" },
    { "idn-email", ATOM(NOT_ASCII) "(\\." ATOM(NOT_ASCII) ")*@" LETTERS "(\\." LETTERS ")+" },
    { "ipv4", OCTET "(\\." OCTET "){3}" }, { "ipv6", IPV6 }, { "hostname", LABEL "(\\." LABEL "){0,3}" },
    { "uri", FULL("") }, { "uri-reference", FULL("") "|" RELATIVE("") },
    { "iri", FULL(NOT_ASCII) }, { "iri-reference", FULL(NOT_ASCII) "|" RELATIVE(NOT_ASCII) },
    { "uri-template", "([^\\x00-\\x20\\x7F-\\x9F\"%<>\\\\^`{|}]|%[0-9A-Fa-f]{2}|\\{[+#./;?&=,!@|]?" VARIABLE "(,"
                      VARIABLE ")*\\})*" },
    { "json-pointer", "(/([^~/]|~[01])*)*" }, { "relative-json-pointer", "(0|[1-9][0-9]*)(#|(/([^~/]|~[01])*)*)" },
};

/* Formats of OpenAPI and Pydantic that narrow nothing that is not narrowed by the type. */
static const char *const remarks[] = { "int32", "int64", "float", "double", "password", "binary", "byte", "text",
                                       "textarea", "string", "decimal", "path", "file-path",
                                       "directory-path" };

const char *schema_format(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i].name, name) == 0)
            return formats[i].regex;
    return NULL;
}

/* A member that must be a string, or NULL where it is not given. */
static const json_t *text_of(struct schema *k, const json_t *schema, const char *name)
{
    const json_t *v = json_object_get(schema, name);
    if (v && !json_is_string(v))
        build_fail(k->b, "is no JSON Schema: %s must be a string", name);
    return v && json_is_string(v) ? v : NULL;
}

/* The regular expression of a schema's format; NULL: it has none that says anything. */
static const char *format_of(struct schema *k, const json_t *schema)
{
    const json_t *v = text_of(k, schema, "format");
    const char *regex = v ? schema_format(json_string_value(v)) : NULL;
    bool remark = !v;
    for (size_t i = 0; v && i < sizeof remarks / sizeof *remarks; i++)
        remark |= strcmp(json_string_value(v), remarks[i]) == 0;
    if (!regex && !remark)
        build_fail(k->b, "uses the format \"%.60s\", which is not supported", json_string_value(v));
    return regex;
}

/* x becomes what is in both; it is freed. */
static struct dfa *narrowed(struct build *b, struct dfa *x, struct dfa *by)
{
    if (!x)
        return by;
    struct dfa *both = language_both(b, x, by);
    dfa_free(x);
    dfa_free(by);
    return both;
}

/* A text, a class for each of its code points. */
static int32_t letters(struct build *b, const char *s, size_t n)
{
    struct exprs l = { 0 };
    for (size_t i = 0; i < n;) {
        int len = 1;
        uint32_t c = utf8_get(s + i, n - i, &len);
        exprs_add(b, &l, expr_class(b, &(struct range){ c, c }, 1, WRITE_UTF8));
        i += (size_t)len;
    }
    return exprs_seq(b, &l);
}

struct words { struct build *b; struct exprs list; };

static void add_word(void *arg, const json_t *v)
{
    struct words *w = arg;
    if (json_is_string(v))
        exprs_add(w->b, &w->list, letters(w->b, json_string_value(v), json_string_length(v)));
}

/* The strings that may not be; EXPR_NONE: there are none. */
static int32_t excluded_words(struct schema *k, const struct schemas *s)
{
    struct words w = { .b = k->b };
    schema_excluded(s, add_word, &w);
    return exprs_alt(k->b, &w.list);
}

/* x without these words; x is freed. NULL for x: all texts. */
static struct dfa *without(struct build *b, struct dfa *x, int32_t words)
{
    struct dfa *these = language_make(b, words), *others = these ? language_not(b, these) : NULL;
    dfa_free(these);
    return narrowed(b, x, others);
}

/* The texts in which a pattern matches nowhere. */
static struct dfa *no_match(struct build *b, const json_t *pattern)
{
    struct dfa *x = regex_language(b, json_string_value(pattern), json_string_length(pattern), false);
    struct dfa *others = x ? language_not(b, x) : NULL;
    dfa_free(x);
    return others;
}

/* The intersection of all patterns and formats of the set. Formats match the whole string, patterns anywhere in it.
 * NULL without a failure means that none was given, so that every string is allowed. */
struct dfa *schema_string_language(struct schema *k, const struct schemas *s)
{
    struct dfa *x = NULL;
    for (int i = 0; i < s->n && !k->b->failed; i++) {
        const json_t *pattern = text_of(k, s->m[i].schema, "pattern");
        const json_t *unlike = text_of(k, s->m[i].schema, KEYWORD_NO_MATCH);
        const char *format = format_of(k, s->m[i].schema);
        if (pattern)
            x = narrowed(k->b, x, regex_language(k->b, json_string_value(pattern), json_string_length(pattern), false));
        if (format && !k->b->failed)
            x = narrowed(k->b, x, regex_language(k->b, format, strlen(format), true));
        if (unlike && !k->b->failed)
            x = narrowed(k->b, x, no_match(k->b, unlike));
    }
    int32_t words = excluded_words(k, s);
    if (words != EXPR_NONE && !k->b->failed)
        x = without(k->b, x, words);
    if (k->b->failed) {
        dfa_free(x);
        return NULL;
    }
    return x;
}

/* The bounds of a language's texts may be those that are asked for anyway. */
static struct dfa *within(struct schema *k, struct dfa *x, int64_t min, int64_t max)
{
    int64_t least, most;
    if (!x || language_empty(x) || (min <= 0 && max < 0))
        return x;
    language_lengths(k->b, x, &least, &most);
    if (least >= min && (max < 0 || (most >= 0 && most <= max)))
        return x;
    struct dfa *sized = language_sized(k->b, x, min, max);
    dfa_free(x);
    return sized;
}

/* Patterns and formats of the whole set; *one: the only one, if it is alone. What only the language knows of counts
 * twice. */
static int count(struct schema *k, const struct schemas *s, int32_t *one)
{
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        const json_t *pattern = text_of(k, s->m[i].schema, "pattern");
        const char *format = format_of(k, s->m[i].schema);
        n += (pattern != NULL) + (format != NULL) + 2 * (json_object_get(s->m[i].schema, KEYWORD_NO_MATCH) != NULL);
        if (n != 1)
            continue;
        if (pattern)
            *one = regex_expr(k->b, json_string_value(pattern), json_string_length(pattern), false, WRITE_JSON);
        if (format)
            *one = regex_expr(k->b, format, strlen(format), true, WRITE_JSON);
    }
    return n + 2 * (excluded_words(k, s) != EXPR_NONE);
}

/* One constant string as a language; the empty language for another value. */
static int32_t word(struct build *b, const json_t *v)
{
    return json_is_string(v) ? letters(b, json_string_value(v), json_string_length(v)) : EXPR_NONE;
}

/* As schema_string(), but for the names of properties: the result is a language, not an expression, because names are
 * compared and subtracted. enum and const narrow it to the listed words, and a type other than string leaves no name at
 * all. */
struct dfa *schema_names(struct schema *k, const struct schemas *s)
{
    struct build *b = k->b;
    int64_t min = schema_most_of(k, s, "minLength"), max = schema_least_of(k, s, "maxLength");
    struct dfa *x = schema_string_language(k, s);
    for (int i = 0; i < s->n && !b->failed; i++) {
        const json_t *one = json_object_get(s->m[i].schema, "const"), *list = json_object_get(s->m[i].schema, "enum");
        struct exprs l = { 0 };
        for (size_t j = 0; j < json_array_size(list); j++)
            exprs_add(b, &l, word(b, json_array_get(list, j)));
        if (one)
            exprs_add(b, &l, word(b, one));
        int32_t words = exprs_alt(b, &l);
        if (one || list)
            x = narrowed(b, x, language_make(b, words));
    }
    if (!(schema_types(k, s) & TYPE_STRING) && !b->failed)
        x = narrowed(b, x, language_make(b, EXPR_NONE));
    if (!x && (min > 0 || max >= 0) && !b->failed)
        x = language_all(b);
    return within(k, x, min, max);
}

/* The expression of a quoted string. The cases that clients send most often (any string, one pattern, lengths alone)
 * become expressions whose automata stay small; lengths alone count, so that maxLength 10000 costs no 10000 states.
 * Everything else is an intersection. */
int32_t schema_string(struct schema *k, const struct schemas *s)
{
    struct build *b = k->b;
    int64_t min = schema_most_of(k, s, "minLength"), max = schema_least_of(k, s, "maxLength");
    int32_t one = EXPR_NONE;
    int n = count(k, s, &one);
    if (max >= 0 && max < min)
        return EXPR_NONE;
    if (n == 0 && min <= 0 && max < 0)
        return json_expr(b, JSON_ANY_STRING);
    if (n == 1 && min <= 0 && max < 0)
        return json_quoted(b, one);
    if (n == 0) {
        if (max == 0)
            return expr_str(b, "\"\"");
        int32_t most = max < 0 || max >= NO_MAX ? NO_MAX : (int32_t)max;
        int32_t least = (int32_t)(min < NO_MAX ? min : NO_MAX - 1);
        int32_t text = expr_counted(b, expr_any_char(b, WRITE_JSON), least > 0 ? least : 0, most, '"');
        return expr_pair(b, expr_str(b, "\""), text);
    }
    return json_quoted(b, expr_lang(b, within(k, schema_string_language(k, s), min, max), WRITE_JSON));
}

/* Alternatives would need a language each; a value that has them is better asked for as JSON. */
static void refuse_alternatives(struct schema *k, const struct schemas *s)
{
    for (int i = 0; i < s->n; i++)
        if (json_object_get(s->m[i].schema, "anyOf") || json_object_get(s->m[i].schema, "oneOf"))
            build_fail(k->b, "uses anyOf, oneOf, not or if beside the type of a string that is written without quotes, "
                       "which is not supported");
}

/* x without the texts in which `end` stands; x is freed. */
static struct dfa *without_end(struct build *b, struct dfa *x, const char *end, size_t n_end)
{
    int32_t any = expr_repeat(b, expr_any_char(b, WRITE_UTF8), 0, NO_MAX);
    struct dfa *with = language_make(b, expr_seq(b, (int32_t[]){ any, letters(b, end, n_end), any }, 3));
    struct dfa *others = with ? language_not(b, with) : NULL;
    dfa_free(with);
    return narrowed(b, x, others);
}

/* The texts of the schema in which `end` does not stand, and then `end`. A text can hold no beginning of `end` that
 * what follows completes, as long as `end` does not begin anew within itself; marks do not. */
int32_t text_expr(struct build *b, const json_t *schema, const json_t *root, const char *end, size_t n_end)
{
    struct schema  k = { .b = b, .root = root };
    struct schemas s = { .n = 0 };
    int32_t mark = expr_bytes(b, end, n_end), x = EXPR_NONE;
    schemas_add(&k, &s, schema);
    refuse_alternatives(&k, &s);
    struct dfa *texts = b->failed || s.never ? NULL : schema_names(&k, &s);
    if (texts && (texts = without_end(b, texts, end, n_end)))
        x = expr_pair(b, expr_lang(b, texts, WRITE_UTF8), expr_marked(b, end, n_end));
    else if (!b->failed && !s.never)
        x = expr_until(b, &mark, 1, 0);
    schema_free(&k);
    return x;
}
