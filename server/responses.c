/* server/responses.c - POST /v1/responses, without anything that is kept: OpenAI's newer form of a chat. The request
 * becomes one of /v1/chat/completions (responses_request.c); here is the answer, whole and as events.
 *
 * An answer is a list of items: thoughts, a message, calls. The last event has all of them again, so a stream keeps
 * what it has told. */
#include <string.h>

#include "server/chat.h"
#include "server/handlers.h"
#include "server/reply.h"
#include "server/responses_request.h"

enum { ITEM_BYTES = 64 << 20 };

enum item { ITEM_NONE, ITEM_MESSAGE, ITEM_THOUGHTS, ITEM_CALL };

struct items {                 /* of an answer, as they are told                    */
    enum item open;            /* the one that grows                                */
    int  index;                /* its place, or the next one's                      */
    int  sequence;             /* number of the next event                          */
    char name[OUTPUT_MAX_NAME + 1];    /* of the call that is open                  */
    int  call;                 /* its number                                        */
    struct buf text;           /* of the one that is open: text or arguments        */
    struct buf told;           /* the whole items so far, as JSON with commas       */
};

static void items_init(struct items *s)
{
    buf_init(&s->text, ITEM_BYTES);
    buf_init(&s->told, ITEM_BYTES);
}

static void items_free(void *state)
{
    struct items *s = state;
    buf_free(&s->text);
    buf_free(&s->told);
}

static void write_text(struct buf *out, const struct buf *text)
{
    json_write_string(out, text->data ? text->data : "", text->len);
}

/* What all ids of an answer share. */
static const char *number_of(const struct answer_head *head) { return strchr(head->id, '_') + 1; }

/* "msg_...", "rs_..." or "fc_...", with the item's place. */
static void write_id(struct buf *out, const struct answer_head *head, const struct items *s)
{
    static const char *const prefix[] = { "", "msg", "rs", "fc" };
    buf_printf(out, "\"%s_%s_%d\"", prefix[s->open], number_of(head), s->index);
}

/* The content of the open item; until it ends the text is empty in the events that announce it. */
static void write_part(struct buf *out, const struct items *s, bool whole)
{
    static const struct buf nothing;
    buf_str(out, s->open == ITEM_MESSAGE ? "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":"
                                         : "{\"type\":\"reasoning_text\",\"text\":");
    write_text(out, whole ? &s->text : &nothing);
    buf_byte(out, '}');
}

/* The item that is open, as it begins or as it has become. `status`: completed, incomplete or in_progress. */
static void write_item(struct buf *out, const struct answer_head *head, const struct items *s, const char *status)
{
    static const struct buf nothing;
    bool whole = strcmp(status, "in_progress") != 0;
    buf_str(out, "{\"id\":");
    write_id(out, head, s);
    buf_printf(out, ",\"status\":\"%s\"", status);
    if (s->open == ITEM_CALL) {
        buf_printf(out, ",\"type\":\"function_call\",\"call_id\":\"call_%s_%d\",\"name\":", number_of(head), s->call);
        json_write_string(out, s->name, strlen(s->name));
        buf_str(out, ",\"arguments\":");
        write_text(out, whole ? &s->text : &nothing);
        buf_byte(out, '}');
        return;
    }
    buf_str(out, s->open == ITEM_MESSAGE ? ",\"type\":\"message\",\"role\":\"assistant\",\"content\":["
                                         : ",\"type\":\"reasoning\",\"summary\":[],\"content\":[");
    if (whole)
        write_part(out, s, true);
    buf_str(out, "]}");
}

/* What the response says of itself: an answer that was cut off is incomplete. */
static const char *status_of(const struct choice *c)
{
    if (!c->ended)
        return "in_progress";
    return c->end.finish == FINISH_LENGTH ? "incomplete" : "completed";
}

/* The response with the items that were told. c NULL: nothing was made yet. */
static void write_response(struct buf *out, const struct answer_head *head, const struct items *s,
                           const struct choice *c, const struct totals *t)
{
    const char *status = c ? status_of(c) : "in_progress";
    buf_printf(out, "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%ld,\"status\":\"%s\",\"model\":", head->id,
               head->created, status);
    json_write_string(out, head->model, strlen(head->model));
    buf_printf(out, ",\"incomplete_details\":%s,\"output\":[",
               strcmp(status, "incomplete") == 0 ? "{\"reason\":\"max_output_tokens\"}" : "null");
    buf_add(out, s->told.data ? s->told.data : "", s->told.len);
    if (!buf_ok(&s->told))
        buf_fail(out, &s->told);
    buf_str(out, "],\"error\":null,\"background\":false,\"previous_response_id\":null,\"store\":false,"
                 "\"truncation\":\"disabled\"");
    buf_add(out, head->about.data ? head->about.data : "", head->about.len);
    if (c && c->ended)
        buf_printf(out,
                   ",\"usage\":{\"input_tokens\":%d,\"input_tokens_details\":{\"cached_tokens\":%d,"
                   "\"cache_write_tokens\":0},\"output_tokens\":%d,\"output_tokens_details\":{\"reasoning_tokens\":%d},"
                   "\"total_tokens\":%d}",
                   t->prompt, t->cached, t->completion, t->thoughts, t->prompt + t->completion);
    else
        buf_str(out, ",\"usage\":null");
    buf_byte(out, '}');
}

