/* base/json_python.c - see json_python.h. Files that need none of this are read by jansson alone, as fast as ever. */
#include "base/json_python.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "base/json.h"

enum { DEPTH = 512 };

/* Each word becomes a string of the same length. */
static const struct { const char *word, *string; } words[] = {
    { "NaN", "\"N\"" }, { "Infinity", "\"Infini\"" }, { "-Infinity", "\"-Infini\"" },
};

/* The length of the word that stood at s, or 0 if none did. */
static size_t put_string(char *s, size_t left)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].word);
        if (n <= left && memcmp(s, words[i].word, n) == 0)
            return memcpy(s, words[i].string, n), n;
    }
    return 0;
}

/* Goes over the text and changes the words that stand outside strings. Where it is not JSON it may change more; the
 * reader then finds the same error as before. Returns whether a word was found. */
static bool change_words(char *s, size_t n)
{
    bool in_string = false, found = false;
    for (size_t i = 0; i < n; i++) {
        if (in_string && s[i] == '\\')
            i++;
        else if (s[i] == '"')
            in_string = !in_string;
        else if (!in_string && (s[i] == 'N' || s[i] == 'I' || s[i] == '-')) {
            size_t word = put_string(s + i, n - i);
            found = found || word;
            i += word ? word - 1 : 0;
        }
    }
    return found;
}

json_t *json_python(char *s, size_t n, json_error_t *je)
{
    json_t *v = json_loadb(s, n, JSON_ALLOW_NUL, je);
    if (!v && change_words(s, n))
        v = json_loadb(s, n, JSON_ALLOW_NUL, je);
    if (v)
        return v;
    enum json_error_code code = json_error_code(je);
    if (code != json_error_numeric_overflow && code != json_error_null_byte_in_key)
        return NULL;
    struct json_limits limits = { .depth = DEPTH, .values = INT_MAX };
    return json_read("", s, n, &limits, NULL);
}
