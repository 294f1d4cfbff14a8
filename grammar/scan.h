/* grammar/scan.h - what the parsers of GBNF and Lark share: characters, names, string literals, and lists of
 * expressions that grow. */
#ifndef GRAMMAR_SCAN_H
#define GRAMMAR_SCAN_H
#include "grammar/build.h"

struct scan {
    struct build *b;           /* borrowed */
    const char *s;             /* borrowed */
    size_t n, at;
    int depth;                 /* of brackets that are open */
};

char   scan_peek(const struct scan *p);                          /* 0: the end */
bool   scan_skip(struct scan *p, const char *s);                 /* goes past s, if it is there */
int    scan_line(const struct scan *p);                          /* of the place where it is, from 1 */
void   scan_blank(struct scan *p, const char *comment);          /* past white space and comments, which end with their
                                                                    line and begin with `comment` */
size_t scan_name(const struct scan *p, const char *more);        /* length of a name of letters, digits and `more` */
int32_t scan_wrong(struct scan *p, const char *what);            /* fails the builder and names the line */
bool   scan_deeper(struct scan *p);                              /* one more bracket; false: too many */
int32_t scan_number(struct scan *p);                             /* of digits; fails if there are none */
bool   scan_quantifier(struct scan *p, int32_t *x);              /* past one of * + ? and applies it to *x */
/* A literal between two quotes of the kind that it is at. any_case: letters of ASCII in either case. */
int32_t scan_literal(struct scan *p, bool any_case);
/* The code point of a literal of just one; fails otherwise. */
uint32_t scan_literal_char(struct scan *p);

struct exprs { int32_t *x; size_t n, cap; };   /* owned; all zero: empty */
void    exprs_add(struct build *b, struct exprs *l, int32_t x);
int32_t exprs_seq(struct build *b, struct exprs *l);             /* as one sequence; the list is freed */
int32_t exprs_alt(struct build *b, struct exprs *l);

#endif
