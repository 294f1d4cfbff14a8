/* server/tokenize.c - POST /tokenize and /detokenize, in vLLM's form. */
#include <stdlib.h>

#include "server/fields.h"
#include "server/handlers.h"
#include "server/reply.h"
#include "server/token_fields.h"

/* The answer in vLLM's form. `strings`: also the text of every token, each of which is one lookup. */
static void write_tokens(struct buf *out, const struct engine *g, const int32_t *ids, size_t n, bool strings)
{
    struct engine_info info;
    engine_info(g, &info);
    buf_printf(out, "{\"count\":%zu,\"max_model_len\":%d,\"tokens\":[", n, info.max_model_len);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, i ? ",%d" : "%d", ids[i]);
    buf_str(out, strings ? "],\"token_strs\":[" : "],\"token_strs\":null}");
    for (size_t i = 0; strings && i < n; i++) {
        struct buf piece;
        buf_init(&piece, 4096);
        engine_piece(g, ids[i], &piece);
        buf_str(out, i ? "," : "");
        json_write_string(out, piece.data ? piece.data : "", piece.len);
        if (!buf_ok(&piece))
            buf_fail(out, &piece);
        buf_free(&piece);
    }
    buf_str(out, strings ? "]}" : "");
}

/* The tokens of a text, with or without those that the tokenizer adds by itself. A text is any string, U+0000
 * included. */
static void tokenize(struct app *a, struct engine *g, struct exchange *x)
{
    struct err  e = { 0 };
    bool        special = true, strings = false;
    int32_t    *ids = NULL;
    size_t      n = 0;
    json_t     *root = fields_parse(x->body, x->n_body, &e);
    const json_t *prompt = NULL;
    if (!root || check_model(a, root, &e) != 0 || member_text(root, "", "prompt", &prompt, &e) != 0 ||
        member_bool(root, "", "add_special_tokens", &special, &e) != 0 ||
        member_bool(root, "", "return_token_strs", &strings, &e) != 0 ||
        (!prompt && fields_wrong(&e, "missing_field", "", "prompt", "is missing") != 0) ||
        engine_tokenize(g, json_string_value(prompt), json_string_length(prompt), special, &ids, &n, &e) != 0) {
        reply_error(x, &e);
    } else {
        x->status = 200;
        write_tokens(&x->reply, g, ids, n, strings);
    }
    free(ids);
    json_decref(root);
}

/* The text of a list of tokens, special ones too. It may hold malformed UTF-8, as tokens can end within a character;
 * json_write_string() replaces that. */
static void detokenize(struct app *a, struct engine *g, struct exchange *x)
{
    struct err e = { 0 };
    json_t    *root = fields_parse(x->body, x->n_body, &e), *list = NULL;
    int32_t   *ids = NULL;
    struct buf text;
    struct engine_info info;
    engine_info(g, &info);
    buf_init(&text, 16 << 20);
    if (!root || check_model(a, root, &e) != 0 || member_array(root, "", "tokens", &list, &e) != 0 ||
        (!list && fields_wrong(&e, "missing_field", "", "tokens", "is missing") != 0)) {
        reply_error(x, &e);
    } else if ((ids = malloc(json_array_size(list) * sizeof *ids + 1)) == NULL) {
        err_memory(&e);
        reply_error(x, &e);
    } else if (token_ids_read(list, "tokens", info.vocab, ids, &e) != 0 ||
               engine_detokenize(g, ids, json_array_size(list), &text, &e) != 0) {
        reply_error(x, &e);
    } else {
        x->status = 200;
        buf_str(&x->reply, "{\"prompt\":");
        json_write_string(&x->reply, text.data ? text.data : "", text.len);
        buf_byte(&x->reply, '}');
    }
    buf_free(&text);
    free(ids);
    json_decref(root);
}

/* Waits for the model and for the memory that parsing takes, does the work, and gives back what was taken, whatever
 * happened on the way. */
static void with_engine(struct app *a, struct exchange *x,
                        void (*work)(struct app *, struct engine *, struct exchange *))
{
    struct err     e = { 0 };
    struct engine *g = app_await_engine(a, x, &e);
    if (!g && !x->broken)
        reply_error(x, &e);
    else if (g && !app_parsing_enter(a, x))
        x->broken = true;
    else if (g)
        work(a, g, x);
    app_input_leave(a, x);
    app_parsing_leave(a, x);
}

void tokenize_post(struct app *a, struct exchange *x) { with_engine(a, x, tokenize); }
void detokenize_post(struct app *a, struct exchange *x) { with_engine(a, x, detokenize); }
