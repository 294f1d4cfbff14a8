/* engine/masks.c - see masks.h. */
#include "engine/masks.h"

#include <string.h>

#include "grammar/matcher.h"

static void set_ends(const struct request *r, uint32_t *row, bool allowed)
{
    for (int i = 0; i < r->n_ends; i++) {
        uint32_t bit = 1u << r->ends[i] % 32, *word = &row[r->ends[i] / 32];
        *word = allowed ? *word | bit : *word & ~bit;
    }
}

static bool is_empty(const uint32_t *row, size_t words)
{
    uint32_t any = 0;
    for (size_t i = 0; i < words; i++)
        any |= row[i];
    return !any;
}

/* The grammar's tokens, and the ends where the answer may end; of these, those that the request allows. An answer that
 * is too short to end does so all the same where nothing else may follow. */
static void fill_row(struct request *r, uint32_t *row, size_t words)
{
    bool can_end = matcher_can_end(r->matcher), too_short = request_too_short(r);
    int n = matcher_mask(r->matcher, row, &r->stuck_error);
    if (n >= 0)
        set_ends(r, row, false);       /* also where free text has room for any special token */
    if (n >= 0 && can_end && (!too_short || is_empty(row, words)))
        set_ends(r, row, true);
    for (size_t i = 0; r->steer.allowed && i < words; i++)
        row[i] &= r->steer.allowed[i];
    if (n >= 0 && !is_empty(row, words))
        return;
    if (n >= 0 && !can_end)
        err_set(&r->stuck_error, "no token of the model's vocabulary may follow here");
    r->stuck = true;
    r->stuck_at_end = n >= 0 && can_end;
    memset(row, 0xFF, words * sizeof *row);
}

/* The masks of a step, a row of words for each row that yields a token. Rows of requests without a grammar stay as they
 * were set: all bits. Rows whose token is known already are not drawn from and need no mask. */
void masks_fill(const struct step *step, uint32_t *allowed, int vocab)
{
    size_t words = tokens_mask_words(vocab);
    for (int i = 0; i < step->n_seqs; i++) {
        struct request *r = step->seq[i].r;
        for (int k = 0; k < step_drawn(&step->seq[i]); k++, allowed += words)
            if (r->matcher && step_known_token(&step->seq[i], k) < 0)
                fill_row(r, allowed, words);
    }
}

/* The bytes of a token for grammar/, which knows no tokenizer. A special token has the bytes of its name, and is told
 * apart. */
static bool bytes_of(void *arg, int32_t id, struct buf *out, bool *special)
{
    const struct text *t = arg;
    const char *name = tokenizer_token(t->tokenizer, id);
    if (!name)
        return false;
    *special = tokenizer_is_special(t->tokenizer, id);
    if (*special)
        buf_str(out, name);
    return *special || tokenizer_piece(t->tokenizer, id, out) == 0;
}

/* The tree of all tokens, once per model. Needs a tokenizer whose tokens have the same bytes wherever they stand, since
 * the grammar adds bytes token by token. */
struct tokens *masks_tokens(const struct text *t, int vocab, struct err *e)
{
    struct token_source source = { .n = vocab, .bytes = bytes_of, .arg = (void *)t };
    if (!tokenizer_streams(t->tokenizer)) {
        err_set(e, "the text of a token of this model depends on its neighbours, so that answers cannot be held to a "
                "grammar");
        return NULL;
    }
    return tokens_new(&source, e);
}
