/* server/reply.c - builders of the JSON that leaves the server.
 *
 * Written straight into a buffer: an answer has few and fixed members, and a
 * stream builds one object per token. */
#include "server/reply.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

enum { LOGPROBS_BYTES = 192 << 20, KEPT_BYTES = 64 << 10 /* between two pieces of a stream */, TOKEN_BYTES = 4096 };

/* Copies runs of plain bytes whole, and looks at every byte to find where a run ends. Text that is not UTF-8 must not
 * leave the server, because clients' JSON parsers refuse the whole answer for it: every malformed byte becomes
 * U+FFFD. */
void json_write_string(struct buf *out, const char *s, size_t n)
{
    buf_byte(out, '"');
    size_t plain = 0;      /* bytes before s + i that can be copied as they are */
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        int           len = 1;
        bool          bad = c >= 0x80 && utf8_get(s + i, n - i, &len) == 0xFFFD && len == 1;
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && !bad) {
            i += (size_t)len;
            continue;
        }
        buf_add(out, s + plain, i - plain);
        if (bad)
            buf_str(out, "\xEF\xBF\xBD");
        else if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_str(out, "\\n");
        else
            buf_printf(out, "\\u%04x", c);
        plain = ++i;
    }
    buf_add(out, s + plain, n - plain);
    buf_byte(out, '"');
}

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
void reply_error(struct exchange *x, const struct err *e)
{
    x->status = e->status ? e->status : 400;
    x->content_type = "application/json";
    buf_clear(&x->reply);
    reply_error_object(&x->reply, x->status, e);
    if (x->status == 429 || x->status == 503)
        exchange_retry_later(x);
}

/* ---- log probabilities ---- */

void logprobs_init(struct answer_logprobs *l)
{
    memset(l, 0, sizeof *l);
    for (int i = 0; i < 4; i++)
        buf_init(&l->list[i], LOGPROBS_BYTES);
}

void logprobs_free(struct answer_logprobs *l)
{
    for (int i = 0; i < 4; i++)
        buf_free(&l->list[i]);
}

/* Empty again for the next chunk. The memory is kept up to a little, so that a stream does not allocate for every
 * token, and one large chunk does not stay for ever. */
void logprobs_clear(struct answer_logprobs *l)
{
    for (int i = 0; i < 4; i++)
        buf_reuse(&l->list[i], KEPT_BYTES);
    l->n = 0;
}

/* What has been collected and not sent, for the sum of all answers. */
size_t logprobs_bytes(const struct answer_logprobs *l)
{
    return l->list[0].len + l->list[1].len + l->list[2].len + l->list[3].len;
}

/* JSON has no infinity; OpenAI writes -9999 for "impossible". */
static void write_logprob(struct buf *out, float v) { buf_printf(out, "%.9g", isfinite(v) ? (double)v : -9999.0); }

/* Characters that begin in these bytes; a token may end within one. */
static size_t characters(const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += (s[i] & 0xC0) != 0x80;
    return count;
}

/* The text of a token as a JSON string. *length, if wanted, becomes its length in characters. */
static void write_token(struct buf *out, const struct engine *g, int32_t id, size_t *length)
{
    struct buf piece;
    buf_init(&piece, TOKEN_BYTES);
    engine_piece(g, id, &piece);
    json_write_string(out, piece.data ? piece.data : "", piece.len);
    if (!buf_ok(&piece))
        buf_fail(out, &piece);
    if (length)
        *length = characters(piece.data, piece.len);
    buf_free(&piece);
}

