/* server/reply.c - builders of the JSON that leaves the server.
 *
 * Written straight into a buffer: an answer has few and fixed members, and a
 * stream builds one object per token. */
#include "server/reply.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

void reply_make_id(char *out, size_t size, const char *prefix)
{
    unsigned char r[12] = { 0 };
    char digits[25] = "";
    if (getrandom(r, sizeof r, 0) > 0)
        for (int i = 0; i < 12; i++)
            snprintf(digits + 2 * i, 3, "%02x", r[i]);
    snprintf(out, size, "%s%s", prefix, digits);
}

void reply_begin_list(struct buf *out, const char *id_prefix, const char *model, const char *field)
{
    char id[64];
    reply_make_id(id, sizeof id, id_prefix);
    buf_printf(out, "{\"id\":\"%s\",\"object\":\"list\",\"created\":%ld,\"model\":", id, (long)time(NULL));
    json_write_string(out, model, strlen(model));
    buf_printf(out, ",\"%s\":[", field);
}

#include "server/field_names.h"

/* ---- errors ---- */

static const struct error_kind {
    int         status;
    const char *type, *code;   /* the code when nobody has a better one */
} kinds[] = {
    { 400, "invalid_request_error", "invalid_value" },
    { 401, "authentication_error", "invalid_api_key" },
    { 404, "not_found_error", "not_found" },
    { 405, "invalid_request_error", "method_not_allowed" },
    { 413, "invalid_request_error", "request_too_large" },
    { 415, "invalid_request_error", "unsupported_encoding" },
    { 429, "rate_limit_error", "rate_limit_exceeded" },
    { 503, "server_error", "service_unavailable" },
    { 500, "server_error", "internal_error" },   /* and all others */
};

/* The row of this status, or that of 500 for one that has none. */
static const struct error_kind *error_kind(int status)
{
    const struct error_kind *k = kinds;
    while (k->status != status && k->status != 500)
        k++;
    return k;
}

/* The status decides the type, and the code where the error brings none of its own. `param` names the field at fault.
 * A prompt that does not fit carries its length and the limit, so that a client can cut it by the right amount. */
void reply_error_object(struct buf *out, int status, const struct err *e)
{
    const struct error_kind *kind = error_kind(status);
    const char *code = e->code[0] ? e->code : kind->code;
    buf_str(out, "{\"error\":{\"message\":");
    json_write_string(out, e->text, strlen(e->text));
    buf_printf(out, ",\"type\":\"%s\",\"param\":", kind->type);
    if (e->field[0])
        json_write_string(out, e->field, strlen(e->field));
    else
        buf_str(out, "null");
    buf_str(out, ",\"code\":");
    json_write_string(out, code, strlen(code));
    if (e->have)
        buf_printf(out, ",\"n_prompt_tokens\":%ld,\"n_ctx\":%ld", e->have, e->most);
    buf_str(out, "}}");
}

/* Whatever was already written of another answer is thrown away. A client that is told 429 or 503 also learns when to
 * come back. */
void reply_error(struct exchange *x, const struct err *error)
{
    struct err own = *error, *e = &own;
    field_names_apply(x->field_names, e);
    x->status = e->status ? e->status : 400;
    x->content_type = "application/json";
    buf_clear(&x->reply);
    (x->write_error ? x->write_error : reply_error_object)(&x->reply, x->status, e);
    snprintf(x->record.error, sizeof x->record.error, "%s", *error->code ? error->code : "invalid_request");
    if (x->status == 429 || x->status == 503)
        exchange_retry_later(x);
}

/* ---- what answers and chunks have in common ---- */

static void write_text(struct buf *out, const struct buf *text)
{
    json_write_string(out, text->data ? text->data : "", text->len);
}

/* The members that every object of an answer begins with. */
static void write_head(struct buf *out, const struct answer_head *head, const char *object)
{
    buf_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%ld,\"model\":", head->id, object, head->created);
    json_write_string(out, head->model, strlen(head->model));
    buf_str(out, ",\"system_fingerprint\":\"openautoglm-" VERSION "\"");
}

