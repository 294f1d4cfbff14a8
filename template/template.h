/* template/template.h - chat templates: the part of Jinja that published
 * templates use, rendered as transformers does (ImmutableSandboxedEnvironment,
 * trim_blocks, lstrip_blocks, loop controls).
 *
 *     struct template *t = template_parse(source, strlen(source), &e);
 *     char *text = template_render(t, context, &opt, &e);    // free() it
 *     template_free(t);
 *
 * A parsed template is read-only: several threads may render it at once.
 * Rendering never executes anything but the template and is bounded in steps,
 * depth, memory and output; a template that passes a limit is an error. */
#ifndef TEMPLATE_TEMPLATE_H
#define TEMPLATE_TEMPLATE_H
#include <jansson.h>
#include <stddef.h>
#include <time.h>

#include "base/err.h"
#include "base/origin.h"

struct template;

/* A string of the context whose first n bytes are not the request's: places of images that were put there for the
 * template. */
struct template_prefix {
    const json_t *string;   /* borrowed */
    size_t n;
};

struct template_options {
    const struct tm *now;   /* for strftime_now; NULL: the local time */
    size_t max_output;      /* bytes; 0: 16 MiB                       */
    size_t max_steps;       /* evaluated nodes; 0: 20 million         */
    size_t max_memory;      /* bytes of values; 0: 256 MiB            */
    size_t *length;         /* where to put the length of the text, which may hold NULs
                               then; NULL: a text with a NUL is an error */
    const json_t *names;    /* object: the checkpoint's own variables, which the context's hide; NULL: none */
    const struct template_prefix *prefix;   /* (n_prefixes) */
    size_t n_prefixes;
    uint8_t **from;         /* where to put the enum origin of every byte, free()d by the caller; NULL: nobody asks */
};

/* NULL and "line N: ..." when the source cannot be parsed. */
struct template *template_parse(const char *source, size_t n, struct err *e);
void             template_free(struct template *t);

/* Calls take() for every text that the template itself may write: what stands outside of tags, and strings within. */
void template_literals(const struct template *t, void (*take)(void *arg, const char *s, size_t n), void *arg);

/* `context` (borrowed) is a JSON object: the variables, which come from the
 * request. JSON keeps the order of keys. NULL on error; what raise_exception() raised has e->code "template_raised"
 * and its message as the text. */
char *template_render(const struct template *t, const json_t *context, const struct template_options *opt,
                      struct err *e);

#endif