/* ---- events; with out NULL the items are only collected ---- */

static void event(struct buf *out, struct items *s, const char *type)
{
    buf_printf(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%d", type, type, s->sequence++);
}

static void end_event(struct buf *out) { buf_str(out, "}\n\n"); }

/* The item's id and places, as most events have them. */
static void write_place(struct buf *out, const struct answer_head *head, const struct items *s)
{
    buf_str(out, ",\"item_id\":");
    write_id(out, head, s);
    buf_printf(out, ",\"output_index\":%d", s->index);
    buf_str(out, s->open == ITEM_CALL ? "" : ",\"content_index\":0");
}

/* The name of the event with more of the open item, or with all of it. */
static const char *delta_name(const struct items *s, bool done)
{
    static const char *const names[][2] = {
        { "", "" }, { "response.output_text.delta", "response.output_text.done" },
        { "response.reasoning_text.delta", "response.reasoning_text.done" },
        { "response.function_call_arguments.delta", "response.function_call_arguments.done" }
    };
    return names[s->open][done];
}

static void tell_item(struct buf *out, const struct answer_head *head, struct items *s, const char *type,
                      const char *status)
{
    event(out, s, type);
    buf_printf(out, ",\"output_index\":%d,\"item\":", s->index);
    write_item(out, head, s, status);
    end_event(out);
}

/* A message and thoughts consist of parts, of which there is always one; calls do not. */
static void tell_part(struct buf *out, const struct answer_head *head, struct items *s, const char *type, bool whole)
{
    if (s->open == ITEM_CALL)
        return;
    event(out, s, type);
    write_place(out, head, s);
    buf_str(out, ",\"part\":");
    write_part(out, s, whole);
    end_event(out);
}

/* Ends the item that is open, if one is: its last events go to `out`, and the item itself to s->told, which the last
 * event of the answer repeats. out NULL: the answer is not streamed, and only the latter is done. */
static void close_item(struct buf *out, const struct answer_head *head, struct items *s, const char *status)
{
    if (s->open == ITEM_NONE)
        return;
    if (out) {
        event(out, s, delta_name(s, true));
        write_place(out, head, s);
        if (s->open == ITEM_CALL) {
            buf_str(out, ",\"name\":");
            json_write_string(out, s->name, strlen(s->name));
        }
        buf_str(out, s->open == ITEM_CALL ? ",\"arguments\":" : ",\"text\":");
        write_text(out, &s->text);
        buf_str(out, s->open == ITEM_MESSAGE ? ",\"logprobs\":[]" : "");
        end_event(out);
        tell_part(out, head, s, "response.content_part.done", true);
        tell_item(out, head, s, "response.output_item.done", status);
    }
    buf_str(&s->told, s->index ? "," : "");
    write_item(&s->told, head, s, status);
    if (!buf_ok(&s->text))
        buf_fail(&s->told, &s->text);
    buf_clear(&s->text);
    s->open = ITEM_NONE;
    s->index++;
}

/* Ends the item before and begins another. out NULL: nothing is streamed. */
static void open_item(struct buf *out, const struct answer_head *head, struct items *s, enum item kind)
{
    close_item(out, head, s, "completed");
    s->open = kind;
    if (!out)
        return;
    tell_item(out, head, s, "response.output_item.added", "in_progress");
    tell_part(out, head, s, "response.content_part.added", false);
}

/* More of the open item. */
static void grow(struct buf *out, const struct answer_head *head, struct items *s, const struct buf *text)
{
    buf_add(&s->text, text->data ? text->data : "", text->len);
    if (!out || text->len == 0)
        return;
    event(out, s, delta_name(s, false));
    write_place(out, head, s);
    buf_str(out, ",\"delta\":");
    write_text(out, text);
    buf_str(out, s->open == ITEM_MESSAGE ? ",\"logprobs\":[]" : "");
    end_event(out);
}

/* The new parts of calls. A call that was not told before ends the item before it and opens one of its own. */
static void take_calls(struct buf *out, const struct answer_head *head, struct items *s, const struct output *o)
{
    for (int i = 0; i < o->n_calls; i++) {
        const struct output_call *call = &o->call[i];
        if (!call->told) {
            close_item(out, head, s, "completed");     /* it has the name of the last call until then */
            size_t n = strnlen(call->name, OUTPUT_MAX_NAME);
            memcpy(s->name, call->name, n);
            s->name[n] = 0;
            s->call = call->index;
            open_item(out, head, s, ITEM_CALL);
        }
        grow(out, head, s, &call->arguments);
    }
}

/* What of a choice was not told yet, in the order in which it came: more of a call that was begun before is first. An
 * answer of nothing has an empty message. */
static void take(struct buf *out, const struct answer_head *head, struct items *s, const struct choice *c)
{
    const struct output *o = &c->output;
    if (o->reasoning.len > 0) {
        if (s->open != ITEM_THOUGHTS)
            open_item(out, head, s, ITEM_THOUGHTS);
        grow(out, head, s, &o->reasoning);
    }
    bool goes_on = o->n_calls > 0 && o->call[0].told;
    if (goes_on)
        take_calls(out, head, s, o);
    if (o->content.len > 0 || (c->ended && o->n_calls == 0 && s->index == 0 && s->open == ITEM_NONE)) {
        if (s->open != ITEM_MESSAGE)
            open_item(out, head, s, ITEM_MESSAGE);
        grow(out, head, s, &o->content);
    }
    if (!goes_on)
        take_calls(out, head, s, o);
    if (c->ended)
        close_item(out, head, s, status_of(c));
}

/* Two events tell the same response, since clients wait for either. */
static void begin(struct buf *out, void *state, const struct answer_head *head, const struct choice *c,
                  const struct chunk *chunk)
{
    static const char *const first[] = { "response.created", "response.in_progress" };
    struct items *s = state;
    (void)c;
    items_init(s);
    for (int i = 0; i < 2; i++) {
        event(out, s, first[i]);
        buf_str(out, ",\"response\":");
        write_response(out, head, s, NULL, chunk->totals);
        end_event(out);
    }
}

/* What is new since the last time, and at the end the whole response once more. */
static void tell(struct buf *out, void *state, const struct answer_head *head, const struct choice *c,
                 const struct chunk *chunk)
{
    struct items *s = state;
    take(out, head, s, c);
    if (!c->ended)
        return;
    event(out, s, c->end.finish == FINISH_LENGTH ? "response.incomplete" : "response.completed");
    buf_str(out, ",\"response\":");
    write_response(out, head, s, c, chunk->totals);
    end_event(out);
}

static void end(struct buf *out, void *state, const struct answer_head *head, const struct chunk *chunk)
{
    (void)out, (void)state, (void)head, (void)chunk;
}

/* An error after the stream has begun, when the status cannot be changed any more. */
static void fail(struct buf *out, void *state, const struct err *e)
{
    event(out, state, "error");
    buf_str(out, ",\"message\":");
    json_write_string(out, e->text, strlen(e->text));
    buf_str(out, ",\"code\":");
    json_write_string(out, e->code, strlen(e->code));
    buf_str(out, ",\"param\":null");
    end_event(out);
}

/* A whole answer: the same items as in a stream, without its events. */
static void answer(struct buf *out, const struct answer_head *head, const struct choice *c, int n, int each,
                   const struct choice_wants *wants, const struct buf *prompt_ids, const struct totals *totals)
{
    struct items s = { 0 };
    (void)n, (void)each, (void)wants, (void)prompt_ids;
    items_init(&s);
    take(NULL, head, &s, c);
    write_response(out, head, &s, c, totals);
    items_free(&s);
}

const struct answer_form form_responses = { .id = "resp_", .chat = true, .state_size = sizeof(struct items),
                                            .state_free = items_free, .answer = answer, .begin = begin, .chunk = tell,
                                            .end = end, .fail = fail };

/* What of the request an answer has again; where it says nothing, what then holds. */
static void describe(const json_t *in, const struct sampling *s, struct buf *out)
{
    static const struct { const char *name, *otherwise; } members[] = {
        { "instructions", "null" }, { "tools", "[]" }, { "tool_choice", "\"auto\"" }, { "parallel_tool_calls", "true" },
        { "text", "{\"format\":{\"type\":\"text\"}}" }, { "reasoning", "{\"effort\":null,\"summary\":null}" },
        { "max_output_tokens", "null" }, { "user", "null" }, { "metadata", "{}" },
    };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const json_t *v = json_object_get(in, members[i].name);
        buf_printf(out, ",\"%s\":", members[i].name);
        if (v && !json_is_null(v))
            json_write_value(out, v);
        else
            buf_str(out, members[i].otherwise);
    }
    buf_printf(out, ",\"temperature\":%.6g,\"top_p\":%.6g", (double)s->params.temperature, (double)s->params.top_p);
}

static struct generation *submit(struct app *a, struct engine *g, struct exchange *x)
{
    return chat_submit(a, g, x, &(struct chat_kind){ .form = &form_responses, .translate = responses_translate,
                                                     .describe = describe });
}

void responses(struct app *a, struct exchange *x) { generation_serve(a, x, submit); }