const char *reply_finish(const struct answer_head *head, const struct choice *c)
{
    const struct event *end = &c->end;
    if (end->kind == EVENT_ERROR)
        return "error";
    if (end->finish == FINISH_CANCELLED)
        return "cancelled";
    if (end->finish == FINISH_LENGTH)
        return "length";
    if (c->output.made == 0 || head->named)
        return "stop";
    return head->functions ? "function_call" : "tool_calls";
}

/* Why the answer ended. `stop_reason` is vLLM's and says which stop string or token it was. */
static void write_finish(struct buf *out, const struct answer_head *head, const struct choice *c)
{
    const struct event *end = &c->end;
    if (!c->ended) {
        buf_str(out, ",\"finish_reason\":null");
        return;
    }
    buf_printf(out, ",\"finish_reason\":\"%s\"", reply_finish(head, c));
    if (end->stop) {
        buf_str(out, ",\"stop_reason\":");
        json_write_string(out, end->stop, strlen(end->stop));
    } else if (end->by_stop_id) {
        buf_printf(out, ",\"stop_reason\":%d", end->stop_id);
    }
}

static void write_usage(struct buf *out, const struct totals *t)
{
    buf_printf(out,
               ",\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%d,\"image_tokens\":%d}",
               t->prompt, t->completion, t->prompt + t->completion, t->cached, t->image);
    if (t->has_thoughts)
        buf_printf(out, ",\"completion_tokens_details\":{\"reasoning_tokens\":%d}", t->thoughts);
    buf_byte(out, '}');
}

/* a / b, or 0 where that is no number. */
static double per(double a, double b) { return b > 0 ? a / b : 0; }

/* The names up to predicted_per_second are llama.cpp's; what the prompt took is told in parts behind them. */
static void write_timings(struct buf *out, const struct totals *t)
{
    const struct timings *s = &t->time;
    int    fresh = t->prompt - t->cached;
    double prompt = 1e3 * (s->image_encode + s->prefill), predicted = 1e3 * s->decode;
    buf_printf(out,
               ",\"timings\":{\"cache_n\":%d,\"prompt_n\":%d,\"prompt_ms\":%.3f,\"prompt_per_token_ms\":%.3f,"
               "\"prompt_per_second\":%.3f,\"predicted_n\":%d,\"predicted_ms\":%.3f,"
               "\"predicted_per_token_ms\":%.3f,\"predicted_per_second\":%.3f,",
               t->cached, fresh, prompt, per(prompt, fresh), per(1e3 * fresh, prompt), t->completion, predicted,
               per(predicted, t->completion), per(1e3 * t->completion, predicted));
    buf_printf(out,
               "\"queue_ms\":%.3f,\"image_decode_ms\":%.3f,\"image_resize_ms\":%.3f,\"image_encode_ms\":%.3f,"
               "\"prefill_ms\":%.3f,\"decode_ms\":%.3f}",
               1e3 * s->queue, 1e3 * s->image_decode, 1e3 * s->image_resize, 1e3 * s->image_encode, 1e3 * s->prefill,
               predicted);
}

static void write_ids(struct buf *out, const char *name, const struct buf *ids)
{
    buf_byte(out, ',');
    json_write_list(out, name, ids);
}

/* A prompt of one token has none but that of the first, which is null. */
static void write_prompt_probs(struct buf *out, const struct buf *probs)
{
    buf_byte(out, ',');
    if (probs->len == 0 && buf_ok(probs))
        buf_str(out, "\"prompt_logprobs\":[null]");
    else
        json_write_list(out, "prompt_logprobs", probs);
}

/* ---- the message ---- */

/* The function's name, unless it was told already, and what is new of its arguments. */
static void write_function(struct buf *out, const struct output_call *call)
{
    if (!call->told) {
        buf_str(out, "\"name\":");
        json_write_string(out, call->name, strlen(call->name));
        buf_byte(out, ',');
    }
    buf_str(out, "\"arguments\":");
    write_text(out, &call->arguments);
}

