/* server/completions.c - POST /v1/completions: text goes on, without a template. */
#include "server/fields.h"
#include "server/generation.h"
#include "server/handlers.h"
#include "server/reply.h"

/* A string, or a list of one string. */
static const json_t *prompt_of(const json_t *in, struct err *e)
{
    const json_t *v = json_object_get(in, "prompt");
    if (json_is_array(v) && json_array_size(v) == 1)
        v = json_array_get(v, 0);
    if (json_is_string(v))
        return v;
    if (!v || json_is_null(v))
        fields_wrong(e, "missing_field", "", "prompt", "is missing");
    else
        fields_wrong(e, "invalid_type", "", "prompt", "must be a string, or an array of one string");
    return NULL;
}

/* The same as in chat.c for a bare text: no template, no images. `add_special_tokens` says whether the tokenizer may
 * put its own tokens (such as "begin of text") around the prompt. The body is dropped before the answer is waited for.
 * NULL: an error was answered, or the client is gone. */
static struct generation *submit(struct app *a, struct engine *g, struct exchange *x)
{
    struct sampling    s = { 0 };
    struct err         e = { 0 };
    struct prompt     *p = NULL;
    struct generation *made = NULL;
    const json_t      *text = NULL;
    json_t            *root = NULL;
    bool               special = true;
    sampling_init(&s, g);
    if (!app_parsing_enter(a, x))
        x->broken = true;
    else if ((root = fields_parse(x->body, x->n_body, &e)) != NULL && check_model(a, root, &e) == 0 &&
             sampling_parse(&s, root, false, &e) == 0 &&
             member_bool(root, "", "add_special_tokens", &special, &e) == 0 &&
             (text = prompt_of(root, &e)) != NULL)
        p = engine_prompt_text(g, json_string_value(text), json_string_length(text), special, s.keep_tokens, &e);
    app_input_leave(a, x);
    exchange_drop_body(x);
    if (!s.params.max_tokens)
        s.params.max_tokens = 16;      /* OpenAI's default of this endpoint */
    if (p)
        made = generation_new(a, g, x, p, &(struct answering){ .sampling = &s });
    else if (!x->broken)
        reply_error(x, &e);
    sampling_free(&s);
    json_decref(root);
    app_parsing_leave(a, x);
    return made;
}

void completions(struct app *a, struct exchange *x)
{
    generation_serve(a, x, submit);
}
