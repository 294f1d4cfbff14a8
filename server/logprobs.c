/* server/logprobs.c - log probabilities, written as JSON when they come. What each function promises stands in
 * logprobs.h. */
#include "server/logprobs.h"

#include <math.h>
#include <string.h>

#include "server/json_write.h"

enum { LOGPROBS_BYTES = 192 << 20, KEPT_BYTES = 64 << 10 /* between two pieces of a stream */, TOKEN_BYTES = 4096 };

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

void logprobs_copy(struct answer_logprobs *l, const struct answer_logprobs *from)
{
    for (int i = 0; i < 4; i++) {
        buf_add(&l->list[i], from->list[i].data, from->list[i].len);
        if (!buf_ok(&from->list[i]))
            buf_fail(&l->list[i], &from->list[i]);
    }
    l->n += from->n;
    l->text_offset += from->text_offset;
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

/* The members "token", "logprob" and "bytes" of a token. A token may be a part of a character: its text then shows
 * replacement characters, and its bytes say what it really is. */
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
    l->n++;
}

/* The text of a token and where it begins, at the next position of the lists of a completion. */
static void begin_completion(struct answer_logprobs *l, const struct engine *g, int32_t id)
{
    size_t length = 0;
    for (int i = 0; i < 4 && l->n; i++)
        buf_byte(&l->list[i], ',');
    write_token(&l->list[0], g, id, &length);
    buf_printf(&l->list[3], "%zu", l->text_offset);
    l->text_offset += length;
    l->n++;
}

static void write_alternative(struct buf *out, const struct engine *g, int32_t id, float logprob, bool first)
{
    buf_str(out, first ? "" : ",");
    write_token(out, g, id, NULL);
    buf_byte(out, ':');
    write_logprob(out, logprob);
}

/* One token in the older form of completions: the same position in four lists, the alternatives being an object from
 * text to log probability. The token itself is always one of them, as OpenAI has it. text_offset counts characters from
 * the beginning of the text. */
static void add_completion(struct answer_logprobs *l, const struct engine *g, const struct token_logprob *t)
{
    bool found = false;
    begin_completion(l, g, t->id);
    write_logprob(&l->list[1], t->logprob);
    buf_byte(&l->list[2], '{');
    for (int i = 0; i < t->n_top; i++) {
        write_alternative(&l->list[2], g, t->top_id[i], t->top[i], i == 0);
        found |= t->top_id[i] == t->id;
    }
    if (t->n_top > 0 && !found)
        write_alternative(&l->list[2], g, t->id, t->logprob, false);
    buf_byte(&l->list[2], '}');
}

/* For `echo`: the prompt's tokens come first in the lists of a completion, and the first of all has nothing before it
 * that could give it a probability. */
void logprobs_add_prompt(struct answer_logprobs *l, const struct engine *g, int32_t first,
                         const struct token_logprob *t, int n)
{
    begin_completion(l, g, first);
    buf_str(&l->list[1], "null");
    buf_str(&l->list[2], "null");
    for (int i = 0; i < n; i++)
        add_completion(l, g, t + i);
}

/* Adds tokens in the form of a chat or of a completion, as JSON at once: what is kept is text, and no memory per
 * token. */
void logprobs_add(struct answer_logprobs *l, const struct engine *g, const struct token_logprob *t, int n, bool chat)
{
    for (int i = 0; i < n; i++) {
        if (chat)
            add_chat(l, g, t + i);
        else
            add_completion(l, g, t + i);
    }
}

/* The member "logprobs" of a choice or chunk, in the form of a chat (a list of objects) or of a completion (four lists
 * side by side). l NULL: they were not asked for. */
void logprobs_write(struct buf *out, const struct answer_logprobs *l, bool chat)
{
    buf_str(out, ",\"logprobs\":");
    if (!l) {
        buf_str(out, "null");
        return;
    }
    static const char *const name[] = { "tokens", "token_logprobs", "top_logprobs", "text_offset" };
    buf_byte(out, '{');
    if (chat)
        json_write_list(out, "content", &l->list[0]);
    for (int i = 0; i < 4 && !chat; i++) {
        buf_str(out, i ? "," : "");
        json_write_list(out, name[i], &l->list[i]);
    }
    buf_str(out, chat ? ",\"refusal\":null}" : "}");
}

/* rank 0: it is not known, since the token is not among the likeliest that were asked for. */
static void write_prompt_token(struct buf *out, const struct engine *g, int32_t id, float logprob, int rank)
{
    buf_printf(out, "\"%d\":{\"logprob\":", id);
    write_logprob(out, logprob);
    if (rank)
        buf_printf(out, ",\"rank\":%d,\"decoded_token\":", rank);
    else
        buf_str(out, ",\"rank\":null,\"decoded_token\":");
    write_token(out, g, id, NULL);
    buf_byte(out, '}');
}

/* Appends vLLM's prompt_logprobs of n tokens: an object per token, with the likeliest ones and the one that stands
 * there, keyed by id. The first token of a prompt has nothing before it and is null. */
void logprobs_of_prompt(struct buf *out, const struct engine *g, const struct token_logprob *t, int n)
{
    buf_str(out, out->len ? "" : "null");
    for (int i = 0; i < n; i++) {
        bool found = false;
        buf_str(out, ",{");
        for (int k = 0; k < t[i].n_top; k++) {
            buf_str(out, k ? "," : "");
            write_prompt_token(out, g, t[i].top_id[k], t[i].top[k], k + 1);
            found |= t[i].top_id[k] == t[i].id;
        }
        if (!found) {
            buf_str(out, t[i].n_top ? "," : "");
            write_prompt_token(out, g, t[i].id, t[i].logprob, 0);
        }
        buf_byte(out, '}');
    }
}