/* One call. Its id is the answer's own number and the places of choice and call, so that no two of a server are alike.
 * Of a call that was told already only more of the arguments is written. */
static void write_call(struct buf *out, const struct answer_head *head, const struct choice *c,
                       const struct output_call *call, bool indexed)
{
    buf_byte(out, '{');
    if (indexed)
        buf_printf(out, "\"index\":%d,", call->index);
    if (!call->told)
        buf_printf(out, "\"id\":\"call_%s_%d_%d\",\"type\":\"function\",", strchr(head->id, '-') + 1, c->index,
                   call->index);
    buf_str(out, "\"function\":{");
    write_function(out, call);
    buf_str(out, "}}");
}

/* The older form of calls: one, without an id. */
static void write_function_call(struct buf *out, const struct output_call *call)
{
    buf_str(out, ",\"function_call\":{");
    write_function(out, call);
    buf_byte(out, '}');
}

/* Places, thoughts and calls, each member with a comma before it. A whole answer that may have places has a list of
 * them in any case. Thoughts have two names: vLLM's today's and the one that it had, as SGLang and llama.cpp have
 * it. */
static void write_parts(struct buf *out, const struct answer_head *head, const struct choice *c, bool indexed)
{
    const struct output *o = &c->output;
    if (o->options.grounded && (!indexed || o->boxes.len > 0)) {
        buf_byte(out, ',');
        json_write_list(out, "grounding", &o->boxes);
    }
    if (o->reasoning.len > 0) {
        buf_str(out, ",\"reasoning\":");
        write_text(out, &o->reasoning);
        buf_str(out, ",\"reasoning_content\":");
        write_text(out, &o->reasoning);
    }
    if (head->functions && o->n_calls > 0) {
        write_function_call(out, &o->call[0]);
        return;
    }
    for (int i = 0; i < o->n_calls; i++) {
        buf_str(out, i ? "," : ",\"tool_calls\":[");
        write_call(out, head, c, &o->call[i], indexed);
    }
    buf_str(out, o->n_calls > 0 ? "]" : "");
}

/* The content is null where the answer has calls or thoughts and nothing else. */
static void write_message(struct buf *out, const struct answer_head *head, const struct choice *c)
{
    const struct output *o = &c->output;
    buf_str(out, "\"message\":{\"role\":\"assistant\",\"content\":");
    if (o->content.len == 0 && (o->n_calls > 0 || o->reasoning.len > 0))
        buf_str(out, "null");
    else
        write_text(out, &o->content);
    buf_str(out, ",\"refusal\":null");
    write_parts(out, head, c, false);
    buf_byte(out, '}');
}

/* ---- the whole answer ---- */

/* One element of "choices". A completion carries the ids and log probabilities of its prompt in each choice, a chat
 * once beside them (reply_answer()), as vLLM does. */
static void write_choice(struct buf *out, const struct answer_head *head, const struct choice *c,
                         const struct choice_wants *wants, const struct buf *prompt_ids)
{
    buf_printf(out, c->index ? ",{\"index\":%d," : "{\"index\":%d,", c->index);
    if (head->chat) {
        write_message(out, head, c);
    } else {
        buf_str(out, "\"text\":");
        write_text(out, &c->output.content);
    }
    logprobs_write(out, wants->logprobs ? &c->probs : NULL, head->chat);
    write_finish(out, head, c);
    if (wants->ids)
        write_ids(out, "token_ids", &c->ids);
    if (wants->ids && !head->chat)
        write_ids(out, "prompt_token_ids", prompt_ids);
    if (wants->prompt_logprobs && !head->chat)
        write_prompt_probs(out, &c->prompt_probs);
    buf_byte(out, '}');
}

/* A whole answer in OpenAI's form. `each`: how many choices belong to one prompt, since a completion may have a list of
 * prompts. prompt_ids: one list per prompt. */