/* "token":...,"logprob":...,"bytes":[...] */
static void write_token_members(struct buf *out, const struct engine *g, int32_t id, float logprob)
{
    struct buf piece;
    buf_init(&piece, TOKEN_BYTES);
    engine_piece(g, id, &piece);
    buf_str(out, "\"token\":");
    json_write_string(out, piece.data ? piece.data : "", piece.len);
    buf_str(out, ",\"logprob\":");
    write_logprob(out, logprob);
    buf_str(out, ",\"bytes\":[");
    for (size_t i = 0; i < piece.len; i++)
        buf_printf(out, i ? ",%d" : "%d", (unsigned char)piece.data[i]);
    buf_byte(out, ']');
    if (!buf_ok(&piece))
        buf_fail(out, &piece);
    buf_free(&piece);
}

/* One token in the form of chats: an object, with the alternatives as a list of the same objects. */
static void add_chat(struct answer_logprobs *l, const struct engine *g, const struct token_logprob *t)
{
    struct buf *out = &l->list[0];
    buf_str(out, l->n ? ",{" : "{");
    write_token_members(out, g, t->id, t->logprob);
    buf_str(out, ",\"top_logprobs\":[");
    for (int i = 0; i < t->n_top; i++) {
        buf_str(out, i ? ",{" : "{");
        write_token_members(out, g, t->top_id[i], t->top[i]);
        buf_byte(out, '}');
    }
    buf_str(out, "]}");
}

/* One token in the older form of completions: the same position in four lists, the alternatives being an object from
 * text to log probability. text_offset counts characters from the beginning of the answer. */
static void add_completion(struct answer_logprobs *l, const struct engine *g, const struct token_logprob *t)
{
    size_t length = 0;
    for (int i = 0; i < 4 && l->n; i++)
        buf_byte(&l->list[i], ',');
    write_token(&l->list[0], g, t->id, &length);
    write_logprob(&l->list[1], t->logprob);
    buf_byte(&l->list[2], '{');
    for (int i = 0; i < t->n_top; i++) {
        buf_str(&l->list[2], i ? "," : "");
        write_token(&l->list[2], g, t->top_id[i], NULL);
        buf_byte(&l->list[2], ':');
        write_logprob(&l->list[2], t->top[i]);
    }
    buf_byte(&l->list[2], '}');
    buf_printf(&l->list[3], "%zu", l->text_offset);
    l->text_offset += length;
}

void logprobs_add(struct answer_logprobs *l, const struct engine *g, const struct token_logprob *t, int n, bool chat)
{
    for (int i = 0; i < n; i++) {
        if (chat)
            add_chat(l, g, t + i);
        else
            add_completion(l, g, t + i);
        l->n++;
    }
}

/* A list that was collected as JSON text. If it could not be collected whole, the answer fails, too: half a list would
 * look like an answer. */
static void write_list(struct buf *out, const char *name, const struct buf *list)
{
    buf_printf(out, "\"%s\":[", name);
    buf_add(out, list->data ? list->data : "", list->len);
    buf_byte(out, ']');
    if (!buf_ok(list))
        buf_fail(out, list);
}

/* null if they were not asked for; clients expect the member in any case. */
static void write_logprobs(struct buf *out, const struct answer_logprobs *l, bool chat)
{
    buf_str(out, ",\"logprobs\":");
    if (!l) {
        buf_str(out, "null");
        return;
    }
    static const char *const name[] = { "tokens", "token_logprobs", "top_logprobs", "text_offset" };
    buf_byte(out, '{');
    if (chat)
        write_list(out, "content", &l->list[0]);
    for (int i = 0; i < 4 && !chat; i++) {
        buf_str(out, i ? "," : "");
        write_list(out, name[i], &l->list[i]);
    }
    buf_str(out, chat ? ",\"refusal\":null}" : "}");
}

/* ---- answers ---- */

static void write_head(struct buf *out, const struct answer_head *head, const char *object)
{
    buf_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%ld,\"model\":", head->id, object, head->created);
    json_write_string(out, head->model, strlen(head->model));
    buf_str(out, ",\"system_fingerprint\":\"openautoglm-" VERSION "\"");
}

/* Why the answer ended. OpenAI knows "stop" and "length"; `stop_reason` is vLLM's and says which stop string or token
 * it was. */
