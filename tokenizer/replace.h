/* tokenizer/replace.h - "Replace": one pattern, one replacement; a normalizer
 * and a decoder. */
#ifndef TOKENIZER_REPLACE_H
#define TOKENIZER_REPLACE_H
#include <jansson.h>

#include "base/err.h"
#include "tokenizer/regex.h"
#include "tokenizer/text.h"

struct replace;

/* Reads "pattern" and "content" of the object at `where`. NULL on failure. */
struct replace *replace_new(const json_t *o, const char *where, struct err *e);
void            replace_free(struct replace *r);

/* Copies the input of w to its output with all matches replaced. `match` as for regex_find. */
int replace_run(const struct replace *r, struct rewrite *w, struct regex_match *match, struct err *e);

/* All matches in s, in order, as a search over the whole of s finds them. The
 * caller loops: start = 0; while (search_next(...) == 1). Also for Split. */
struct search {
    const struct regex *regex;  /* borrowed; NULL: the literal */
    const char *literal;        /* borrowed, not empty         */
    size_t      literal_len;
    size_t      from;           /* where to go on              */
    size_t      last;           /* end of the last match; SIZE_MAX: none yet */
};
int search_next(struct search *f, struct regex_match *m, const char *s, size_t n, size_t *start, size_t *end,
                struct err *e);

/* A pattern of the file, literal or regular expression. pattern_free() may follow a failure of pattern_parse(). */
struct pattern {
    struct regex *regex;  /* owned; NULL: the literal */
    char *literal;        /* owned                    */
    size_t literal_len;
};
int           pattern_parse(struct pattern *p, const json_t *o, const char *where, struct err *e);
void          pattern_free(struct pattern *p);
struct search pattern_search(const struct pattern *p);

#endif