void reply_answer(struct buf *out, const struct answer_head *head, const struct choice *choices, int n, int each,
                  const struct choice_wants *wants, const struct buf *prompt_ids, const struct totals *totals)
{
    write_head(out, head, head->chat ? "chat.completion" : "text_completion");
    buf_str(out, ",\"choices\":[");
    for (int i = 0; i < n; i++)
        write_choice(out, head, &choices[i], wants, &prompt_ids[i / each]);
    buf_byte(out, ']');
    write_usage(out, totals);
    write_timings(out, totals);
    if (wants->ids && head->chat)
        write_ids(out, "prompt_token_ids", prompt_ids);
    if (wants->prompt_logprobs && head->chat)
        write_prompt_probs(out, &choices[0].prompt_probs);
    buf_byte(out, '}');
}

/* ---- chunks ---- */

/* The beginning of a chunk up to its list of choices. */
static void begin_chunk(struct buf *out, const struct answer_head *head)
{
    write_head(out, head, head->chat ? "chat.completion.chunk" : "text_completion");
    buf_str(out, ",\"choices\":[");
}

/* Closes the list of choices and writes the usage in the form that was asked for: not at all, null until the end, or
 * so far. */
static void end_chunk(struct buf *out, const struct answer_head *head, const struct chunk *chunk)
{
    buf_str(out, chunk->usage == USAGE_NULL ? "],\"usage\":null" : "]");
    if (chunk->usage == USAGE_SO_FAR)
        write_usage(out, chunk->totals);
    if (chunk->timings)
        write_timings(out, chunk->totals);
    if (chunk->prompt_ids && head->chat)
        write_ids(out, "prompt_token_ids", chunk->prompt_ids);
    buf_byte(out, '}');
}

/* The first chunk of a chat: who speaks, and no text yet. */
void reply_chunk_role(struct buf *out, const struct answer_head *head, const struct choice *c,
                      const struct chunk *chunk)
{
    begin_chunk(out, head);
    buf_printf(out,
               "{\"index\":%d,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
               "\"finish_reason\":null}", c->index);
    end_chunk(out, head, chunk);
}

/* A delta without text is empty, apart from thoughts and calls; for completions the text is always there, because
 * their form has no delta. */
void reply_chunk(struct buf *out, const struct answer_head *head, const struct choice *c, const struct chunk *chunk)
{
    const struct output *o = &c->output;
    begin_chunk(out, head);
    buf_printf(out, "{\"index\":%d,", c->index);
    if (head->chat) {
        struct buf parts;
        buf_init(&parts, (size_t)1 << 30);
        if (o->content.len > 0) {
            buf_str(&parts, ",\"content\":");
            write_text(&parts, &o->content);
        }
        write_parts(&parts, head, c, true);
        buf_str(out, "\"delta\":{");
        buf_add(out, parts.len ? parts.data + 1 : "", parts.len ? parts.len - 1 : 0);
        buf_byte(out, '}');
        if (!buf_ok(&parts))
            buf_fail(out, &parts);
        buf_free(&parts);
    } else {
        buf_str(out, "\"text\":");
        write_text(out, &o->content);
    }
    logprobs_write(out, chunk->wants->logprobs ? &c->probs : NULL, head->chat);
    write_finish(out, head, c);
    if (chunk->wants->ids)
        write_ids(out, "token_ids", &c->ids);
    if (chunk->prompt_ids && !head->chat)
        write_ids(out, "prompt_token_ids", chunk->prompt_ids);
    buf_byte(out, '}');
    end_chunk(out, head, chunk);
}

/* The last chunk of a stream that was asked for its usage: it has no choices. */
void reply_chunk_usage(struct buf *out, const struct answer_head *head, const struct totals *totals)
{
    begin_chunk(out, head);
    buf_byte(out, ']');
    write_usage(out, totals);
    write_timings(out, totals);
    buf_byte(out, '}');
}