static void write_finish(struct buf *out, const struct event *end)
{
    if (!end) {
        buf_str(out, ",\"finish_reason\":null");
        return;
    }
    buf_printf(out, ",\"finish_reason\":\"%s\"", end->finish == FINISH_LENGTH ? "length" : "stop");
    if (end->stop) {
        buf_str(out, ",\"stop_reason\":");
        json_write_string(out, end->stop, strlen(end->stop));
    } else if (end->by_stop_id) {
        buf_printf(out, ",\"stop_reason\":%d", end->stop_id);
    }
}

static void write_usage(struct buf *out, struct chunk_usage u)
{
    buf_printf(out,
               ",\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%d}}",
               u.prompt, u.completion, u.prompt + u.completion, u.cached);
}

/* The final counts, as the engine's last event has them. */
static struct chunk_usage usage_of(const struct event *end)
{
    return (struct chunk_usage){ .prompt = end->prompt_tokens, .completion = end->completion_tokens,
                                 .cached = end->cached_tokens };
}

void reply_answer(struct buf *out, const struct answer_head *head, const char *text, size_t n,
                  const struct answer_logprobs *logprobs, const struct event *end)
{
    write_head(out, head, head->chat ? "chat.completion" : "text_completion");
    buf_str(out, ",\"choices\":[{\"index\":0,");
    buf_str(out, head->chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
    json_write_string(out, text, n);
    buf_str(out, head->chat ? ",\"refusal\":null}" : "");
    write_logprobs(out, logprobs, head->chat);
    write_finish(out, end);
    buf_str(out, "}]");
    write_usage(out, usage_of(end));
    buf_byte(out, '}');
}

/* The beginning of a chunk up to its list of choices. */
static void begin_chunk(struct buf *out, const struct answer_head *head)
{
    write_head(out, head, head->chat ? "chat.completion.chunk" : "text_completion");
    buf_str(out, ",\"choices\":[");
}

/* Closes the list of choices and writes the usage in the form that was asked for: not at all, null until the end, or
 * so far. */
static void end_chunk(struct buf *out, struct chunk_usage usage)
{
    buf_str(out, usage.kind == USAGE_NULL ? "],\"usage\":null" : "]");
    if (usage.kind == USAGE_SO_FAR)
        write_usage(out, usage);
    buf_byte(out, '}');
}

/* The first chunk of a chat has the role and an empty text; OpenAI's clients build the message from it. */
void reply_chunk_role(struct buf *out, const struct answer_head *head, struct chunk_usage usage)
{
    begin_chunk(out, head);
    buf_str(
        out,
        "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}");
    end_chunk(out, usage);
}

/* A chunk without text carries an empty delta and, if it is the last one, the reason. For completions the text is
 * always there, because their form has no delta. */
void reply_chunk_text(struct buf *out, const struct answer_head *head, const char *text, size_t n,
                      const struct answer_logprobs *logprobs, const struct event *end, struct chunk_usage usage)
{
    begin_chunk(out, head);
    buf_str(out, head->chat ? "{\"index\":0,\"delta\":{" : "{\"index\":0,\"text\":");
    if (head->chat && n > 0)
        buf_str(out, "\"content\":");
    if (!head->chat || n > 0)
        json_write_string(out, text ? text : "", n);
    buf_str(out, head->chat ? "}" : "");
    write_logprobs(out, logprobs, head->chat);
    write_finish(out, end);
    buf_byte(out, '}');
    end_chunk(out, usage);
}

/* The chunk after the last one, with an empty list of choices, as OpenAI sends the usage of a stream. */
void reply_chunk_usage(struct buf *out, const struct answer_head *head, const struct event *end)
{
    begin_chunk(out, head);
    buf_byte(out, ']');
    write_usage(out, usage_of(end));
    buf_byte(out, '}');
}
