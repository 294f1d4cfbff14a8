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
    return text_open(&l->text, dir, NULL, "auto", m->image_token, e);
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

/* A chat whose last message is the assistant's is compared as it stands; any other asks for an answer. */
static bool asks(const json_t *messages)
{
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    return !role || strcmp(role, "assistant") != 0;
}

/* A line with messages: read and decoded as a request's would be, and put through the chat template. If the last
 * message is the user's, the prompt ends where the answer begins (out->open); otherwise the answer is a part of the
 * text that is compared. */
static int chat_prompt(struct lines *l, const json_t *root, struct line *out, struct err *e)
{
    struct message_limits most = { .max_images = l->limits.max_images,
                                   .max_image_bytes = l->limits.upload.max_bytes };
    struct messages m;
    struct prompt_stats stats = { 0 };
    struct chat_image images[TRIAL_MAX_IMAGES];
    if (messages_parse(&m, root, &most, e) != 0)
        return -1;
    out->open = asks(m.list);
    if (messages_decode(&m, e) == 0) {
        for (int i = 0; i < m.n_images; i++)
            images[i] = (struct chat_image){ .data = m.image[i].data, .n = m.image[i].n, .field = m.image[i].field,
                                             .detail = m.image[i].detail, .max_pixels = m.image[i].max_pixels,
                                             .min_pixels = m.image[i].min_pixels };
        struct chat chat = { .messages = m.list, .images = images, .n_images = m.n_images,
                             .no_generation_prompt = !out->open };
        out->prompt = prompt_from_chat(l->m, &l->text, &l->limits, &chat, &stats, e);
    }
    messages_free(&m);
    return out->prompt ? 0 : -1;
}

/* A line is a text, which is compared from end to end, or a chat with messages. */
static int prompt_of(struct lines *l, const json_t *root, struct line *out, struct err *e)
{
    const json_t *text = json_object_get(root, "text"), *messages = json_object_get(root, "messages");
    *out = (struct line){ .open = true };
    if (json_is_dict(root) && messages)
        return chat_prompt(l, root, out, e);
    if (!json_is_dict(root) || !json_is_string(text))
        return err_set(e, "neither {\"text\": \"...\"} nor {\"messages\": [...]}");
    out->prompt = prompt_from_text(l->m, &l->text, &l->limits, json_string_value(text), json_string_length(text), true,
                                   0, e);
    return out->prompt ? 0 : -1;
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
    json_t *root = n <= LINE_BYTES ? json_read("it", l->line, (size_t)n, &limits, e) : NULL;
    int rc = root ? prompt_of(l, root, out, e) : -1;
    if (n > LINE_BYTES)
        err_set(e, "longer than %d bytes", LINE_BYTES);
    json_decref(root);
    return rc == 0 ? 1 : err_prefix(e, "%s: line %d", l->path, l->number);
}
