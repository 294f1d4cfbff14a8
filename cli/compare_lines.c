/* cli/compare_lines.c - lines of JSON that become prompts. See compare_lines.h. */
#include "cli/compare_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "selftest/trial.h"
#include "server/messages.h"

enum { LINE_BYTES = 256 << 20, LINE_VALUES = 400000, MOST_PIXELS = 1 << 26 };

/* Opens the data and the tokenizer of checkpoint `dir`, with generous limits: the files are the user's own. After -1
 * lines_close() is due. */
int lines_open(struct lines *l, const char *path, const struct model *m, const char *dir, int max_tokens,
               struct err *e)
{
    *l = (struct lines){ .path = path, .m = m };
    options_init(&l->defaults);
    const struct engine_config *o = &l->defaults.engine;
    budget_init(&l->decoding, (size_t)1 << 30);
    budget_init(&l->pixels, (size_t)1 << 30);
    l->limits = (struct prompt_limits){
        .decoding = &l->decoding, .pixels = &l->pixels,
        .upload = { .max_bytes = o->max_image_bytes, .max_side = o->max_image_side, .max_pixels = MOST_PIXELS },
        .max_images = TRIAL_MAX_IMAGES, .max_len = max_tokens, .max_image_tokens = max_tokens,
    };
    l->file = fopen(path, "r");
    if (!l->file)
        return err_set(e, "%s: %s", path, strerror(errno));
    return text_open(&l->text, dir, NULL, "auto", m->image_token, m->image_mark, e);
}

void lines_close(struct lines *l)
{
    if (l->file)
        fclose(l->file);
    free(l->line);
    text_close(&l->text);
    options_free(&l->defaults);
    budget_free(&l->decoding);
    budget_free(&l->pixels);
}

static bool by_assistant(const json_t *messages, size_t i)
{
    const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
    return role && strcmp(role, "assistant") == 0;
}

/* The prompt of {"messages": [...]}: read and decoded as a request's would be, and put through the chat template. It
 * ends where an answer begins if it `asks` for one. Takes the images' bytes out of `root`. */
static struct prompt *chat_prompt(struct lines *l, const json_t *root, bool asks, struct err *e)
{
    struct message_limits most = { .max_images = l->limits.max_images,
                                   .max_image_bytes = l->limits.upload.max_bytes };
    struct messages m;
    struct prompt *out = NULL;
    struct prompt_stats stats = { 0 };
    struct chat_image images[TRIAL_MAX_IMAGES];
    if (messages_parse(&m, root, &most, e) != 0)
        return NULL;
    if (messages_decode(&m, e) == 0) {
        for (int i = 0; i < m.n_images; i++)
            images[i] = (struct chat_image){ .data = m.image[i].data, .n = m.image[i].n, .field = m.image[i].field,
                                             .detail = m.image[i].detail, .max_pixels = m.image[i].max_pixels,
                                             .min_pixels = m.image[i].min_pixels };
        struct chat chat = { .messages = m.list, .images = images, .n_images = m.n_images,
                             .no_generation_prompt = !asks };
        out = prompt_from_chat(l->m, &l->text, &l->limits, &chat, &stats, e);
    }
    messages_free(&m);
    return out;
}

/* The same of the first n messages, which stay as they are. */
static struct prompt *beginning(struct lines *l, const json_t *messages, size_t n, bool asks, struct err *e)
{
    json_t *some = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(some, json_deep_copy(json_array_get(messages, i)));
    json_t *root = json_pack("{s:o}", "messages", some);
    struct prompt *p = chat_prompt(l, root, asks, e);
    json_decref(root);
    return p;
}

bool ends_answer(const struct model *m, int32_t id)
{
    for (int i = 0; i < m->n_eos; i++)
        if (m->eos[i] == id)
            return true;
    return false;
}

static bool begins_with(const struct prompt *p, const struct prompt *beginning)
{
    return beginning->n <= p->n && memcmp(p->ids, beginning->ids, sizeof *p->ids * (size_t)beginning->n) == 0;
}

/* Message i is an answer: its tokens are those behind the prompt that asks for it, up to the one that ends it, behind
 * which the template goes on. It has none if the template shows it otherwise once other messages follow. */
