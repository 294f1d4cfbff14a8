/* grammar/matcher.h - one answer as it grows: which tokens its grammar allows next.
 *
 *     struct matcher *m = matcher_new(g, tokens, &e);
 *     matcher_mask(m, bits, &e);         // then the answer's next token is drawn among these, or it ends
 *     matcher_accept(m, token);
 *     matcher_free(m);
 *
 * A matcher follows all ways in which the text so far can be read, each a place in a rule and the list of calls that
 * are open there. Where a grammar is so ambiguous that more than MATCHER_WAYS are there, it follows the first ones:
 * what it allows is then right, but not all that would be. From every way that it follows the end can be reached.
 *
 * The work for masks is bounded: a matcher may spend so much at once, and gets some back with every token. Matchers of
 * one `struct tokens` belong to one thread. */
#ifndef GRAMMAR_MATCHER_H
#define GRAMMAR_MATCHER_H
#include "grammar/grammar.h"
#include "grammar/tokens.h"

enum { MATCHER_WAYS = 128 };

struct matcher;

/* Holds on to the grammar; the tokens are borrowed. tokens NULL: only for matcher_bytes(). NULL: memory. */
struct matcher *matcher_new(struct grammar *g, struct tokens *t, struct err *e);
void            matcher_free(struct matcher *m);

/* Sets the bit of every token that may come next in (tokens_mask_words()) words, and clears the others. Returns how
 * many there may be: 0: none, the text is over or no token fits; -1: the work would be too much, or memory is out. */
int  matcher_mask(struct matcher *m, uint32_t *bits, struct err *e);
bool matcher_can_end(const struct matcher *m);

/* The text goes on. false: it may not, and nothing has changed. */
bool matcher_accept(struct matcher *m, int32_t token);
bool matcher_bytes(struct matcher *m, const char *s, size_t n);

/* The nodes of the tree of tokens that all masks so far have looked at, for measurements. */
int64_t matcher_work(const struct matcher *m);

#endif
