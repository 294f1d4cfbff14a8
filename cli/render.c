/* cli/render.c - renders chat templates from standard input, one JSON object a line ({"template": ..., "context":
 * ...}), for the comparison with the reference in tests/template. */
#include "cli/render.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include "base/json.h"
#include "template/template.h"

/* "2025-03-04T05:06:07" becomes *out with the day of the week and of the year filled in. A date that does not exist is
 * refused; timegm() would turn it into another one. */
static int read_time(const char *text, struct tm *out)
{
    memset(out, 0, sizeof *out);
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", out);
    if (!end || *end)
        return -1;
    struct tm copy = *out;
    copy.tm_isdst = -1;
    timegm(&copy); /* normalises: yesterday's 25th hour is not accepted as such */
    if (copy.tm_mday != out->tm_mday || copy.tm_mon != out->tm_mon)
        return -1;
    out->tm_wday = copy.tm_wday;
    out->tm_yday = copy.tm_yday;
    return 0;
}

/* The rendered text (free it) of one request, or NULL and e filled. */
static char *render_one(const json_t *request, const struct template_options *opt, struct err *e)
{
    const json_t *source = json_object_get(request, "template"), *context = json_object_get(request, "context");
    if (!json_is_string(source) || (context && !json_is_object(context))) {
        err_set(e, "a line must be {\"template\": \"...\", \"context\": {...}}");
        return NULL;
    }
    json_t *empty = context ? NULL : json_object();
    struct template *t = template_parse(json_string_value(source), json_string_length(source), e);
    char *text = NULL;
    if (t)
        text = template_render(t, context ? context : empty, opt, e);
    template_free(t);
    json_decref(empty);
    return text;
}

/* One line in, one line of JSON out: the text, or the error. The output is flushed after every line, so that a program
 * can talk to this one through pipes. */
static void answer_line(const char *line, size_t n, struct template_options opt)
{
    struct err e = { 0 };
    size_t length = 0;
    struct json_limits limits = { .depth = 1000, .values = INT_MAX };
    char *text = NULL;
    opt.length = &length;
    json_t *request = json_read("the line", line, n, &limits, &e), *reply;
    if (request)
        text = render_one(request, &opt, &e);
    reply = text ? json_pack("{s:s%}", "text", text, length) : json_pack("{s:s}", "error", e.text);
    if (!reply)
        reply = json_pack("{s:s}", "error", "the text could not be written as JSON");
    json_dumpf(reply, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(reply);
    json_decref(request);
    free(text);
}

/* --now sets the time that templates see, so that their output can be compared. */
int command_render(int argc, char **argv)
{
    struct template_options opt = { 0 };
    struct tm now;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--now") || i + 1 == argc) {
            fprintf(stderr, "openautoglm render: unknown argument %s\n", argv[i]);
            return 2;
        }
        if (read_time(argv[++i], &now)) {
            fprintf(stderr, "openautoglm render: --now takes a time like 2025-03-04T05:06:07, not %s\n", argv[i]);
            return 2;
        }
        opt.now = &now;
    }
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) >= 0;)
        answer_line(line, (size_t)n, opt);
    free(line);
    return 0;
}
