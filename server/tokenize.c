/* server/tokenize.c - POST /tokenize and /detokenize, in vLLM's form, and POST /v1/chat/completions/render: what
 * becomes of texts and chats before a model reads them. */
#include <stdlib.h>

#include "server/chat.h"
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

/* The tokens of a chat's prompt; `root`, which becomes this function's, is a body of /v1/chat/completions. */
static void tokenize_chat(struct app *a, struct engine *g, struct exchange *x, json_t *root)
{
    struct err  e = { 0 };
    bool        strings = false;
    if (member_bool(root, "", "return_token_strs", &strings, &e) != 0) {
        json_decref(root);
        reply_error(x, &e);
        return;
    }
    struct prompt *p = chat_prompt(a, g, x, &(struct chat_kind){ 0 }, root, NULL, &e);
    if (p) {
        x->status = 200;
        write_tokens(&x->reply, g, prompt_ids(p), (size_t)prompt_tokens(p), strings);
        prompt_free(p);
    } else if (e.text[0]) {
        reply_error(x, &e);
    } else {
        x->broken = true;
    }
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
    if (root && json_object_get(root, "messages") && !json_object_get(root, "prompt")) {
        tokenize_chat(a, g, x, root);
        return;
    }
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
               engine_detokenize(g, ids, json_array_size(list), false, &text, &e) != 0) {
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

/* A chat as the model would get it: its text, its tokens, and where the images are among them. */
void chat_render(struct app *a, struct exchange *x)
{
    struct err     e = { 0 };
    struct engine *g = app_await_engine(a, x, &e);
    struct buf     text;
    buf_init(&text, a->cfg->max_body_bytes + (16 << 20));
    struct prompt *p = g ? chat_prompt(a, g, x, &(struct chat_kind){ 0 }, NULL, &text, &e) : NULL;
    if (p) {
        x->status = 200;
        buf_str(&x->reply, "{\"text\":");
        json_write_string(&x->reply, text.data ? text.data : "", text.len);
        buf_printf(&x->reply, ",\"count\":%d,\"token_ids\":[", prompt_tokens(p));
        for (int i = 0; i < prompt_tokens(p); i++)
            buf_printf(&x->reply, i ? ",%d" : "%d", prompt_ids(p)[i]);
        buf_str(&x->reply, "],\"images\":[");
        for (int i = 0; i < prompt_images(p); i++) {
            struct prompt_place at = prompt_place(p, i);
            buf_printf(&x->reply, "%s{\"start\":%d,\"tokens\":%d,\"width\":%d,\"height\":%d}", i ? "," : "",
                       at.start, at.n_tokens, at.width, at.height);
        }
        buf_str(&x->reply, "]}");
        if (!buf_ok(&text))
            buf_fail(&x->reply, &text);
        prompt_free(p);
    } else if (e.text[0]) {
        reply_error(x, &e);
    } else {
        x->broken = true;
    }
    app_parsing_leave(a, x);
    buf_free(&text);
}

void tokenize_post(struct app *a, struct exchange *x) { with_engine(a, x, tokenize); }
void detokenize_post(struct app *a, struct exchange *x) { with_engine(a, x, detokenize); }