static int mark_answer(struct lines *l, const json_t *messages, size_t i, struct line *out, struct err *e)
{
    struct prompt *asked = beginning(l, messages, i, true, e),
                  *answered = asked ? beginning(l, messages, i + 1, false, e) : NULL;
    if (answered && begins_with(out->prompt, asked) && begins_with(out->prompt, answered))
        for (int k = asked->n; k < answered->n; k++) {
            out->answer[k] = true;
            if (ends_answer(l->m, out->prompt->ids[k]))
                break;
        }
    int rc = answered ? 0 : -1;
    prompt_free(asked);
    prompt_free(answered);
    return rc;
}

/* Says of each token whether the assistant wrote it. -1: it wrote none. */
static int mark_answers(struct lines *l, const json_t *messages, struct line *out, struct err *e)
{
    out->answer = calloc((size_t)out->prompt->n, sizeof *out->answer);
    if (!out->answer)
        return err_memory(e);
    for (size_t i = 1; i < json_array_size(messages); i++)
        if (by_assistant(messages, i) && mark_answer(l, messages, i, out, e) != 0)
            return -1;
    if (!memchr(out->answer, true, (size_t)out->prompt->n))
        return err_set(e, "the assistant has written nothing that could be compared");
    return 0;
}

/* A line with messages. A chat whose last message is the assistant's is compared as it stands; any other ends where the
 * answer begins (out->open). */
static int chat_of(struct lines *l, const json_t *root, struct line *out, struct err *e)
{
    const json_t *messages = json_object_get(root, "messages");
    json_t *all = l->answers ? json_deep_copy(messages) : NULL;
    out->chat = true;
    out->open = !by_assistant(messages, json_array_size(messages) - 1);
    out->prompt = chat_prompt(l, root, out->open, e);
    int rc = out->prompt ? 0 : -1;
    if (rc == 0 && l->answers)
        rc = mark_answers(l, all, out, e);
    json_decref(all);
    return rc;
}

/* A line is a text, which is compared from end to end, or a chat with messages. */
static int prompt_of(struct lines *l, const json_t *root, struct line *out, struct err *e)
{
    const json_t *text = json_object_get(root, "text");
    *out = (struct line){ .open = true };
    if (json_is_dict(root) && json_object_get(root, "messages"))
        return chat_of(l, root, out, e);
    if (!json_is_dict(root) || !json_is_string(text))
        return err_set(e, "neither {\"text\": \"...\"} nor {\"messages\": [...]}");
    if (l->answers)
        return err_set(e, "a text has no answers of an assistant");
    out->prompt = prompt_from_text(l->m, &l->text, &l->limits, json_string_value(text), json_string_length(text), true,
                                   0, e);
    return out->prompt ? 0 : -1;
}

void line_free(struct line *line)
{
    prompt_free(line->prompt);
    free(line->answer);
    *line = (struct line){ 0 };
}

/* The next line that is not blank. 1: *out is set and its prompt is the caller's; 0: there are no more; -1: the line is
 * wrong, and the error names it. */
int lines_next(struct lines *l, struct line *out, struct err *e)
{
    ssize_t n;
    do {
        n = getline(&l->line, &l->cap, l->file);
        l->number++;
    } while (n > 0 && l->line[strspn(l->line, " \t\r\n")] == '\0' && strlen(l->line) == (size_t)n);
    if (n < 0)
        return ferror(l->file) ? err_set(e, "%s: cannot be read", l->path) : 0;
    struct json_limits limits = { .depth = 128, .values = LINE_VALUES };
    *out = (struct line){ 0 };
    json_t *root = n <= LINE_BYTES ? json_read("it", l->line, (size_t)n, &limits, e) : NULL;
    int rc = root ? prompt_of(l, root, out, e) : -1;
    if (n > LINE_BYTES)
        err_set(e, "longer than %d bytes", LINE_BYTES);
    json_decref(root);
    if (rc != 0)
        line_free(out);
    return rc == 0 ? 1 : err_prefix(e, "%s: line %d", l->path, l->number);
}
