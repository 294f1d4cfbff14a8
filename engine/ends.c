/* engine/ends.c - see ends.h. Checkpoints do not always list all tokens that end an answer: fine-tuned ones often have
 * a new end of turn and an old configuration. The template is the witness: what it writes after an answer is what the
 * model has learnt to write there. */
#include "engine/ends.h"

#include <string.h>

#include "base/log.h"

/* There are a handful of them, so they are searched one by one. */
bool ends_hold(const int32_t *list, int n, int32_t id)
{
    for (int i = 0; i < n; i++)
        if (list[i] == id)
            return true;
    return false;
}

void ends_add(int32_t *list, int *n, int32_t id)
{
    if (!ends_hold(list, *n, id))
        list[(*n)++] = id;
}

/* One message of the chat that the template is tried with. */
static json_t *turn(const char *role, const char *text)
{
    return json_pack("{s:s, s:[{s:s, s:s}]}", "role", role, "content", "type", "text", "text", text);
}

/* The special token that the template writes between an answer and a turn of this role, with nothing but white space
 * before it: the answer's end, or the beginning of the next turn where answers have no end of their own. -1: none. */
static int32_t token_after_answer(const struct text *t, const char *role)
{
    static const char answer[] = "PROBEanswerPROBE";
    struct ids ids = { 0 };
    int32_t found = -1;
    struct rendering r = { 0 };
    struct chat chat = { .no_generation_prompt = true };
    chat.messages = json_pack("[o, o, o]", turn("user", "PROBEquestionPROBE"), turn("assistant", answer),
                              turn(role, "PROBEnextPROBE"));
    bool rendered = chat.messages && text_render(t, &chat, &r, NULL) == 0;
    const char *at = rendered ? memmem(r.text, r.n, answer, strlen(answer)) : NULL;
    if (at) {
        at += strlen(answer);
        at += strspn(at, " \t\r\n");
        if (tokenizer_encode(t->tokenizer, at, r.n - (size_t)(at - r.text), false, &ids, NULL) == 0 && ids.n > 0 &&
            tokenizer_is_special(t->tokenizer, ids.id[0]))
            found = ids.id[0];
    }
    ids_free(&ids);
    rendering_free(&r);
    json_decref(chat.messages);
    return found;
}

/* Takes what the configuration lists as it is. Of what the tokenizer and the template say besides, only tokens of the
 * vocabulary count, and never the place of an image; each is named in the log, since it changes what users get. */
void ends_find(struct ends *e, const struct model *m, const struct text *t)
{
    static const char *const roles[] = { "user", "tool", "observation" };
    const char *eos = json_string_value(json_object_get(tokenizer_names(t->tokenizer), "eos_token"));
    int32_t more[1 + sizeof roles / sizeof *roles];
    int n = 0;
    *e = (struct ends){ 0 };
    for (int i = 0; i < m->n_eos; i++)
        ends_add(e->id, &e->n, m->eos[i]);
    more[n++] = eos ? tokenizer_id(t->tokenizer, eos) : -1;
    for (size_t i = 0; i < sizeof roles / sizeof *roles && (t->templates.plain || t->templates.tools); i++)
        more[n++] = token_after_answer(t, roles[i]);
    for (int i = 0; i < n; i++) {
        if (more[i] < 0 || more[i] >= m->vocab || more[i] == m->image_token || ends_hold(e->id, e->n, more[i]))
            continue;
        ends_add(e->id, &e->n, more[i]);
        log_info("%s ends an answer too, though the model's configuration does not list it",
                 tokenizer_token(t->tokenizer, more[i]));
    }
}
