/* server/anthropic.c - POST /v1/messages and /v1/messages/count_tokens: Anthropic's form of a chat. The request becomes
 * one of /v1/chat/completions (anthropic_request.c); here are the answer, whole and as events, and errors. */
#include <string.h>

#include "server/anthropic_request.h"
#include "server/chat.h"
#include "server/handlers.h"
#include "server/reply.h"

/* The blocks of a stream: each begins, grows and ends before the next one begins. */
enum block { BLOCK_NONE, BLOCK_TEXT, BLOCK_THOUGHT, BLOCK_CALL };
struct blocks {
    enum block open;
    int  index;                /* of the one that is open, or that opens next */
};

/* The word that Anthropic's clients expect for a status. */
static const char *error_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default:  return status < 500 ? "invalid_request_error" : "api_error";
    }
}

/* The field at fault stands in the message; `param` and `code` are this server's own, as elsewhere. */
void anthropic_error(struct buf *out, int status, const struct err *e)
{
    buf_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", error_type(status));
    json_write_string(out, e->text, strlen(e->text));
    if (e->field[0]) {
        buf_str(out, ",\"param\":");
        json_write_string(out, e->field, strlen(e->field));
    }
    if (e->code[0]) {
        buf_str(out, ",\"code\":");
        json_write_string(out, e->code, strlen(e->code));
    }
    buf_str(out, "}}");
}

static void write_text(struct buf *out, const struct buf *text)
{
    json_write_string(out, text->data ? text->data : "", text->len);
}

/* Anthropic's word for the end. A call wins over a stop string: the client has to act on it. */
static const char *stop_reason(const struct choice *c)
{
    if (c->end.finish == FINISH_LENGTH)
        return "max_tokens";
    if (c->output.made > 0)
        return "tool_use";
    return c->end.stop ? "stop_sequence" : "end_turn";
}

/* Why the answer ended, and the stop string that it ended at. */
static void write_stop(struct buf *out, const struct choice *c)
{
    buf_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", stop_reason(c));
    if (c->end.stop)
        json_write_string(out, c->end.stop, strlen(c->end.stop));
    else
        buf_str(out, "null");
}

/* What was computed, and what was there already, are counted apart. */
static void write_usage(struct buf *out, const struct totals *t)
{
    buf_printf(out,
               ",\"usage\":{\"input_tokens\":%d,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%d,"
               "\"output_tokens\":%d}",
               t->prompt - t->cached, t->cached, t->completion);
}

