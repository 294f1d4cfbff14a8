/* server/token_fields.c - reads the fields of a request that are about single tokens. Token ids come as numbers in a
 * list and as keys in an object; both must be ids of the vocabulary, because an id that the model does not have is a
 * sign that the client counts with another model's tokenizer. */
#include "server/token_fields.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "server/fields.h"

/* Checks ids against the vocabulary; `out` has room for all. */
int token_ids_read(const json_t *list, const char *name, int vocab, int32_t *out, struct err *e)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        int64_t id = -1;
        if (json_whole(json_array_get(list, i), &id) == JSON_NOT_WHOLE)
            return fields_wrong(e, "invalid_type", "", name, "must be an array of token ids");
        if (id < 0 || id >= vocab)        /* also those beyond 64 bits */
            return fields_wrong(e, "invalid_value", "", name, "holds at %zu what is not from 0 to %d", i, vocab - 1);
        out[i] = (int32_t)id;
    }
    return 0;
}

/* The key of a bias as an id: digits and nothing else. */
static int id_of_key(const char *key, size_t n, int vocab, int32_t *id, struct err *e)
{
    bool digits = n > 0 && n < 10;
    for (size_t i = 0; i < n && digits; i++)
        digits = isdigit((unsigned char)key[i]);
    long v = digits ? strtol(key, NULL, 10) : -1;
    if (v < 0 || v >= vocab)
        return fields_wrong(e, "invalid_value", "", "logit_bias", "has \"%.32s\", which is no token id from 0 to %d",
                            key, vocab - 1);
    *id = (int32_t)v;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    int32_t x = ((const struct token_bias *)a)->id, y = ((const struct token_bias *)b)->id;
    return (x > y) - (x < y);
}

/* {"50256": -100, ...}. OpenAI's range is -100 to 100; what lies outside counts as its end. Of two keys for one id
 * ("7" and "07") the last counts. */
static int parse_bias(struct sampling *s, int vocab, const json_t *in, struct err *e)
{
    json_t *map = NULL, *v;
    const char *key;
    size_t n_key;
    int n = 0;
    if (member_object(in, "", "logit_bias", &map, e) != 0)
        return -1;
    if (json_object_size(map) > ENGINE_MAX_BIAS)
        return fields_wrong(e, "invalid_value", "", "logit_bias", "may have at most %d tokens", ENGINE_MAX_BIAS);
    if (json_object_size(map) == 0)
        return 0;
    s->bias = malloc(json_object_size(map) * sizeof *s->bias);
    if (!s->bias)
        return err_memory(e);
    json_object_keylen_foreach(map, key, n_key, v) {
        int32_t id = 0;
        if (id_of_key(key, n_key, vocab, &id, e) != 0)
            return -1;
        bool big = json_big(v, NULL) != NULL;
        if (!big && !json_is_number(v))
            return fields_wrong(e, "invalid_type", "", "logit_bias", "must have a number for token %d", id);
        double x = big ? strtod(json_big(v, NULL), NULL) : json_number_value(v);
        s->bias[n++] = (struct token_bias){ .id = id, .bias = (float)fmax(-100, fmin(100, x)) };
    }
    qsort(s->bias, (size_t)n, sizeof *s->bias, by_id);
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (i + 1 == n || s->bias[i + 1].id != s->bias[i].id)
            s->bias[kept++] = s->bias[i];
    s->params.bias = s->bias;
    s->params.n_bias = kept;
    return 0;
}

/* vLLM's: the answer is made of these tokens alone. An empty list would leave none. */
static int parse_allowed(struct sampling *s, int vocab, const json_t *in, struct err *e)
{
    json_t *list = NULL;
    if (member_array(in, "", "allowed_token_ids", &list, e) != 0)
        return -1;
    if (!list)
        return 0;
    size_t n = json_array_size(list);
    if (n == 0)
        return fields_wrong(e, "invalid_value", "", "allowed_token_ids", "must not be empty");
    if (n > (size_t)vocab)
        return fields_wrong(e, "invalid_value", "", "allowed_token_ids", "may hold at most %d ids", vocab);
    s->allowed = malloc(n * sizeof *s->allowed);
    if (!s->allowed)
        return err_memory(e);
    if (token_ids_read(list, "allowed_token_ids", vocab, s->allowed, e) != 0)
        return -1;
    s->params.allowed = s->allowed;
    s->params.n_allowed = (int)n;
    return 0;
}

/* vLLM's bad_words: texts that the answer may not come to hold. Blanks before a word do not count, as tokens differ in
 * whether they have one. The strings are borrowed from the request. */
static int parse_bad_words(struct params *p, const json_t *in, struct err *e)
{
    json_t *list = NULL;
    if (member_array(in, "", "bad_words", &list, e) != 0)
        return -1;
    if (json_array_size(list) > ENGINE_MAX_BAD_WORDS)
        return fields_wrong(e, "invalid_value", "", "bad_words", "may hold at most %d strings", ENGINE_MAX_BAD_WORDS);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_string(v))
            return fields_wrong(e, "invalid_type", "", "bad_words", "must be an array of strings");
        const char *word = json_string_value(v) + strspn(json_string_value(v), " ");
        if (!*word || strlen(json_string_value(v)) != json_string_length(v))
            return fields_wrong(e, "invalid_value", "", "bad_words",
                                "must not hold an empty string, blanks alone or U+0000");
        if (strlen(word) > ENGINE_MAX_STOP_BYTES)
            return fields_wrong(e, "invalid_value", "", "bad_words", "may hold at most %d bytes a string",
                                ENGINE_MAX_STOP_BYTES);
        p->bad_word[p->n_bad_words++] = word;
    }
    return 0;
}

int token_fields_parse(struct sampling *s, const json_t *in, struct err *e)
{
    return parse_bias(s, s->vocab, in, e) != 0 || parse_allowed(s, s->vocab, in, e) != 0 ||
                   parse_bad_words(&s->params, in, e) != 0
               ? -1
               : 0;
}
