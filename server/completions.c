/* server/completions.c - POST /v1/completions: texts go on, without a template.
 *
 * A request has one prompt or a list of them; each is a text or a list of token
 * ids. With n answers to each, those to prompt i are the choices i * n and on.
 * With `echo` an answer begins with its prompt, in its log probabilities, too:
 * that is how evaluation harnesses ask how likely a text is. */
#include <stdlib.h>
#include <string.h>

#include "server/fields.h"
#include "server/generation.h"
#include "server/handlers.h"
#include "server/reply.h"
#include "server/token_fields.h"

enum { MAX_PROMPTS = 256, ECHO_BYTES = 16 << 20 };

struct completion {
    json_t         *root;      /* owned                                   */
    struct sampling sampling;  /* strings borrowed of root                */
    bool            special;   /* the tokenizer adds its own tokens to texts, such as "begin of text" */
    bool            echo;
    int             n;         /* prompts                                 */
    struct prompt **prompt;    /* owned, (n); each NULL until it is made  */
    struct buf     *text;      /* owned, (n): what is echoed              */
};

static bool is_id(const json_t *v) { return json_is_number(v) || json_big(v, NULL); }

/* How many prompts the field holds; -1: it is none of the four forms. An array of numbers is one prompt. */
static int count_prompts(const json_t *v, struct err *e)
{
    if (!v || json_is_null(v))
        return fields_wrong(e, "missing_field", "", "prompt", "is missing");
    if (json_is_string(v) || (json_is_array(v) && is_id(json_array_get(v, 0))))
        return 1;
    if (!json_is_array(v))
        return fields_wrong(e, "invalid_type", "", "prompt",
                            "must be a string, an array of strings, an array of token ids or an array of such arrays");
    size_t n = json_array_size(v);
    if (n == 0)
        return fields_wrong(e, "invalid_value", "", "prompt", "must not be empty");
    if (n > MAX_PROMPTS)
        return fields_wrong(e, "invalid_value", "", "prompt", "may hold at most %d prompts", MAX_PROMPTS);
    return (int)n;
}

/* What the fields of this endpoint alone say, checked together with those that they depend on. */
static int check_echo(struct completion *q, struct err *e)
{
    struct params *p = &q->sampling.params;
    if (q->sampling.prompt_only && !q->echo)
        return fields_wrong(e, "invalid_value", "", "max_tokens", "must be at least 1 without echo");
    if (!q->echo || !p->logprobs)
        return 0;
    p->prompt_logprobs = true;
    if (p->top_prompt_logprobs < p->top_logprobs)
        p->top_prompt_logprobs = p->top_logprobs;
    return 0;
}

/* One prompt from a text or from a list of ids. NULL: it is neither, or an id is not in the vocabulary. */
static struct prompt *make_prompt(struct engine *g, const struct completion *q, const json_t *v, struct err *e)
{
    int keep = q->sampling.keep_tokens;
    if (json_is_string(v))
        return engine_prompt_text(g, json_string_value(v), json_string_length(v), q->special, keep, e);
    if (!json_is_array(v) || (json_array_size(v) > 0 && !is_id(json_array_get(v, 0)))) {
        fields_wrong(e, "invalid_type", "", "prompt", "must hold strings alone or arrays of token ids");
        return NULL;
    }
    int32_t *ids = malloc((json_array_size(v) + 1) * sizeof *ids);
    struct prompt *p = NULL;
    if (!ids)
        err_memory(e);
    else if (token_ids_read(v, "prompt", q->sampling.vocab, ids, e) == 0)
        p = engine_prompt_ids(g, ids, json_array_size(v), keep, e);
    free(ids);
    return p;
}

/* The prompt's text as it was sent; where it came as ids or was cut, as its tokens are written. */
static int keep_text(struct engine *g, struct completion *q, int i, const json_t *v, struct err *e)
{
    struct buf *text = &q->text[i];
    buf_init(text, ECHO_BYTES);
    if (!q->echo)
        return 0;
    if (json_is_string(v) && !q->sampling.keep_tokens)
        buf_add(text, json_string_value(v), json_string_length(v));
    else if (engine_detokenize(g, prompt_ids(q->prompt[i]), (size_t)prompt_tokens(q->prompt[i]), false, text,
                               e) != 0)
        return -1;
    return buf_ok(text) ? 0 : buf_error(text, e, "the prompt is too long to be echoed");
}

/* Makes all prompts, so that a fault in the last one is told before the first one is computed. */
static int make_prompts(struct engine *g, struct completion *q, struct err *e)
{
    const json_t *v = json_object_get(q->root, "prompt");
    int n = count_prompts(v, e);
    if (n < 0)
        return -1;
    q->prompt = calloc((size_t)n, sizeof *q->prompt);
    q->text = calloc((size_t)n, sizeof *q->text);
    if (!q->prompt || !q->text)
        return err_memory(e);
    q->n = n;
    bool one = json_is_string(v) || is_id(json_array_get(v, 0));
    for (int i = 0; i < n; i++) {
        const json_t *item = one ? v : json_array_get(v, (size_t)i);
        q->prompt[i] = make_prompt(g, q, item, e);
        if (!q->prompt[i] || keep_text(g, q, i, item, e) != 0)
            return -1;
    }
    return 0;
}

/* Reads all fields of a completion before anything is computed. */
static int parse(struct app *a, struct engine *g, struct exchange *x, struct completion *q, struct err *e)
{
    q->special = true;
    q->root = fields_parse(x->body, x->n_body, e);
    return q->root && check_model(a, q->root, e) == 0 && sampling_parse(&q->sampling, q->root, false, e) == 0 &&
                   member_bool(q->root, "", "add_special_tokens", &q->special, e) == 0 &&
                   member_bool(q->root, "", "echo", &q->echo, e) == 0 && check_echo(q, e) == 0 &&
                   make_prompts(g, q, e) == 0
               ? 0
               : -1;
}

/* `submitted`: the prompts are the engine's. */
static void completion_free(struct completion *q, bool submitted)
{
    for (int i = 0; i < q->n; i++) {
        buf_free(&q->text[i]);
        if (!submitted)
            prompt_free(q->prompt[i]);
    }
    free(q->prompt);
    free(q->text);
    sampling_free(&q->sampling);
    json_decref(q->root);
}

/* As in chat.c: everything that the request held is freed before anybody waits for the answer. NULL: an error was
 * answered, or the client is gone. */
static struct generation *submit(struct app *a, struct engine *g, struct exchange *x)
{
    struct completion  q = { 0 };
    struct err         e = { 0 };
    struct generation *made = NULL;
    bool               ready = false;
    sampling_init(&q.sampling, g);
    if (!app_parsing_enter(a, x))
        x->broken = true;
    else
        ready = parse(a, g, x, &q, &e) == 0;
    app_input_leave(a, x);
    exchange_drop_body(x);
    if (!q.sampling.params.max_tokens)
        q.sampling.params.max_tokens = 16;      /* OpenAI's default of this endpoint */
    if (ready)
        made = generation_new(a, g, x, q.prompt, q.n,
                              &(struct answering){ .sampling = &q.sampling, .form = &form_completion,
                                                   .echo = q.echo ? q.text : NULL,
                                                   .echo_logprobs = q.echo && q.sampling.params.logprobs });
    else if (!x->broken)
        reply_error(x, &e);
    completion_free(&q, ready);
    app_parsing_leave(a, x);
    return made;
}

void completions(struct app *a, struct exchange *x)
{
    generation_serve(a, x, submit);
}
