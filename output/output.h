/* output/output.h - what a model writes, taken apart: its thoughts, its text for
 * the reader, and its calls of tools.
 *
 *     output_init(&o, &options);
 *     output_add(&o, text, n);          // as it comes, cut anywhere
 *     ... send o.content, o.reasoning, o.call[] ...; output_sent(&o);
 *     output_end(&o);                   // the text is complete
 *     ... the rest ...
 *     output_free(&o);
 *
 * The pieces of one text are the same however it is cut: what could still become
 * a marker is held back until it is known. Nothing is lost: what turns out to be
 * no call is content. Where the answer is sent as it is made, the beginning of a
 * call may be out before the model spoils it; then what comes after the fault is
 * content. Where the answer is collected (`whole`), the entire call is content.
 *
 * Time is linear in the text, and memory is at most a few times the text, which
 * may not pass `max_bytes`. */
#ifndef OUTPUT_OUTPUT_H
#define OUTPUT_OUTPUT_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "output/grounding.h"

struct tool_format;            /* how a family writes calls: an entry of the table in formats.c */
struct reasoning_format;       /* how it marks its thoughts: likewise                            */
struct call_parser;

enum { OUTPUT_MAX_CALLS = 128, OUTPUT_MAX_NAME = 256, OUTPUT_MAX_SHOWN = 8 };

/* The format of that name, NULL: there is none. `names` lists them, for an error. */
const struct tool_format      *tool_format_named(const char *name);
const struct reasoning_format *reasoning_format_named(const char *name);
const char *tool_format_names(void);
const char *reasoning_format_names(void);
const char *tool_format_name(const struct tool_format *f);
const char *reasoning_format_name(const struct reasoning_format *f);

/* The format that a chat template speaks of; NULL: none. writes() says whether any text of the template holds these
 * words. */
typedef bool template_writes(void *arg, const char *words);
const struct tool_format      *tool_format_of(template_writes *writes, void *arg);
const struct reasoning_format *reasoning_format_of(template_writes *writes, void *arg);

/* Tokens of these texts are marks of the format: the model's text must have them even where a tokenizer counts them
 * among the special ones, which are not shown otherwise. Ends with NULL. */
const char *const *tool_format_marks(const struct tool_format *f);
const char *const *reasoning_format_marks(const struct reasoning_format *f);
/* The text that opens the thoughts, and the one that ends them. Where a prompt ends with the first, they have begun. */
const char *reasoning_format_opening(const struct reasoning_format *f);
const char *reasoning_format_closing(const struct reasoning_format *f);

/* How a call is written, for whoever wants to hold a model to it: begin, the name, `arguments`, one JSON object, end.
 * If there is a `key`, the arguments are not one object: each is key, its name, `value`, its value, `past` and `next`;
 * the value of a string is its text, of anything else its JSON. */
struct tool_frame {
    const char *trigger;       /* a call that follows text begins so            */
    const char *begin, *arguments, *end;
    const char *separator;     /* between two calls                             */
    bool        bare;          /* a call also begins without `trigger`, but only where an answer begins */
    const char *key, *value, *past, *next;
};
const struct tool_frame *tool_format_frame(const struct tool_format *f);

/* Is a parameter with this schema a string, so that a format of plain text gives it without quotes? */
bool tool_parameter_is_string(const json_t *schema);

/* The names of a request's tools, and which of their parameters are strings, in one block of memory. */
struct tool_names { struct buf entries; };
int  tool_names_init(struct tool_names *t, const json_t *tools, struct err *e);
void tool_names_free(struct tool_names *t);
bool tool_names_has(const struct tool_names *t, const char *name, size_t n);
bool tool_names_string(const struct tool_names *t, const char *tool, const char *parameter, size_t n);

struct output_options {
    const struct tool_format      *tools;      /* NULL: calls are not looked for        */
    const struct reasoning_format *reasoning;  /* NULL: thoughts are part of the text   */
    const struct tool_names       *names;      /* borrowed; of the request's tools      */
    bool   begun;              /* the prompt has opened the thoughts already            */
    bool   hidden;             /* thoughts are split off and then dropped               */
    bool   whole;              /* nothing is sent before output_end()                   */
    bool   grounded;           /* the content has places of what it names: see grounding.h */
    bool   single;             /* of several calls only the first is given              */
    size_t max_bytes;          /* of all that is held or waits to be sent               */
};

struct output_call {
    int    index;              /* 0 for the first call of the answer                    */
    char  *name;               /* owned                                                 */
    bool   told;               /* its name is out; only more of the arguments follows   */
    struct buf arguments;      /* JSON, as far as it was not sent                       */
};

struct output {
    struct output_options options;
    struct buf content, reasoning;     /* not sent yet                                  */
    struct buf boxes;                  /* likewise, grounded: JSON with commas between them */
    struct output_call *call;          /* owned, (n_calls): whose parts were not all sent  */
    int   n_calls;
    int   made;                        /* calls that the answer has had so far          */
    /* output.c's own */
    struct buf held;                   /* text that may still become a mark             */
    struct buf blank;                  /* white space that counts only if text follows  */
    struct call_parser *parser;        /* owned; NULL: no format                        */
    struct grounding *grounding;       /* owned; NULL: not grounded                     */
    enum { THOUGHTS_MAY_COME, THOUGHTS_BEGIN, THOUGHTS, THOUGHTS_OVER, THOUGHTS_ENDED } thoughts;
    bool  content_begun;               /* the answer has had content                    */
    bool  failed, starved;             /* too long, or memory is out: nothing more counts   */
};

/* -1: memory is out. output_free() may be called in any case, also on zeros. */
int  output_init(struct output *o, const struct output_options *options, struct err *e);
void output_free(struct output *o);

/* Content that comes before all that the model writes. */
void output_echo(struct output *o, const char *s, size_t n);
void output_add(struct output *o, const char *s, size_t n);
void output_end(struct output *o);

bool   output_has_news(const struct output *o);
size_t output_bytes(const struct output *o);   /* that it holds                          */
void   output_sent(struct output *o);          /* forgets what was there to be sent      */
bool   output_ok(const struct output *o);
int    output_error(const struct output *o, struct err *e);   /* why not; -1             */

#endif
