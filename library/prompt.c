/* library/prompt.c - prompts, and text as tokens. The checks are those of the server's requests. */
#include <stdlib.h>
#include <string.h>

#include "base/json_watch.h"
#include "library/library.h"
#include "server/fields.h"
#include "server/messages.h"
#include "server/template_fields.h"
#include "server/tool_fields.h"

enum { TEXT_BYTES = 1 << 30 };       /* of what tokens become */

struct chat_request {
    json_t *root;              /* owned                   */
    struct messages messages;  /* owned                   */
    struct tool_fields tools;  /* borrowed of root        */
    struct chat chat;          /* borrowed of the others  */
    struct chat_image *images; /* owned                   */
    int n_attached;
};

/* Wraps what the engine has made, together with the reference to the model that the caller has taken. */
static struct openautoglm_prompt *wrap(struct openautoglm *m, struct prompt *prompt, struct err *e)
{
    struct openautoglm_prompt *p = prompt ? malloc(sizeof *p) : NULL;
    if (p)
        *p = (struct openautoglm_prompt){ .m = m, .prompt = prompt };
    else if (prompt)
        err_memory(e);
    if (!p)
        prompt_free(prompt);
    return p;
}

static struct chat_image attached_image(const struct openautoglm_image *image, const char *field)
{
    return (struct chat_image){ .data = image->data, .n = image->size, .width = image->width, .height = image->height,
                                .field = field };
}

/* All fields are looked at before an image is decoded. */
static int parse(struct openautoglm *m, const char *request, int n_images, struct chat_request *q, struct err *e)
{
    struct message_limits limits = { .max_images = m->config.engine.max_images,
                                     .max_image_bytes = m->config.engine.max_image_bytes, .attached = true };
    int64_t keep = 0;
    if (!(q->root = fields_parse(request, strlen(request), e)))
        return -1;
    if (messages_parse(&q->messages, q->root, &limits, e) != 0 || tool_fields_parse(&q->tools, q->root, e) != 0 ||
        template_fields_parse(&q->chat, q->root, e) != 0 ||
        member_int(q->root, "", "truncate_prompt_tokens", -1, INT32_MAX, &keep, e) != 0)
        return json_starved() ? err_memory(e) : -1;
    if (json_starved())
        return err_memory(e);
    q->chat.messages = q->messages.list;
    q->chat.tools = q->tools.tools;
    q->chat.keep_tokens = (int)keep;
    for (int i = 0; i < q->messages.n_images; i++)
        q->n_attached += q->messages.image[i].attached;
    if (q->n_attached == n_images)
        return 0;
    return err_field(e, "messages", "the messages have %d places for images ({\"type\": \"image\"}), but %d images "
                     "came with them", q->n_attached, n_images);
}

/* The images in the order of the prompt, wherever they came from. */
static int list_images(struct chat_request *q, const struct openautoglm_image *images, struct err *e)
{
    int n = q->messages.n_images;
    if (messages_decode(&q->messages, e) != 0)
        return -1;
    q->images = calloc((size_t)n + 1, sizeof *q->images);
    if (!q->images)
        return err_memory(e);
    for (int i = 0; i < n; i++) {
        const struct message_image *from = &q->messages.image[i];
        struct chat_image *to = &q->images[i];
        if (from->attached)
            *to = attached_image(images++, from->field);
        else
            *to = (struct chat_image){ .data = from->data, .n = from->n, .field = from->field };
        to->detail = from->detail;
        to->max_pixels = from->max_pixels;
        to->min_pixels = from->min_pixels;
    }
    q->chat.images = q->images;
    q->chat.n_images = n;
    return 0;
}

/* The prompt of a chat as the server's route reads it, with its images beside it. It holds on to the model, which may
 * be closed meanwhile. */
struct openautoglm_prompt *openautoglm_prompt_chat(struct openautoglm *m, const char *request,
                                                   const struct openautoglm_image *images, int32_t n_images,
                                                   struct openautoglm_error *e)
{
    struct chat_request q = { 0 };
    struct openautoglm_prompt *p = NULL;
    struct err why = { 0 };
    json_begin();
    if (library_use(m, &why) == 0) {
        q.chat.keep_pictures = true;
        if (parse(m, request, n_images, &q, &why) == 0 && list_images(&q, images, &why) == 0)
            p = wrap(m, engine_prompt(m->engine, &q.chat, &why), &why);
        if (!p)
            library_drop(m);
    }
    if (!p)
        library_tell(&why, e);
    free(q.images);
    messages_free(&q.messages);
    json_decref(q.root);
    return p;
}

