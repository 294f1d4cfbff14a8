/* engine/steer.c - a request's wishes about single tokens, as ids and bits. What each function promises stands in
 * steer.h. */
#include "engine/steer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORD_TOKENS = 4096 };       /* of all bad words together */

/* Ids were checked against the vocabulary when the request was submitted, hence the assert. */
static int init_bias(struct steer *s, const struct params *p, int vocab)
{
    s->bias = p->n_bias ? malloc((size_t)p->n_bias * sizeof *s->bias) : NULL;
    if (p->n_bias && !s->bias)
        return -1;
    for (int i = 0; i < p->n_bias; i++) {
        assert(p->bias[i].id >= 0 && p->bias[i].id < vocab);
        s->bias[s->n_bias++] = (struct seen){ .token = p->bias[i].id, .bias = p->bias[i].bias };
    }
    return 0;
}

/* A bit for every token of allowed_token_ids; none are set for the others. NULL: all are allowed. */
static int init_allowed(struct steer *s, const struct params *p, int vocab)
{
    if (!p->n_allowed)
        return 0;
    s->allowed = calloc((size_t)(vocab + 31) / 32, sizeof *s->allowed);
    for (int i = 0; s->allowed && i < p->n_allowed; i++)
        s->allowed[p->allowed[i] / 32] |= 1u << (p->allowed[i] % 32);
    return s->allowed ? 0 : -1;
}

/* Adds the tokens of a text to the list of bad words, which lie end to end. An empty text is none. -1: memory, or more
 * tokens than all words together may have. */
static int add_word(struct steer *s, const struct ids *ids, struct err *e)
{
    int from = s->n_words ? s->end[s->n_words - 1] : 0;
    if (ids->n == 0)
        return 0;
    if ((size_t)from + ids->n > MAX_WORD_TOKENS) {
        err_field(e, "bad_words", "bad_words may have at most %d tokens together", MAX_WORD_TOKENS);
        return -1;
    }
    int32_t *grown = realloc(s->word, ((size_t)from + ids->n) * sizeof *grown);
    if (!grown)
        return err_memory(e);
    s->word = grown;
    memcpy(grown + from, ids->id, ids->n * sizeof *grown);
    s->end[s->n_words++] = from + (int)ids->n;
    return 0;
}

/* A word in the middle of a text has other tokens than at its beginning: most tokenizers join the blank before it to
 * its first token. Where that is so, both forms are forbidden; where the blank is a token of its own, or the word falls
 * into other pieces behind it, only the form without one is, as vLLM has it. */
static int add_word_forms(struct steer *s, const struct tokenizer *t, const char *word, struct err *e)
{
    struct ids plain = { 0 }, spaced = { 0 };
    size_t     n = strlen(word);
    char      *text = malloc(n + 2);
    int        rc = text ? 0 : err_memory(e);
    if (rc == 0) {
        text[0] = ' ';
        memcpy(text + 1, word, n + 1);
        rc = tokenizer_encode(t, word, n, false, &plain, e) < 0 ||
                     tokenizer_encode(t, text, n + 1, false, &spaced, e) < 0 || add_word(s, &plain, e) < 0
                 ? -1
                 : 0;
    }
    if (rc == 0 && spaced.n > 0 && spaced.n == plain.n && spaced.id[0] != plain.id[0])
        rc = add_word(s, &spaced, e);
    free(text);
    ids_free(&plain);
    ids_free(&spaced);
    return rc;
}

/* Prepares what changes the odds of tokens: biases, the allowed ones, and words that may not be written, as tokens. -1:
 * memory, or a word that this tokenizer spells with tokens that the model does not have. */
int steer_init(struct steer *s, const struct params *p, const struct tokenizer *t, int vocab, struct err *e)
{
    *s = (struct steer){ 0 };
    int rc = init_bias(s, p, vocab) < 0 || init_allowed(s, p, vocab) < 0 ? err_memory(e) : 0;
    for (int i = 0; i < p->n_bad_words && rc == 0; i++)
        rc = add_word_forms(s, t, p->bad_word[i], e);
    for (int i = 0; i < (s->n_words ? s->end[s->n_words - 1] : 0) && rc == 0; i++)
        if (s->word[i] < 0 || s->word[i] >= vocab)
            rc = err_field(e, "bad_words", "bad_words: the model has no token %d", s->word[i]);
    if (rc < 0)
        steer_free(s);
    return rc;
}

void steer_free(struct steer *s)
{
    free(s->bias);
    free(s->allowed);
    free(s->word);
    *s = (struct steer){ 0 };
}

/* The tokens that would complete a forbidden word, given the end of the answer so far. Returns how many; `out` has room
 * for all words. */
int steer_bans(const struct steer *s, const int32_t *answer, int n, struct seen *out)
{
    int n_out = 0;
    for (int i = 0, from = 0; i < s->n_words; from = s->end[i++]) {
        int before = s->end[i] - from - 1;
        if (before > n || memcmp(answer + n - before, s->word + from, (size_t)before * sizeof *answer) != 0)
            continue;
        out[n_out++] = (struct seen){ .token = s->word[s->end[i] - 1], .count = 1 };
    }
    return n_out;
}
