/* grammar/sources.h - one function for each kind of source: it gives the expression of what the source describes. */
#ifndef GRAMMAR_SOURCES_H
#define GRAMMAR_SOURCES_H
#include <jansson.h>

#include "grammar/build.h"
#include "grammar/grammar.h"

int32_t source_expr(struct build *b, const struct grammar_source *s, int depth);     /* of any kind  */
int32_t tags_expr(struct build *b, const struct grammar_source *s, int depth);
int32_t actions_expr(struct build *b);
int32_t ebnf_expr(struct build *b, const char *s, size_t n);       /* GBNF or Lark: sees which it is */
int32_t gbnf_expr(struct build *b, const char *s, size_t n);
int32_t lark_expr(struct build *b, const char *s, size_t n);
int32_t schema_expr(struct build *b, const json_t *schema, const json_t *root, bool closed);   /* a text of JSON */
/* A string that is not quoted, then `end`. */
int32_t text_expr(struct build *b, const json_t *schema, const json_t *root, const char *end, size_t n_end);
int32_t json_object_expr(struct build *b);                         /* any JSON object                */

#endif
