/* grammar/json.h - JSON without a schema (RFC 8259), in pieces that schemas are put together of.
 *
 * White space may stand where pretty printers write it: behind brackets, commas and colons, and before closing
 * brackets. It is one blank, or the end of a line and an indentation: a model that falls into writing blanks gets out
 * of it. Surrogates come in pairs. */
#ifndef GRAMMAR_JSON_H
#define GRAMMAR_JSON_H
#include "grammar/build.h"

enum json_rule { JSON_SPACE, JSON_ANY_STRING, JSON_ANY_NUMBER, JSON_ANY_VALUE, JSON_ANY_OBJECT, JSON_ANY_ARRAY };

int32_t json_expr(struct build *b, enum json_rule which);
int32_t json_quoted(struct build *b, int32_t inner);                 /* between quotes                          */
int32_t json_text(struct build *b, const char *s, size_t n);        /* this text as JSON writes it, with quotes */

/* open, then `items` with space around, close: items that may be missing are a matter of the caller. */
int32_t json_brackets(struct build *b, const char *open, int32_t items, const char *close);
int32_t json_comma(struct build *b);                                 /* with the space behind it                */
int32_t json_colon(struct build *b);

#endif