static void write_head(struct buf *out, const struct answer_head *head)
{
    buf_printf(out, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", head->id);
    json_write_string(out, head->model, strlen(head->model));
}

/* Ids of calls are the message's own number and the call's. */
static void write_call_head(struct buf *out, const struct answer_head *head, const struct output_call *call)
{
    buf_printf(out, "{\"type\":\"tool_use\",\"id\":\"toolu_%s_%d\",\"name\":", strchr(head->id, '_') + 1, call->index);
    json_write_string(out, call->name, strlen(call->name));
    buf_str(out, ",\"input\":");
}

/* A whole answer as Anthropic's clients read it: thoughts, text and calls are blocks of one list, each only if it is
 * there. There is always one choice, so what OpenAI's form needs for several has no use here. A call without arguments
 * has an empty object. */
static void answer(struct buf *out, const struct answer_head *head, const struct choice *c, int n, int each,
                   const struct choice_wants *wants, const struct buf *prompt_ids, const struct totals *totals)
{
    const struct output *o = &c->output;
    const char *comma = "";
    (void)n, (void)each, (void)wants, (void)prompt_ids;
    write_head(out, head);
    buf_str(out, ",\"content\":[");
    if (o->reasoning.len > 0) {
        buf_str(out, "{\"type\":\"thinking\",\"signature\":\"\",\"thinking\":");
        write_text(out, &o->reasoning);
        buf_byte(out, '}');
        comma = ",";
    }
    if (o->content.len > 0) {
        buf_printf(out, "%s{\"type\":\"text\",\"text\":", comma);
        write_text(out, &o->content);
        buf_byte(out, '}');
        comma = ",";
    }
    for (int i = 0; i < o->n_calls; i++, comma = ",") {
        const struct buf *arguments = &o->call[i].arguments;
        buf_str(out, comma);
        write_call_head(out, head, &o->call[i]);
        buf_add(out, arguments->len ? arguments->data : "{}", arguments->len ? arguments->len : 2);
        buf_byte(out, '}');
    }
    buf_str(out, "],");
    write_stop(out, c);
    write_usage(out, totals);
    buf_byte(out, '}');
}

/* ---- events ---- */

static void event(struct buf *out, const char *type)
{
    buf_printf(out, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void end_event(struct buf *out) { buf_str(out, "}\n\n"); }

/* The first event: an empty message with the prompt's tokens counted. */
static void begin(struct buf *out, void *state, const struct answer_head *head, const struct choice *c,
                  const struct chunk *chunk)
{
    (void)state, (void)c;
    event(out, "message_start");
    buf_str(out, ",\"message\":");
    write_head(out, head);
    buf_str(out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null");
    write_usage(out, chunk->totals);
    buf_byte(out, '}');
    end_event(out);
}

/* Blocks come one after the other, so the one that is open ends when another begins. Blocks are numbered as they
 * end. */
static void close_block(struct buf *out, struct blocks *b)
{
    if (b->open == BLOCK_NONE)
        return;
    event(out, "content_block_stop");
    buf_printf(out, ",\"index\":%d", b->index++);
    end_event(out);
    b->open = BLOCK_NONE;
}

/* Begins a block; what it is at first, and end_event(), are the caller's to write. */
static void open_block(struct buf *out, struct blocks *b, enum block kind)
{
    close_block(out, b);
    b->open = kind;
    event(out, "content_block_start");
    buf_printf(out, ",\"index\":%d,\"content_block\":", b->index);
}

/* One event with more of the open block; `type` and `name` are those of the kind of block. */
static void write_delta(struct buf *out, const struct blocks *b, const char *type, const char *name,
                        const struct buf *text)
{
    event(out, "content_block_delta");
    buf_printf(out, ",\"index\":%d,\"delta\":{\"type\":\"%s\",\"%s\":", b->index, type, name);
    write_text(out, text);
    buf_byte(out, '}');
    end_event(out);
}

/* The new parts of calls. Each call is a block whose arguments come as text, to be put together by the client. */
static void tell_calls(struct buf *out, struct blocks *b, const struct answer_head *head, const struct output *o)
{
    for (int i = 0; i < o->n_calls; i++) {
        const struct output_call *call = &o->call[i];
        if (!call->told) {
            open_block(out, b, BLOCK_CALL);
            write_call_head(out, head, call);
            buf_str(out, "{}}");
            end_event(out);
        }
        if (call->arguments.len > 0)
            write_delta(out, b, "input_json_delta", "partial_json", &call->arguments);
    }
}

/* More of a call that was begun before comes first of all, since its block is open. */
static void tell(struct buf *out, void *state, const struct answer_head *head, const struct choice *c,
                 const struct chunk *chunk)
{
    const struct output *o = &c->output;
    struct blocks *b = state;
    if (o->reasoning.len > 0) {
        if (b->open != BLOCK_THOUGHT) {
            open_block(out, b, BLOCK_THOUGHT);
            buf_str(out, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
            end_event(out);
        }
        write_delta(out, b, "thinking_delta", "thinking", &o->reasoning);
    }
    bool goes_on = o->n_calls > 0 && o->call[0].told;
    if (goes_on)
        tell_calls(out, b, head, o);
    if (o->content.len > 0) {
        if (b->open != BLOCK_TEXT) {
            open_block(out, b, BLOCK_TEXT);
            buf_str(out, "{\"type\":\"text\",\"text\":\"\"}");
            end_event(out);
        }
        write_delta(out, b, "text_delta", "text", &o->content);
    }
    if (!goes_on)
        tell_calls(out, b, head, o);
    if (!c->ended)
        return;
    close_block(out, b);
    event(out, "message_delta");
    buf_str(out, ",\"delta\":{");
    write_stop(out, c);
    buf_byte(out, '}');
    write_usage(out, chunk->totals);
    end_event(out);
}

static void end(struct buf *out, void *state, const struct answer_head *head, const struct chunk *chunk)
{
    (void)state, (void)head, (void)chunk;
    event(out, "message_stop");
    end_event(out);
}

/* An error in a stream that has begun has an event of its own. */
static void fail(struct buf *out, void *state, const struct err *e)
{
    (void)state;
    buf_str(out, "event: error\ndata: ");
    anthropic_error(out, e->status, e);
    buf_str(out, "\n\n");
}

const struct answer_form form_messages = { .id = "msg_", .chat = true, .state_size = sizeof(struct blocks),
                                           .answer = answer, .begin = begin, .chunk = tell, .end = end, .fail = fail };

static struct generation *submit(struct app *a, struct engine *g, struct exchange *x)
{
    return chat_submit(a, g, x, &(struct chat_kind){ .form = &form_messages, .translate = anthropic_translate });
}

void anthropic_messages(struct app *a, struct exchange *x) { generation_serve(a, x, submit); }

/* How long the prompt of such a request would be; its images are read for that. */
void anthropic_count(struct app *a, struct exchange *x)
{
    struct err     e = { 0 };
    struct engine *g = app_await_engine(a, x, &e);
    struct prompt *p = NULL;
    if (g)
        p = chat_prompt(a, g, x, &(struct chat_kind){ .translate = anthropic_translate_prompt }, NULL, NULL, &e);
    app_parsing_leave(a, x);
    if (p) {
        x->status = 200;
        buf_printf(&x->reply, "{\"input_tokens\":%d}", prompt_tokens(p));
        prompt_free(p);
    } else if (e.text[0]) {
        reply_error(x, &e);
    } else {
        x->broken = true;
    }
}
