/* output/format.h - what the files of this room share: the table's entries, and
 * what a parser of calls tells of what it finds.
 *
 * output.c finds where a call opens and hands the text behind it to the format's
 * step(), which takes it apart and calls the call_ functions. */
#ifndef OUTPUT_FORMAT_H
#define OUTPUT_FORMAT_H
#include "output/json_scan.h"
#include "output/output.h"

enum { OUTPUT_MAX_KEY = 1024 };

enum step { STEP_MORE, STEP_DONE, STEP_BAD };

struct call_parser {           /* of the call that is being read; zero between two */
    bool   open;               /* a call has begun                                  */
    bool   closing;            /* it is complete, and its closing mark may come     */
    bool   announced;          /* its name was told                                 */
    bool   ignored;            /* it is one call more than was asked for            */
    struct buf raw;            /* what was taken of its text and would become content now: all of it, or, where pieces
                                  are sent at once, what no piece was made of       */
    struct buf name, key, value;
    struct json_scan scan, outer;
    int    state;              /* the format's own; 0: at its beginning             */
    bool   some;               /* an argument was written                           */
    bool   has_name, has_arguments, is_string;
};

struct tool_format {
    const char *name;
    const char *open, *close;  /* marks around a call; close NULL: the call says itself where it ends */
    struct tool_frame frame;   /* what the templates of its models show, to the byte */
    bool   bare;               /* a call may also begin with '{' where the answer has no content yet; then there may be
                                  ';' between two, and the tool must be one of the request's */
    const char *marks[OUTPUT_MAX_SHOWN];   /* up to NULL: see tool_format_marks() */
    const char *hint[4];       /* up to NULL: a template that writes all of these speaks of this format */
    /* Takes bytes of the call from s on and says in *used how many. MORE: it needs more. `end`: there is no more. */
    enum step (*step)(struct output *o, const char *s, size_t n, size_t *used, bool end);
};

struct reasoning_format {
    const char *name;
    const char *open, *close;
    const char *marks[OUTPUT_MAX_SHOWN];
};

/* By a format's step(): these bytes of the call were taken. To be told before anything is made of them. */
void call_took(struct output *o, const char *s, size_t n);
/* The call's name, once; then its arguments, as JSON, as far as they are known. */
void call_announce(struct output *o, const char *name, size_t n);
void call_argue(struct output *o, const char *s, size_t n);

enum step hermes_step(struct output *o, const char *s, size_t n, size_t *used, bool end);
enum step glm_step(struct output *o, const char *s, size_t n, size_t *used, bool end);

/* How many bytes of s, of n, come before `mark`. *whole: it stands there; else its beginning may, or nothing of it. */
size_t before_mark(const char *s, size_t n, const char *mark, bool *whole);

static inline bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

#endif
