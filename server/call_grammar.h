/* server/call_grammar.h - the grammar of an answer whose calls of tools have to be what the request says: a call for
 * certain ("required", or a function's name), free text in which calls of strict functions keep to their schemas, or
 * either calls or a text that the request describes. */
#ifndef SERVER_CALL_GRAMMAR_H
#define SERVER_CALL_GRAMMAR_H
#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "grammar/grammar.h"
#include "output/output.h"

struct call_rules {            /* everything borrowed for the time of the call */
    const struct tool_format *format;  /* how calls are written                                  */
    const json_t *tools;               /* the request's, checked as tool_fields.h does           */
    const char *named;                 /* only this one may be called; NULL: any                 */
    bool forced;                       /* the answer is a call, or several; else it may be text  */
    bool single;                       /* no more than one call                                  */
    const struct grammar_source *text;     /* what the answer is where it is not calls; NULL: a text with them */
    bool functions;                    /* the request has their older form: errors name that     */
    const struct reasoning_format *thoughts;   /* how thoughts may come first; NULL: they may not */
    bool begun;                        /* the prompt has opened them                             */
};

/* *out becomes the caller's; it is NULL where nothing is asked for, because no call is forced, no function is strict,
 * and no text is described. -1: a tool cannot be held to what it says; the error names it (status 400), or memory is
 * out (503). */
int call_grammar(const struct call_rules *rules, struct grammar **out, struct err *e);

#endif
