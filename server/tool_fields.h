/* server/tool_fields.h - what a chat says of tools: which there are, which may be
 * called, and how many at a time; in today's form (`tools`, `tool_choice`) and
 * in the older one (`functions`, `function_call`). */
#ifndef SERVER_TOOL_FIELDS_H
#define SERVER_TOOL_FIELDS_H
#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

struct tool_fields {
    json_t *tools;             /* borrowed from the request; NULL: none, or none may be called */
    bool    single;            /* no more than one call in an answer                           */
    bool    forced;            /* the answer is a call, or several                             */
    const char *named;         /* borrowed from the request: of this one; NULL: of any         */
    bool    functions;         /* the request has the older form, so the answer has it, too    */
};

/* `in` gets `tools` in the place of `functions`, and only those that are allowed, for the template. */
int tool_fields_parse(struct tool_fields *t, json_t *in, struct err *e);

#endif