/* The images as the engine takes them; only their number has to be checked here. */
static struct prompt *prompt_of(struct openautoglm *m, const int32_t *ids, size_t n,
                                const struct openautoglm_image *images, int n_images, struct err *e)
{
    struct chat chat = { .n_images = n_images };
    if (n_images < 0 || n_images > m->config.engine.max_images) {
        err_field(e, "images", "%d images, but at most %d are allowed in one prompt", n_images,
                  m->config.engine.max_images);
        return NULL;
    }
    struct chat_image *list = calloc((size_t)n_images + 1, sizeof *list);
    if (!list) {
        err_memory(e);
        return NULL;
    }
    for (int i = 0; i < n_images; i++)
        list[i] = attached_image(&images[i], "images");
    chat.images = list;
    struct prompt *p = engine_prompt_places(m->engine, ids, n, &chat, e);
    free(list);
    return p;
}

/* The prompt of tokens as they are; images stand where the tokens have their places. It holds on to the model. */
struct openautoglm_prompt *openautoglm_prompt_tokens(struct openautoglm *m, const int32_t *ids, size_t n,
                                                     const struct openautoglm_image *images, int32_t n_images,
                                                     struct openautoglm_error *e)
{
    struct openautoglm_prompt *p = NULL;
    struct err why = { 0 };
    if (library_use(m, &why) == 0) {
        p = wrap(m, prompt_of(m, ids, n, images, n_images, &why), &why);
        if (!p)
            library_drop(m);
    }
    if (!p)
        library_tell(&why, e);
    return p;
}

int openautoglm_image_tokens(struct openautoglm *m, int32_t width, int32_t height, int32_t *n,
                             struct openautoglm_error *e)
{
    struct err why = { 0 };
    int rc = library_use(m, &why);
    if (rc == 0) {
        rc = width < 1 || height < 1 ? err_set(&why, "an image has no %dx%d pixels", width, height)
                                     : engine_image_tokens(m->engine, width, height, n, &why);
        library_drop(m);
    }
    if (rc != 0)
        library_tell(&why, e);
    return rc;
}

const int32_t *openautoglm_prompt_ids(const struct openautoglm_prompt *p, size_t *n)
{
    *n = (size_t)prompt_tokens(p->prompt);
    return prompt_ids(p->prompt);
}

int32_t openautoglm_prompt_images(const struct openautoglm_prompt *p) { return prompt_images(p->prompt); }

void openautoglm_prompt_image(const struct openautoglm_prompt *p, int32_t i, struct openautoglm_image *out)
{
    struct prompt_picture px = prompt_picture(p->prompt, i);
    *out = (struct openautoglm_image){ .data = px.data, .size = px.data ? (size_t)px.width * (size_t)px.height * 3 : 0,
                                       .width = px.width, .height = px.height };
}

void openautoglm_prompt_free(struct openautoglm_prompt *p)
{
    if (!p)
        return;
    struct openautoglm *m = p->m;
    prompt_free(p->prompt);
    free(p);
    library_drop(m);
}

int openautoglm_tokenize(struct openautoglm *m, const char *text, size_t n, int special, int32_t **ids, size_t *n_ids,
                         struct openautoglm_error *e)
{
    struct err why = { 0 };
    int rc = library_use(m, &why);
    if (rc == 0) {
        rc = engine_tokenize(m->engine, text, n, special != 0, ids, n_ids, &why);
        library_drop(m);
    }
    if (rc != 0)
        library_tell(&why, e);
    return rc;
}

/* The text of tokens, which is the caller's to free and ends in a NUL that is not counted. */
int openautoglm_detokenize(struct openautoglm *m, const int32_t *ids, size_t n, int skip_special, char **text,
                           size_t *n_text, struct openautoglm_error *e)
{
    struct err why = { 0 };
    struct buf out;
    buf_init(&out, TEXT_BYTES);
    buf_str(&out, "");
    int rc = library_use(m, &why);
    if (rc == 0) {
        rc = engine_detokenize(m->engine, ids, n, skip_special != 0, &out, &why);
        if (rc == 0 && !buf_ok(&out))
            rc = buf_error(&out, &why, "the text is too long");
        library_drop(m);
    }
    if (rc == 0) {
        *n_text = out.len;
        *text = buf_take(&out);
    } else {
        library_tell(&why, e);
    }
    buf_free(&out);
    return rc;
}
