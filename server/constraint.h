/* server/constraint.h - the fields of a request that say what its answer has to be: a JSON Schema, a regular
 * expression, one of some texts, a grammar, free text with tags, actions. Servers have many names for them; a request
 * may use one. */
#ifndef SERVER_CONSTRAINT_H
#define SERVER_CONSTRAINT_H
#include <jansson.h>

#include "base/err.h"
#include "server/sampling.h"

/* Compiles what the request asks for, or takes it from among those that were compiled lately: s->params.grammar, which
 * is s->grammar, and its name in s->grammar_field. Without such a field and with s->action_grammar it is that one. */
int constraint_parse(struct sampling *s, const json_t *in, struct err *e);

/* The same, but not compiled: the source of what is asked for, to be put into a larger one. It lives until
 * constraint_free(), as long as `in` does. NULL: nothing is asked for (e->text is empty), or it is wrong. */
struct constraint;
struct constraint *constraint_read(const struct sampling *s, const json_t *in, struct err *e);
const struct grammar_source *constraint_source(const struct constraint *c);
void constraint_free(struct constraint *c);

#endif
