/* cli/stream.c - reads server-sent events with chunks of chats. See stream.h. */
#include "cli/stream.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void stream_begin(struct stream_answer *a, double now)
{
    *a = (struct stream_answer){ .began = now, .prompt_tokens = -1, .completion_tokens = -1 };
    buf_init(&a->line, STREAM_LINE);
    buf_init(&a->fault, STREAM_LINE);
}

void stream_free(struct stream_answer *a)
{
    buf_free(&a->line);
    buf_free(&a->fault);
    free(a->gap);
    a->gap = NULL;
    a->n_gaps = a->cap_gaps = 0;
}

/* Text, a thought or a part of a call: what a person, or an agent, would notice. The role alone is none of these. */
static bool says_something(const json_t *delta)
{
    static const char *const texts[] = { "content", "reasoning_content", "reasoning", "refusal" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (json_string_length(json_object_get(delta, texts[i])) > 0)
            return true;
    return json_array_size(json_object_get(delta, "tool_calls")) > 0;
}

/* Notes when a piece of text came: the first one, and how long after the last each other one did, as far as there is
 * room. */
static void take_piece(struct stream_answer *a, double now)
{
    if (a->pieces == 0)
        a->first = now;
    else if (a->n_gaps < STREAM_GAPS && grow(&a->gap, &a->cap_gaps, a->n_gaps + 1, sizeof *a->gap) == 0)
        a->gap[a->n_gaps++] = (float)(now - a->last);
    a->last = now;
    a->pieces++;
}

static void take_fault(struct stream_answer *a, const json_t *error)
{
    const json_t *message = json_is_string(error) ? error : json_object_get(error, "message");
    if (a->fault.len == 0)
        buf_str(&a->fault, json_is_string(message) ? json_string_value(message) : "an error without a message");
}

/* A number that no answer has leaves what was known before. */
static void take_count(const json_t *v, int *out)
{
    const json_int_t most = 1000000000;
    if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= most)
        *out = (int)json_integer_value(v);
}

/* What is no JSON is passed over: servers put comments and keep-alives of all kinds into their streams. */
static void take_event(struct stream_answer *a, const char *text, size_t n, double now)
{
    if (n == 6 && memcmp(text, "[DONE]", 6) == 0) {
        a->done = true;
        return;
    }
    json_t *v = json_loadb(text, n, 0, NULL);
    const json_t *choice = json_array_get(json_object_get(v, "choices"), 0), *error = json_object_get(v, "error");
    if (error && !json_is_null(error))
        take_fault(a, error);
    const json_t *usage = json_object_get(v, "usage");
    take_count(json_object_get(usage, "prompt_tokens"), &a->prompt_tokens);
    take_count(json_object_get(usage, "completion_tokens"), &a->completion_tokens);
    if (says_something(json_object_get(choice, "delta")))
        take_piece(a, now);
    if (json_is_string(json_object_get(choice, "finish_reason")))
        a->finished = true;
    json_decref(v);
}

/* One line without its end. Events of these servers have one line of data each. */
static void take_line(struct stream_answer *a, const char *s, size_t n, double now)
{
    if (n > 0 && s[n - 1] == '\r')
        n--;
    if (n < 5 || memcmp(s, "data:", 5) != 0)
        return;
    s += 5;
    n -= 5;
    if (n > 0 && *s == ' ')
        s++, n--;
    take_event(a, s, n, now);
}

/* Takes a part of a stream, cut anywhere, and looks at each line when it is complete. `now`: when the part came. -1: a
 * line is longer than any that a server sends. */
int stream_take(struct stream_answer *a, const void *data, size_t n, double now)
{
    const char *s = data;
    while (n > 0) {
        const char *end = memchr(s, '\n', n);
        size_t k = end ? (size_t)(end - s) : n;
        buf_add(&a->line, s, k);
        if (!buf_ok(&a->line))
            return -1;
        if (!end)
            return 0;
        take_line(a, a->line.data ? a->line.data : "", a->line.len, now);
        buf_clear(&a->line);
        s += k + 1;
        n -= k + 1;
    }
    return 0;
}

/* An answer with the status of an error is JSON, as a rule in one line without an end. */
int stream_end(struct stream_answer *a, int status, struct err *e)
{
    if (status != 200) {
        json_t *v = a->line.len ? json_loadb(a->line.data, a->line.len, 0, NULL) : NULL;
        const json_t *error = json_object_get(v, "error");
        if (error || json_object_get(v, "message"))
            take_fault(a, error ? error : v);
        json_decref(v);
    }
    if (a->fault.len > 0)
        return status == 200 ? err_set(e, "%.300s", a->fault.data) : err_set(e, "%d: %.300s", status, a->fault.data);
    if (status != 200)
        return err_set(e, "status %d", status);
    if (!a->finished && !a->done)
        return err_set(e, "the stream ended in the middle");
    return 0;
}
